package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// held opens the store by the agent. Without a Sealer and an error the agent does
// not have the key, or is not to be asked; an error says why it cannot be used.
func (p *Place) held(ctx context.Context, h keystore.Header, meta []byte) (*seal.Sealer, error) {
	if !p.agentMay(h) {
		return nil, nil
	}
	keys, err := p.agent.Keys(ctx, h.StoreID)
	for _, key := range keys {
		var sealer *seal.Sealer
		sealer, err = seal.LoadHeld(ctx, p.agent.Holder(key), key, meta)
		if err == nil {
			return sealer, nil
		}
		if errors.Is(err, seal.ErrOtherKey) { // the store was given another key
			err = nil
		}
	}
	if err == nil || errors.Is(err, keystore.ErrLocked) {
		return nil, nil
	}
	if ctx.Err() == nil {
		p.opts.Notice(fmt.Sprintf("the agent does not help to open the store: %v", err))
	}
	return nil, err
}

// agentMay reports whether the agent can have the key of the store that h names, and
// is to be asked for it.
func (p *Place) agentMay(h keystore.Header) bool {
	if file, _ := p.identityFile(); file != "" || p.opts.NoAgent || p.namedPassphrase || p.opts.Key == keystore.SlotKeychain {
		return false
	}
	return unlockable(h)
}

// unlockable reports whether the agent is where the key of such a store can be.
func unlockable(h keystore.Header) bool {
	for _, s := range h.Slots {
		if s.Kind == keystore.SlotPassphrase {
			return true
		}
	}
	return len(h.Slots) == 0
}

// instead returns what to say when the agent has failed, and no other way was there.
func instead(err, failed error) error {
	if failed != nil && (errors.Is(err, errNobody) || errors.Is(err, errNoIdentityNamed)) {
		return failed
	}
	return err
}
