package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// held opens the store by the agent. Without a Sealer and an error the agent does
// not have the key, or is not to be asked; an error says why it cannot be used.
func (p *Place) held(ctx context.Context, h keystore.Header, meta []byte) (*seal.Sealer, error) {
	if !p.agentMay(h) {
		return nil, nil
	}
	sealer, err := p.askAgent(ctx, h.StoreID, meta)
	if sealer != nil || err == nil || errors.Is(err, keystore.ErrLocked) {
		return sealer, nil
	}
	if ctx.Err() == nil {
		p.complain(fmt.Sprintf("the agent is of no use: %v", err))
	}
	return nil, err
}

// complain says what is wrong with the agent, once for each thing in a row.
func (p *Place) complain(text string) {
	p.mu.Lock()
	said := p.complaint == text
	p.complaint = text
	p.mu.Unlock()
	if !said {
		p.opts.Notice(text)
	}
}

// askAgent tries each key that the agent has of the store. One that is another than
// the store's is from before a rekey. What is wrong with the agent says nothing of the
// store: it is ErrLocked or ErrUnavailable.
func (p *Place) askAgent(ctx context.Context, store keystore.StoreID, meta []byte) (*seal.Sealer, error) {
	keys, err := p.agent.Keys(ctx, store)
	ours := errors.Is(err, keystore.ErrLocked) || errors.Is(err, keystore.ErrUnavailable)
	if err != nil && !ours && ctx.Err() == nil {
		err = &keystore.Error{Err: keystore.ErrUnavailable, Detail: err.Error()}
	}
	for _, key := range keys {
		sealer, failed := seal.LoadHeld(ctx, holder{p.agent.Holder(key)}, key, meta)
		if failed == nil {
			return sealer, nil
		}
		if !errors.Is(failed, seal.ErrOtherKey) {
			err = failed
		}
	}
	return nil, err
}

// holder is the agent. Its errors are lost.
type holder struct{ agent seal.Holder }

func (h holder) WrapKey(ctx context.Context, k keystore.RecordKey, salt seal.Salt) (keystore.Secret, error) {
	key, err := h.agent.WrapKey(ctx, k, salt)
	return key, lose(ctx, err)
}

func (h holder) Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]seal.Fresh, error) {
	fresh, err := h.agent.Fresh(ctx, k, n)
	return fresh, lose(ctx, err)
}

// lost is why the agent has not given what it had when the store was opened by it.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

func lose(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return lost{err}
}

// retry calls an Update or a View once more if the agent has lost the key meanwhile
// and there is another way to it: the store is opened anew then, as a process opens it
// that starts now. Somebody may be asked, so no lock of the store is held; nobody is
// for what has been reserved, under a credential's lock (find).
func (t tended) retry(ctx context.Context, call func() error) error {
	err := call()
	_, isLost := errors.AsType[lost](err)
	if !isLost || ctx.Err() != nil {
		return err
	}
	if err := t.p.reopen(ctx); err != nil {
		return err
	}
	return call()
}

// reopen has the adapter find the key anew. One at a time asks for it; the others wait
// for him as long as their contexts last, and find the key in this process then.
func (p *Place) reopen(ctx context.Context) error {
	a, ok := p.adapter.(interface{ Reopen(context.Context) error })
	if !ok {
		return nil
	}
	select {
	case <-p.asking:
		defer func() { p.asking <- struct{}{} }()
		return a.Reopen(ctx)
	case <-ctx.Done():
		return keystore.Ended(ctx)
	}
}

// agentMay reports whether the agent can have the key of the store that h names, and
// is to be asked for it.
func (p *Place) agentMay(h keystore.Header) bool {
	if file, _ := p.identityFile(); file != "" || p.opts.NoAgent || p.namedPassphrase || p.opts.Key == keystore.SlotKeychain {
		return false
	}
	return unlockable(h)
}

// unlockable reports whether the key of such a store is handed to the agent: not if it
// is in the keychain alone, which is what is unlocked then.
func unlockable(h keystore.Header) bool {
	return len(h.Slots) == 0 || slices.ContainsFunc(h.Slots, func(s keystore.Slot) bool { return s.Kind == keystore.SlotPassphrase })
}

// instead returns what to say when the agent has failed, and no other way was there.
func instead(err, failed error) error {
	_, nobody := errors.AsType[unasked](err)
	if failed != nil && (nobody || errors.Is(err, errNobody) || errors.Is(err, errNoIdentityNamed)) {
		return failed
	}
	return err
}

// despite is for what needs more than the agent has, when nobody has given it: that the
// store is locked would not be true.
func (p *Place) despite(ctx context.Context, h keystore.Header, err error) error {
	if !errors.Is(err, keystore.ErrLocked) || p.wasGiven(err) || p.opts.NoAgent || !unlockable(h) {
		return err
	}
	if keys, agentErr := p.agent.Keys(ctx, h.StoreID); agentErr != nil || len(keys) == 0 {
		return err
	}
	detail := "the passphrase itself is needed"
	switch {
	case errors.Is(err, errNoIdentityNamed):
		detail = "the identity file itself is needed, and every run must name it"
	case errors.Is(err, errNobody):
		detail += ", and nobody can be asked for it"
	default: // what a Prompt says
		detail += ": " + strings.TrimSuffix(err.Error(), ": "+keystore.ErrLocked.Error())
	}
	return &keystore.Error{Err: notEnough{err}, Detail: detail}
}

// wasGiven reports whether the ErrLocked is about what the run names or somebody has
// typed, or about a keychain.
func (p *Place) wasGiven(err error) bool {
	_, fromKeychain := errors.AsType[*keychain.Problem](err)
	file, _ := p.identityFile()
	return file != "" || fromKeychain || errors.Is(err, ErrPassphrase)
}

// notEnough is an ErrLocked of a store that is unlocked.
type notEnough struct{ error }

func (notEnough) Error() string   { return "the store is unlocked, but not for this" }
func (n notEnough) Unwrap() error { return n.error }
