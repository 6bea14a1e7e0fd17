package local

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// chosen is a key that has just been made for a header. It travels in the
// context of the Update that commits the header, and no further.
type chosen struct {
	id       *identity.Identity
	recovery []age.Recipient
}

type chosenKey struct{}

// unseal is the keystore.Unseal of every adapter here.
func (p *Place) unseal(ctx context.Context, h keystore.Header, meta []byte) (s keystore.Sealer, err error) {
	erase.Do(func() { s, err = p.sealer(ctx, h, meta) })
	return s, err
}

func (p *Place) sealer(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	if meta == nil {
		c, ok := ctx.Value(chosenKey{}).(chosen)
		if !ok {
			return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "no key was chosen for the new header"}
		}
		return seal.New(c.id, h.StoreID, c.recovery)
	}
	sealer, err := p.load(ctx, h, meta)
	if err != nil {
		return nil, err
	}
	if err := sealer.Meta().CheckSlots(h.Slots); err != nil {
		return nil, err
	}
	p.setRetired(sealer.Meta())
	return sealer, nil
}

// load opens the store with the identity that this process has, by the agent, or with
// the identity that it finds now.
func (p *Place) load(ctx context.Context, h keystore.Header, meta []byte) (*seal.Sealer, error) {
	id := p.inHand(h)
	if id == nil {
		return p.loadNew(ctx, h, meta)
	}
	sealer, err := seal.Load(id, h.StoreID, meta)
	if errors.Is(err, keystore.ErrTampered) {
		// Another process may have changed the key, and the file that gives it.
		p.forget(h)
		if again, newErr := p.loadNew(ctx, h, meta); newErr == nil {
			return again, nil
		}
	}
	return sealer, p.explain(err)
}

func (p *Place) loadNew(ctx context.Context, h keystore.Header, meta []byte) (*seal.Sealer, error) {
	sealer, failed := p.held(ctx, h, meta)
	if sealer != nil || ctx.Err() != nil {
		return sealer, failed
	}
	id, err := p.key(ctx, h)
	if err != nil {
		return nil, instead(err, failed)
	}
	sealer, err = seal.Load(id, h.StoreID, meta)
	return sealer, p.explain(err)
}

// explain says what is wrong with an identity file that is not the store's.
func (p *Place) explain(err error) error {
	if file, _ := p.identityFile(); errors.Is(err, seal.ErrOtherKey) && file != "" {
		return &keystore.Error{Store: file, Err: ErrNoIdentity,
			Detail: "this identity is not the one that the store is sealed with"}
	}
	return err
}

// key returns the identity of the store that h names, which the agent does not have.
func (p *Place) key(ctx context.Context, h keystore.Header) (*identity.Identity, error) {
	if id := p.inHand(h); id != nil {
		return id, nil
	}
	id, _, err := p.search(ctx, h)
	if err != nil {
		return nil, err
	}
	p.remember(h, id)
	return id, nil
}

// keyItself is key for what the agent's does not do for.
func (p *Place) keyItself(ctx context.Context, h keystore.Header) (*identity.Identity, error) {
	id, err := p.key(ctx, h)
	return id, p.despite(ctx, h, err)
}

// inHand returns the identity that was found for h before, nil if none was.
func (p *Place) inHand(h keystore.Header) *identity.Identity {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found[headerName(h)]
}

// remember keeps the key of this header, and of no other.
func (p *Place) remember(h keystore.Header, id *identity.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = map[string]*identity.Identity{headerName(h): id}
}

func (p *Place) forget(h keystore.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.found, headerName(h))
}

func headerName(h keystore.Header) string { return fmt.Sprintf("%s %q", h.StoreID, h.Slots) }
