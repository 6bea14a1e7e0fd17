package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// Change is what a rekey changes besides the key. The zero Change changes
// nothing else.
type Change struct {
	// AddRecovery are native age recipients ("age1…") that can read all
	// records from now on, and not write them. RemoveRecovery takes out those
	// that there are, before others are added.
	AddRecovery    []string
	RemoveRecovery bool

	// Keychain and Passphrase say what becomes of the slots of these kinds.
	Keychain, Passphrase SlotChange

	// NewPassphraseFile holds the passphrase that Passphrase sets; "fd:N" is
	// a descriptor that was handed over. "": Options.Prompt is asked.
	NewPassphraseFile string

	// NewIdentityFile is the next key of a store without slots.
	NewIdentityFile string
}

// SlotChange says what becomes of a slot.
type SlotChange int

const (
	Keep    SlotChange = iota // there is one afterwards if there was one before
	Add                       // there is one afterwards; of a passphrase, with a new one
	Replace                   // of a passphrase: a new one in the place of that there is
	Remove                    // there is none afterwards
)

// Rekey gives the store another key, in all its slots, and seals every record
// with it: records that were sealed before are refused from then on, and what is
// written from then on cannot be read with the key before. Copies that somebody
// made before still can: what they hold ends with a new login or a revocation.
//
// It is one Update: a crash leaves the store with the key before or after,
// whole. Other processes that have the store open go on, also those that have it by
// the agent: it has the next key before the store, on the terms of the one before, and
// forgets that afterwards. What held the key before is removed five minutes later, by
// whoever then writes to the store.
//
// It waits for logins that are being renewed, 45 seconds at most: their answers are
// stored or spooled with the key before, and what is spooled is stored first. A
// renewal that failed is waited for too, until 40 seconds after it began.
//
// Errors: ErrNotFound without a store; ErrInvalid for a change that this store
// cannot make; ErrBusy if another process has changed the key meanwhile, or a login
// is still being renewed; those of the key and of any record that cannot be read,
// which must be removed first.
func (p *Place) Rekey(ctx context.Context, c Change) (err error) {
	erase.Do(func() { err = p.rekey(ctx, c) })
	return keystore.Annotate(err, keystore.Error{Op: c.what(), Store: p.path})
}

// what is what somebody calls the change.
func (c Change) what() string {
	switch c.Passphrase {
	case Add:
		return "set the passphrase"
	case Replace:
		return "change the passphrase"
	case Remove:
		return "remove the passphrase"
	}
	return "rekey"
}

func (p *Place) rekey(ctx context.Context, c Change) error {
	if !p.sealed {
		return &keystore.Error{Err: keystore.ErrInvalid, Detail: "the records of this store lie in the keychain, and it has no key"}
	}
	r, err := p.plan(ctx, c)
	if err != nil {
		return err
	}
	if err := p.fill(ctx, r, c); err != nil {
		p.dropAfter(ctx, r.to, err)
		return err
	}
	p.announceKey(ctx, r)
	if err := p.change(ctx, r); err != nil {
		p.dropUnused(ctx, r.to)
		p.settleKeys(ctx, r)
		return err
	}
	p.settleKeys(ctx, r)
	p.remember(r.to, r.chosen.id)
	p.setRetired(r.after)
	return nil
}

// renewalWait is how long a rekey waits for logins that are being renewed: longer
// than any of them takes.
const renewalWait = 45 * time.Second

// errRenewing: the answer would be sealed with the key before, or not at all.
var errRenewing = fmt.Errorf("%w: the login is being renewed", keystore.ErrBusy)

// change makes the rekey as soon as no login is being renewed.
func (p *Place) change(ctx context.Context, r *rekeying) error {
	for began := time.Now(); ; {
		err := p.tryChange(ctx, r)
		if !errors.Is(err, errRenewing) || time.Since(began) >= renewalWait {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return keystore.Ended(ctx)
		}
	}
}

// tryChange first stores what waits in the spool, which is sealed with the key before.
// Nothing is tidied up by the way: r knows the meta record as it is.
func (p *Place) tryChange(ctx context.Context, r *rekeying) error {
	if err := keystore.New(p.adapter, p.rules()).Recover(ctx); err != nil {
		return err
	}
	return p.adapter.Update(context.WithValue(ctx, chosenKey{}, r.chosen), r.apply)
}

// rekeying is one rekey under way.
type rekeying struct {
	chosen
	from, to keystore.Header
	old      *identity.Identity
	before   []byte // payload of the meta record before
	after    seal.Meta
	earlier  []seal.Retired // as the meta record has them
	moved    bool           // the store is not where its key was made
	now      func() time.Time
	kinds    []keystore.SlotKind // of the slots afterwards
}

// plan finds out what the rekey has to do, and that it can be done. Nothing is
// made yet.
func (p *Place) plan(ctx context.Context, c Change) (*rekeying, error) {
	r := &rekeying{now: p.opts.Clock}
	if err := p.own(ctx, c); err != nil {
		return nil, err
	}
	err := p.adapter.View(ctx, func(v keystore.Reader) (err error) {
		r.from = v.Header()
		if r.from.IsZero() {
			return &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
		}
		r.before, err = v.Get(keystore.MetaKey)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.after, err = seal.ParseMeta(r.before); err != nil {
		return nil, err
	}
	if err := r.after.CheckSlots(r.from.Slots); err != nil {
		return nil, err
	}
	r.earlier, r.moved = r.after.Retired, r.after.Home != p.home()
	if r.kinds, err = c.kinds(r.from); err != nil {
		return nil, err
	}
	r.to.StoreID = r.from.StoreID
	return r, r.recover(c)
}

// own has the store opened by its identity, which is asked for although the agent may
// have the key: what is read under a lock shall not depend on who can lose it.
// Nobody is asked for a change that cannot be made.
func (p *Place) own(ctx context.Context, c Change) error {
	h, _, err := p.locked(ctx)
	if err != nil {
		return err
	}
	if _, err := c.kinds(h); err != nil {
		return err
	}
	if _, err := p.keyItself(ctx, h); err != nil {
		return err
	}
	return p.reopen(ctx)
}

// recover fills in the recovery recipients.
func (r *rekeying) recover(c Change) error {
	if c.RemoveRecovery {
		r.after.Recipients = nil
	}
	for _, text := range c.AddRecovery {
		if !slices.Contains(r.after.Recipients, text) {
			r.after.Recipients = append(r.after.Recipients, text)
		}
	}
	for _, text := range r.after.Recipients {
		recipient, err := seal.ParseRecovery(text)
		if err != nil {
			return err
		}
		r.recovery = append(r.recovery, recipient)
	}
	return nil
}

// kinds returns the kinds of slot that a store with header h has afterwards.
func (c Change) kinds(h keystore.Header) ([]keystore.SlotKind, error) {
	var kinds []keystore.SlotKind
	for _, k := range []struct {
		kind   keystore.SlotKind
		change SlotChange
	}{{keystore.SlotKeychain, c.Keychain}, {keystore.SlotPassphrase, c.Passphrase}} {
		has := slices.ContainsFunc(h.Slots, func(s keystore.Slot) bool { return s.Kind == k.kind })
		switch {
		case k.change == Add && has:
			return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("its key is in a %s already", k.kind)}
		case (k.change == Remove || k.change == Replace) && !has:
			return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("its key is in no %s", k.kind)}
		case k.change == Add || has && k.change != Remove:
			kinds = append(kinds, k.kind)
		}
	}
	switch {
	case len(kinds) == 0 && len(h.Slots) > 0:
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "the key would lie nowhere"}
	case len(kinds) == 0 && c.NewIdentityFile == "":
		return nil, &keystore.Error{Err: keystore.ErrInvalid,
			Detail: "its key is an identity file that every run names: name a file with the next one, made by age-keygen"}
	case len(kinds) > 0 && c.NewIdentityFile != "":
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "its key is made anew: it takes no identity file"}
	}
	return kinds, nil
}

// fill makes the next key and the slots that hold it.
func (p *Place) fill(ctx context.Context, r *rekeying, c Change) error {
	id, err := p.nextKey(ctx, r, c)
	if err != nil {
		return err
	}
	r.id = id
	// What would be refused when the header is written is refused before
	// anything is made for it.
	if _, err := seal.New(id, r.to.StoreID, r.recovery); err != nil {
		return err
	}
	var passphrase keystore.Secret
	if slices.Contains(r.kinds, keystore.SlotPassphrase) { // asked for before anything is made
		if passphrase, err = p.nextPassphrase(ctx, r, c); err != nil {
			return err
		}
	}
	for _, kind := range r.kinds {
		slot, err := p.nextSlot(ctx, kind, r, passphrase)
		if slot.Name != "" { // also after an error, which does not say that nothing was made
			r.to.Slots = append(r.to.Slots, slot)
		}
		if err != nil {
			return err
		}
	}
	r.after = r.after.Written(p.home(), r.to.Slots)
	return nil
}

func (p *Place) nextKey(ctx context.Context, r *rekeying, c Change) (*identity.Identity, error) {
	var err error
	if r.old, err = p.keyItself(ctx, r.from); err != nil {
		return nil, err
	}
	if c.NewIdentityFile == "" {
		return r.old.Next()
	}
	id, err := p.fromIdentityFile(c.NewIdentityFile, r.from.StoreID)
	if err == nil && id.Text().Reveal() == r.old.Text().Reveal() {
		err = &keystore.Error{Store: c.NewIdentityFile, Err: keystore.ErrInvalid, Detail: "this identity is the one that the store has now"}
	}
	return id, err
}

func (p *Place) nextSlot(ctx context.Context, kind keystore.SlotKind, r *rekeying, passphrase keystore.Secret) (keystore.Slot, error) {
	if kind == keystore.SlotKeychain {
		account, err := keychain.CreateKey(ctx, p.keychain, r.to.StoreID, r.id.Text())
		return keystore.Slot{Kind: kind, Name: account}, err
	}
	return p.passphraseSlot(r.id, r.to.StoreID, passphrase)
}

// nextPassphrase returns the new passphrase, or the one that there is.
func (p *Place) nextPassphrase(ctx context.Context, r *rekeying, c Change) (keystore.Secret, error) {
	switch {
	case c.Passphrase == Keep:
		return p.currentPassphrase(ctx, r.from)
	case c.NewPassphraseFile != "":
		return readPassphrase(c.NewPassphraseFile, p.opts.Getenv)
	case p.opts.Prompt != nil:
		return p.opts.Prompt(ctx, Question{Store: p.String(), New: true})
	}
	return keystore.Secret{}, &keystore.Error{Err: keystore.ErrLocked, Detail: "nobody can be asked for the new passphrase"}
}

// currentPassphrase returns the passphrase that opens the store, which the
// keychain may have opened so far.
func (p *Place) currentPassphrase(ctx context.Context, h keystore.Header) (keystore.Secret, error) {
	var files []string
	for _, s := range h.Slots {
		if s.Kind == keystore.SlotPassphrase {
			files = append(files, s.Name)
		}
	}
	if _, ok := p.again(files, h.StoreID); ok {
		return p.lastPassphrase(), nil
	}
	var err error
	switch {
	case p.opts.PassphraseFile != "":
		_, err = p.fromPassphraseFile(files, h.StoreID)
	case p.opts.Prompt != nil:
		_, err = p.ask(ctx, files, h.StoreID)
	default:
		err = &keystore.Error{Err: keystore.ErrLocked, Detail: "the next key goes behind the passphrase too, and nobody can be asked for it"}
	}
	return p.lastPassphrase(), err
}

func (p *Place) lastPassphrase() keystore.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passphrase
}

// apply is the Update: everything is read with the key before, and written with
// the key after.
func (r *rekeying) apply(w keystore.Writer) error {
	before, err := w.Get(keystore.MetaKey)
	if err != nil {
		return err
	}
	if headerName(w.Header()) != headerName(r.from) || string(before) != string(r.before) {
		return &keystore.Error{Err: keystore.ErrBusy, Detail: "another process has changed its key meanwhile"}
	}
	if err := r.mayBegin(w); err != nil {
		return err
	}
	if err := w.SetHeader(r.to); err != nil {
		return err
	}
	r.after.Retired = r.retired()
	meta, err := seal.FormatMeta(r.after)
	if err != nil {
		return err
	}
	for _, kind := range keystore.Kinds() {
		if err := rewriteAll(w, kind, meta); err != nil {
			return err
		}
	}
	return nil
}

// mayBegin returns errRenewing while a login is being renewed.
func (r *rekeying) mayBegin(w keystore.Writer) error {
	key, underWay, err := keystore.Renewing(w, r.now())
	if underWay {
		err = &keystore.Error{Key: key, Err: errRenewing}
	}
	return err
}

// retired returns the slots of earlier rekeys and those that this one replaces.
// Their time is that of this moment: a person may have been asked since the
// beginning. Of a store that was copied, the keychain items are the original's
// too: they stay.
func (r *rekeying) retired() []seal.Retired {
	var list []seal.Retired
	if !r.moved {
		list = slices.Clone(r.earlier)
	}
	for _, slot := range r.from.Slots {
		if r.moved && slot.Kind == keystore.SlotKeychain {
			continue
		}
		list = append(list, seal.Retired{Kind: slot.Kind, Name: slot.Name, At: r.now().Unix()})
	}
	return list
}

// Recovery returns the recovery recipients of the store.
func (p *Place) Recovery(ctx context.Context) ([]string, error) {
	var m seal.Meta
	err := p.adapter.View(ctx, func(r keystore.Reader) error {
		payload, err := r.Get(keystore.MetaKey)
		if err == nil {
			m, err = seal.ParseMeta(payload)
		}
		return err
	})
	return m.Recipients, err
}
