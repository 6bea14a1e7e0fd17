package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// announceKey gives the agent the next key of a store that is unlocked, before the
// store has it, so that no other process finds it locked. An agent that cannot take
// it is no reason not to change a key.
func (p *Place) announceKey(ctx context.Context, r *rekeying) {
	if !unlockable(r.to) {
		return
	}
	if err := p.agent.Succeed(ctx, seal.KeyOf(r.id, r.to.StoreID)); err != nil && !errors.Is(err, keystore.ErrLocked) {
		p.opts.Notice(fmt.Sprintf("the agent did not take the next key: the store will be locked there (%v)", err))
	}
}

// settleKeys has the agent forget the key that is not, or no more, the store's. If
// that cannot be told it keeps both, of which one opens nothing.
func (p *Place) settleKeys(ctx context.Context, r *rekeying) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(keychain.Silently(ctx)), dropTime)
	defer cancel()
	h, meta, err := p.locked(ctx)
	if err != nil {
		return
	}
	useless := r.old
	if _, err := seal.Load(r.id, h.StoreID, meta); errors.Is(err, seal.ErrOtherKey) {
		useless = r.id
	} else if err != nil {
		return
	}
	err = p.agent.Drop(ctx, seal.KeyOf(useless, r.to.StoreID).Public)
	if err != nil && !errors.Is(err, keystore.ErrLocked) {
		p.opts.Notice(fmt.Sprintf("the agent may still have a key that is not the store's any more (%v): stop it", err))
	}
}
