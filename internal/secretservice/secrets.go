//go:build unix && !darwin

package secretservice

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Prepare begins to open the session for secrets, so that it is under way
// together with another call, and returns at once. Whoever needs it waits for it.
func (s *Service) Prepare(ctx context.Context) {
	select {
	case s.turn <- struct{}{}:
	default:
		return // somebody does it already
	}
	go func() {
		defer s.leave()
		s.opened(ctx) // an error comes again to whoever needs the session
	}()
}

// ready returns the session, and opens it if it is not.
func (s *Service) ready(ctx context.Context) (*session, error) {
	select {
	case s.turn <- struct{}{}:
		defer s.leave()
		return s.opened(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *Service) leave() { <-s.turn }

// opened is for those who have the seat.
func (s *Service) opened(ctx context.Context) (*session, error) {
	if s.session != nil {
		return s.session, nil
	}
	opened, err := s.openSession(ctx)
	if err == nil {
		s.session = opened
	}
	return opened, err
}

// Secrets returns the values of items, which must not be locked. ErrNoItem: one
// was deleted meanwhile. ErrBadSecret: one cannot be decrypted.
func (s *Service) Secrets(ctx context.Context, items []Path) ([]string, error) {
	session, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	var asked []pending
	for _, item := range items {
		asked = append(asked, s.send(ctx, item, itemIface+".GetSecret", session.path))
	}
	values := make([]string, len(items))
	for i, p := range asked {
		if values[i], err = session.read(p); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (s *session) read(asked pending) (string, error) {
	b, err := asked.answer()
	if err != nil {
		return "", err
	}
	sec, err := b.secret(0)
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrBadSecret, err)
	}
	return s.open(sec)
}

// Item is what Create makes.
type Item struct {
	Label      string
	Attributes map[string]string
	Value      string
}

// Draft is an item that is ready to be sent.
type Draft struct {
	service    *Service
	properties map[string]dbus.Variant
	secret     secret
}

// Draft encrypts an item. Nothing is made yet: when it fails it may be tried
// again.
func (s *Service) Draft(ctx context.Context, item Item) (*Draft, error) {
	session, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return &Draft{
		service: s,
		properties: map[string]dbus.Variant{
			itemIface + ".Label":      dbus.MakeVariant(item.Label),
			itemIface + ".Attributes": dbus.MakeVariant(item.Attributes),
		},
		secret: session.seal(item.Value),
	}, nil
}

// Create makes the item in a collection, beside others of the same attributes.
// Either it is made, or prompt has to be answered first, with Created. On an
// error it may have been made all the same.
func (d *Draft) Create(ctx context.Context, collection Path) (item, prompt Path, err error) {
	b, err := d.service.send(ctx, collection, collectionIface+".CreateItem", d.properties, d.secret, false).answer()
	if err != nil {
		return "", "", err
	}
	if prompt, err = b.prompt(1); err != nil || prompt != "" {
		return "", prompt, err
	}
	item, err = made(b)
	return item, "", err
}

// Created shows the prompt that Create returned, and returns the item that was
// made when it was answered.
func (s *Service) Created(ctx context.Context, prompt Path) (item Path, err error) {
	result, err := s.prompt(ctx, prompt)
	if err != nil {
		return "", err
	}
	return made(result)
}

func made(b body) (Path, error) {
	item, err := b.path(0)
	if err == nil && item == "/" {
		err = fmt.Errorf("%w: it made no item and says that all is well", ErrMalformed)
	}
	return item, err
}

// Delete deletes an item. prompt is what has to be answered for that, "" for
// nothing.
func (s *Service) Delete(ctx context.Context, item Path) (prompt Path, err error) {
	b, err := s.send(ctx, item, itemIface+".Delete").answer()
	if err != nil {
		return "", err
	}
	return b.prompt(0)
}

// end closes the session, without waiting: the service closes it anyway when
// the connection ends.
func (s *Service) end() {
	select {
	case s.turn <- struct{}{}:
	default:
		return // it is just being opened
	}
	defer s.leave()
	if s.session != nil {
		s.conn.tell(s.owner, s.session.path, sessionIface+".Close")
	}
}
