//go:build unix && !darwin

package secretservice

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"
)

const (
	busName                 = "org.freedesktop.DBus"
	busPath dbus.ObjectPath = "/org/freedesktop/DBus"

	serviceName                 = "org.freedesktop.secrets"
	servicePath dbus.ObjectPath = "/org/freedesktop/secrets"
	volatile    dbus.ObjectPath = "/org/freedesktop/secrets/collection/session"

	serviceIface    = "org.freedesktop.Secret.Service"
	collectionIface = "org.freedesktop.Secret.Collection"
	itemIface       = "org.freedesktop.Secret.Item"
	sessionIface    = "org.freedesktop.Secret.Session"
	promptIface     = "org.freedesktop.Secret.Prompt"
)

// Path names an item, collection or prompt of the service.
type Path = dbus.ObjectPath

// Service is the program that provides the Secret Service. All calls go to that
// very program, by the unique name of its connection: another that takes its
// place knows neither our session nor our prompts.
type Service struct {
	conn  *conn
	owner string

	turn    chan struct{} // a seat: whoever fills it may use session
	session *session      // nil: not opened
}

func newService(c *conn, owner string) *Service {
	return &Service{conn: c, owner: owner, turn: make(chan struct{}, 1)}
}

// find returns the service that runs, and starts it if none does.
func find(ctx context.Context, c *conn) (*Service, error) {
	owner, err := ownerOf(c.toBus(ctx, "GetNameOwner", serviceName))
	if err != nil {
		return nil, err
	}
	if owner == "" {
		owner, err = start(ctx, c)
	}
	return newService(c, owner), err
}

// ownerOf returns "" if nobody owns the name.
func ownerOf(asked pending) (string, error) {
	values, err := asked.raw()
	if errorName(err) == noOwner {
		return "", nil
	}
	if err != nil {
		return "", fault(asked.ctx, err)
	}
	return get[string](values, 0)
}

func start(ctx context.Context, c *conn) (owner string, err error) {
	b, err := c.toBus(ctx, "ListActivatableNames").answer()
	if err != nil {
		return "", err
	}
	names, err := get[[]string](b, 0)
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, serviceName) {
		return "", ErrNoService
	}
	if err := startFault(ctx, c.toBus(ctx, "StartServiceByName", serviceName, uint32(0))); err != nil {
		return "", err
	}
	owner, err = ownerOf(c.toBus(ctx, "GetNameOwner", serviceName))
	if err == nil && owner == "" {
		err = fmt.Errorf("%w: it ended at once", ErrStart)
	}
	return owner, err
}

// startFault is no ErrGone: what failed to start is not started twice.
func startFault(ctx context.Context, asked pending) error {
	_, err := asked.raw()
	var reply dbus.Error
	switch {
	case !errors.As(err, &reply):
		return fault(ctx, err)
	case reply.Name == noProvider:
		return ErrNoService
	}
	return fmt.Errorf("%w (%s)", ErrStart, quote(reply))
}

func (s *Service) send(ctx context.Context, path Path, method string, args ...any) pending {
	return s.conn.send(ctx, s.owner, path, method, args...)
}

func (s *Service) property(ctx context.Context, path Path, iface, name string) pending {
	return s.send(ctx, path, "org.freedesktop.DBus.Properties.Get", iface, name)
}

// Current reports whether this is still the program that provides the service.
func (s *Service) Current(ctx context.Context) (bool, error) {
	return s.AlsoOwns(ctx, serviceName)
}

// AlsoOwns reports whether the program has one of these names on the bus too.
func (s *Service) AlsoOwns(ctx context.Context, names ...string) (bool, error) {
	var asked []pending
	for _, name := range names {
		asked = append(asked, s.conn.toBus(ctx, "GetNameOwner", name))
	}
	for _, p := range asked {
		if owner, err := ownerOf(p); err != nil || owner == s.owner {
			return err == nil, err
		}
	}
	return false, nil
}

// Default returns the collection for new items. ErrNoCollection: there is none.
// ErrVolatile: it is the one that lives as long as the session.
func (s *Service) Default(ctx context.Context) (Path, error) {
	b, err := s.send(ctx, servicePath, serviceIface+".ReadAlias", "default").answer()
	if err != nil {
		return "", err
	}
	collection, err := b.path(0)
	switch {
	case err != nil:
		return "", err
	case collection == "/":
		return "", ErrNoCollection
	case collection == volatile:
		return "", ErrVolatile
	}
	return collection, nil
}

// Locked reports whether a collection is locked.
func (s *Service) Locked(ctx context.Context, collection Path) (bool, error) {
	return locked(s.property(ctx, collection, collectionIface, "Locked"))
}

func locked(asked pending) (bool, error) {
	b, err := asked.answer()
	if err != nil {
		return false, err
	}
	value, err := b.variant(0)
	if err != nil {
		return false, err
	}
	return get[bool](value, 0)
}

// LockedCollections returns those of all collections that are locked.
func (s *Service) LockedCollections(ctx context.Context) ([]Path, error) {
	b, err := s.property(ctx, servicePath, serviceIface, "Collections").answer()
	if err != nil {
		return nil, err
	}
	value, err := b.variant(0)
	if err != nil {
		return nil, err
	}
	all, err := value.paths(0)
	if err != nil {
		return nil, err
	}
	var asked []pending
	for _, c := range all {
		asked = append(asked, s.property(ctx, c, collectionIface, "Locked"))
	}
	var closed []Path
	for i, p := range asked {
		is, err := locked(p)
		if err != nil {
			return nil, err
		}
		if is {
			closed = append(closed, all[i])
		}
	}
	return closed, nil
}

// Search returns the items, of all collections, that have these attributes.
func (s *Service) Search(ctx context.Context, attributes map[string]string) (open, closed []Path, err error) {
	b, err := s.send(ctx, servicePath, serviceIface+".SearchItems", attributes).answer()
	if err != nil {
		return nil, nil, err
	}
	if open, err = b.paths(0); err != nil {
		return nil, nil, err
	}
	closed, err = b.paths(1)
	return open, closed, err
}

// Unlock unlocks items or collections. prompt is what has to be answered for
// that, "" for nothing.
func (s *Service) Unlock(ctx context.Context, objects []Path) (prompt Path, err error) {
	b, err := s.send(ctx, servicePath, serviceIface+".Unlock", objects).answer()
	if err != nil {
		return "", err
	}
	return b.prompt(1)
}

// Answer shows a prompt's dialog and waits for its end; see prompt.
func (s *Service) Answer(ctx context.Context, prompt Path) error {
	_, err := s.prompt(ctx, prompt)
	return err
}
