//go:build unix && !darwin

package keychain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/internal/secretservice"
	"github.com/globus-keys/globus-keys/keystore"
)

// secretService is the Secret Service of a desktop session.
type secretService struct {
	client *secretservice.Client
	opts   Options

	asking  chan struct{} // a seat: whoever fills it may ask, and use refused
	refused *Problem      // what came of the dialog after which nobody is asked again
	notice  sync.Once

	limits limits
}

// limits are what tests make shorter.
type limits struct {
	probe  time.Duration // a probe as a whole
	silent time.Duration // what waits for nobody
	answer time.Duration // what waits for a person

	// settle is how long KWallet keeps an item in memory before it writes it,
	// if nothing else is written meanwhile; saved is the same of KeePassXC, which
	// derives a key first: a second with its usual setting, more with others.
	settle, saved time.Duration

	// shown is after what time a prompt is one that shows something: those of
	// KWallet and KeePassXC often end at once.
	shown time.Duration

	after func(time.Duration) <-chan time.Time
}

func newSecretService(o Options) *secretService {
	return &secretService{
		client: secretservice.New(o.Getenv),
		opts:   o,
		asking: make(chan struct{}, 1),
		limits: limits{probe: probeTime, silent: silentTime, answer: 2 * time.Minute, settle: 6 * time.Second, saved: 5 * time.Second,
			shown: 300 * time.Millisecond, after: time.After},
	}
}

func (b *secretService) Traits() Traits {
	return Traits{
		Name:   "Secret Service",
		Unlock: "log in to your desktop, or unlock the keyring in its settings (Passwords and Keys, KWalletManager, KeePassXC)",
	}
}

func (b *secretService) Close() error { return b.client.Close() }

func (b *secretService) Probe(ctx context.Context) (State, error) {
	p := newPatience(ctx, b.limits.probe)
	defer p.end(nil)
	err := b.explain(p, b.client.Do(p, func(s *secretservice.Service) error { return probe(p, s) }))
	var problem *Problem
	switch {
	case err == nil:
		return Ready, nil
	case errors.As(err, &problem):
		return problem.State, err
	}
	return Unknown, err
}

func probe(ctx context.Context, s *secretservice.Service) error {
	collection, err := s.Default(ctx)
	if err != nil {
		return err
	}
	locked, err := s.Locked(ctx, collection)
	if err == nil && locked {
		err = secretservice.ErrLocked
	}
	return err
}

func (b *secretService) Get(ctx context.Context, account string) (value keystore.Secret, err error) {
	if err := checkAccount(account); err != nil {
		return value, err
	}
	p := newPatience(ctx, b.limits.silent)
	defer p.end(nil)
	err = b.client.Do(p, func(s *secretservice.Service) (err error) {
		value, err = b.get(p, s, account)
		return err
	})
	return value, b.explain(p, err)
}

func (b *secretService) get(p *patience, s *secretservice.Service, account string) (value keystore.Secret, err error) {
	s.Prepare(p)
	items, hidden, err := b.find(p, s, account)
	if err != nil {
		return value, err
	}
	if len(items) == 0 && hidden {
		return value, locked("it has no such item, but not all of its keyrings are unlocked")
	}
	if len(items) == 0 {
		return value, &keystore.Error{Err: keystore.ErrNotFound}
	}
	values, err := s.Secrets(p, items)
	if errors.Is(err, secretservice.ErrNoItem) {
		return value, &keystore.Error{Err: keystore.ErrNotFound}
	}
	if err != nil {
		return value, err
	}
	if len(slices.Compact(values)) > 1 {
		return value, &keystore.Error{Err: keystore.ErrTampered,
			Detail: fmt.Sprintf("there are %d items of this name with different values", len(items))}
	}
	return keystore.NewSecret(values[0]), nil
}

// find returns the items of an account, unlocked. hidden: there are locked
// collections, which may have more than the service tells: gnome-keyring knows
// the items of those, KWallet and KeePassXC do not.
func (b *secretService) find(p *patience, s *secretservice.Service, account string) (items []secretservice.Path, hidden bool, err error) {
	if err := b.openFirst(p, s); err != nil {
		return nil, false, err
	}
	open, closed, err := s.Search(p, attributes(account))
	if err != nil || len(open) > 0 {
		return open, false, err
	}
	if len(closed) > 0 {
		return closed, false, b.unlock(p, s, closed)
	}
	collection, err := s.Default(p)
	if err != nil {
		return nil, false, err
	}
	shut, err := s.LockedCollections(p)
	if err != nil || len(shut) == 0 {
		return nil, false, err
	}
	knows, err := s.AlsoOwns(p, gnomeKeyring)
	if err != nil || !slices.Contains(shut, collection) {
		return nil, !knows, err
	}
	if err := b.unlock(p, s, []secretservice.Path{collection}); err != nil {
		return nil, false, err
	}
	open, _, err = s.Search(p, attributes(account))
	return open, len(shut) > 1 && !knows, err
}

// openFirst unlocks what KeePassXC has locked: there a search of a locked
// database shows a dialog by itself, and answers when that is answered.
func (b *secretService) openFirst(p *patience, s *secretservice.Service) error {
	is, err := s.AlsoOwns(p, keepassxc)
	if err != nil || !is {
		return err
	}
	shut, err := s.LockedCollections(p)
	if err != nil || len(shut) == 0 {
		return err
	}
	return b.unlock(p, s, shut)
}

func (b *secretService) Delete(ctx context.Context, account string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	p := newPatience(ctx, b.limits.silent)
	defer p.end(nil)
	err := b.client.Do(p, func(s *secretservice.Service) error {
		// What another locked keyring may hide does not count: we make items in
		// the default one, and the sweeper would never come to an end.
		items, _, err := b.find(p, s, account)
		for _, item := range items {
			if err == nil {
				err = b.delete(p, s, item)
			}
		}
		return err
	})
	return b.explain(p, err)
}

func (b *secretService) delete(p *patience, s *secretservice.Service, item secretservice.Path) error {
	prompt, err := s.Delete(p, item)
	if errors.Is(err, secretservice.ErrNoItem) {
		return nil // somebody else did
	}
	if err != nil || prompt == "" {
		return err
	}
	return b.ask(p, s, prompt, func(ctx context.Context) error { return s.Answer(ctx, prompt) })
}

// attributes are those of go-keyring: it and secret-tool find our items, and we
// theirs.
func attributes(account string) map[string]string {
	return map[string]string{"service": Service, "username": account}
}
