package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// ByIdentityFile stands beside the kinds of slot for a key that the run has named.
const ByIdentityFile keystore.SlotKind = "identity-file"

// DefaultTTL is for how long a store is unlocked if nobody says otherwise.
const DefaultTTL = 8 * time.Hour

// UnlockOptions of Place.Unlock. The zero value is good.
type UnlockOptions struct {
	TTL  time.Duration // 1 second to 30 days; 0 means DefaultTTL
	Idle time.Duration // the store is locked when it was not used for so long; 0: it is not

	// Start starts an agent, if none runs, and returns when it serves. nil: that
	// there is none is an error.
	Start func(ctx context.Context) error
}

// Unlocked says what Unlock has done.
type Unlocked struct {
	By    keystore.SlotKind // where the key came from; or ByIdentityFile
	Agent bool              // the agent has it now; else the keychain is what is unlocked
	Until time.Time         // when the agent forgets it, at the latest; zero without the agent
}

// Unlock opens the store by what Options allow, but not by the agent. A key that came
// from a passphrase or an identity file is then handed to the agent, when it has been
// seen to open the store: the key of its seals, not the identity. If it lies in the
// keychain, or the records do, that is unlocked, and it is checked that the store
// opens: the agent gets nothing then.
//
// A store that is unlocked already is unlocked anew, on these terms. Errors:
// ErrNotFound if there is no store; ErrInvalid for a TTL or an Idle out of range,
// before anybody is asked; those of the key and of the agent (ErrLocked: there is
// none, and no Start).
func (p *Place) Unlock(ctx context.Context, o UnlockOptions) (u Unlocked, err error) {
	erase.Do(func() { u, err = p.unlock(ctx, o) })
	return u, keystore.Annotate(err, keystore.Error{Op: "unlock", Store: p.path})
}

func (p *Place) unlock(ctx context.Context, o UnlockOptions) (Unlocked, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < time.Second || o.TTL > agent.MaxTTL || o.Idle < 0 || o.Idle > agent.MaxTTL {
		return Unlocked{}, &keystore.Error{Err: keystore.ErrInvalid,
			Detail: fmt.Sprintf("it is unlocked for 1 second to %d days", agent.MaxTTL/(24*time.Hour))}
	}
	if !p.sealed {
		return Unlocked{By: keystore.SlotKeychain}, p.checkKeychain(ctx)
	}
	id, store, by, err := p.opening(ctx, o)
	if err != nil || by == keystore.SlotKeychain {
		return Unlocked{By: by}, err
	}
	until := p.opts.Clock().Add(o.TTL)
	if err := p.handOver(ctx, seal.KeyOf(id, store), o); err != nil {
		return Unlocked{By: by}, err
	}
	return Unlocked{By: by, Agent: true, Until: until}, nil
}

// opening finds the identity that opens the store, as it is when somebody has typed what
// leads there: another process may have changed the key meanwhile, and what held the one
// before is there for a while.
func (p *Place) opening(ctx context.Context, o UnlockOptions) (id *identity.Identity, store keystore.StoreID, by keystore.SlotKind, err error) {
	h, meta, err := p.locked(ctx)
	for err == nil {
		if err = p.mayHandOver(ctx, h, o); err != nil {
			break
		}
		if id, by, err = p.find(ctx, h); err != nil {
			break
		}
		before, beforeMeta := h, meta
		if h, meta, err = p.locked(ctx); err == nil && headerName(h) == headerName(before) && bytes.Equal(meta, beforeMeta) {
			return id, h.StoreID, by, p.opens(id, h, meta)
		}
	}
	return nil, h.StoreID, by, err
}

// mayHandOver finds out, before anybody types, what would be in the way.
func (p *Place) mayHandOver(ctx context.Context, h keystore.Header, o UnlockOptions) error {
	if items, _ := p.slots(h); len(items) > 0 { // it may not be needed
		return nil
	}
	if running, err := p.agentRuns(ctx, h.StoreID); err != nil && (running || o.Start == nil) {
		return err
	}
	return nil
}

// locked returns what can be read of a store without its key.
func (p *Place) locked(ctx context.Context) (h keystore.Header, meta []byte, err error) {
	err = p.adapter.View(ctx, func(r keystore.Reader) (err error) {
		if h = r.Header(); h.IsZero() {
			return &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
		}
		if sealed, ok := r.(keystore.SealedReader); ok {
			meta, err = sealed.Sealed(keystore.MetaKey)
		}
		if errors.Is(err, keystore.ErrNotFound) { // which seal.Load refuses
			err = nil
		}
		return err
	})
	return h, meta, err
}

// opens checks that id is the key of the store: no other is handed to anybody.
func (p *Place) opens(id *identity.Identity, h keystore.Header, meta []byte) error {
	sealer, err := seal.Load(id, h.StoreID, meta)
	if err != nil {
		return p.explain(err)
	}
	return sealer.Meta().CheckSlots(h.Slots)
}

// agentRuns asks the agent for anything. The error says that there is none, or that it
// is of no use.
func (p *Place) agentRuns(ctx context.Context, store keystore.StoreID) (running bool, err error) {
	_, err = p.agent.Keys(ctx, store)
	return !errors.Is(err, agent.ErrNoAgent), err
}

// handOver gives the key to the agent, which is started if there is none. This process
// forgets the passphrase: what is locked later must not open by it.
func (p *Place) handOver(ctx context.Context, key seal.Key, o UnlockOptions) error {
	if running, _ := p.agentRuns(ctx, key.Store); !running && o.Start != nil {
		if err := o.Start(ctx); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.passphrase = keystore.Secret{}
	p.mu.Unlock()
	return p.agent.Unlock(ctx, key, p.String(), agent.Terms{TTL: o.TTL, Idle: o.Idle})
}

// checkKeychain has the keychain unlocked, and a record of a store that lies there
// read, if it has one.
func (p *Place) checkKeychain(ctx context.Context) error {
	return p.adapter.View(ctx, func(r keystore.Reader) error {
		if r.Header().IsZero() {
			return &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
		}
		for _, kind := range keystore.Kinds() {
			for k, err := range r.Keys(kind) {
				if err == nil {
					_, err = r.Get(k)
				}
				return err
			}
		}
		// Who asks for an item that never was is asked to unlock all the same.
		p.keychain.Get(ctx, "v1/"+r.Header().StoreID.String()+"/none")
		if state, err := p.keychain.Probe(ctx); state != keychain.Ready {
			return err
		}
		return nil
	})
}

// Lock has the agent forget the store's keys, and says how many there were: 0 if it
// had none, or there is no agent. Who has the key himself, in a process that has found
// it without the agent, keeps it until he closes the store. Keys that the agent has for
// this place are forgotten too, if another store lies there now, or one that cannot be
// read; that is an error all the same. Errors: ErrNotFound if there is no store; those of
// the agent.
func (p *Place) Lock(ctx context.Context) (n int, err error) {
	h, _, err := p.locked(ctx)
	if err == nil {
		n, err = p.agent.Lock(ctx, h.StoreID)
	}
	named, agentErr := p.Forget(ctx)
	if errors.Is(err, agent.ErrNoAgent) {
		err = nil
	}
	if err == nil {
		err = agentErr
	}
	return n + named, keystore.Annotate(err, keystore.Error{Op: "lock", Store: p.path})
}

// Forget has the agent forget what was unlocked as this place, whatever lies there now,
// and says how many keys that were. It reads nothing of the store. Errors: those of the
// agent; that there is none is none.
func (p *Place) Forget(ctx context.Context) (n int, err error) {
	st, err := p.agent.Status(ctx)
	if errors.Is(err, agent.ErrNoAgent) {
		return 0, nil
	}
	for _, k := range st.Keys {
		id, idErr := keystore.ParseStoreID(k.Store)
		if !k.IsOf(p.String()) || idErr != nil {
			continue
		}
		locked, lockErr := p.agent.Lock(ctx, id)
		n, err = n+locked, errors.Join(err, lockErr)
	}
	return n, err
}
