package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// MakeOp is the Op of the *keystore.Error that says why a store was not made.
const MakeOp = "make the store"

// dropTime bounds the removal of what holds a key that is not used.
const dropTime = 4 * time.Second

// create makes the store and its key. The key is durable, in its slot, before
// the header that names the slot; what another process makes meanwhile wins.
func (p *Place) create(ctx context.Context) (err error) {
	erase.Do(func() { err = p.make(ctx) })
	return err
}

func (p *Place) make(ctx context.Context) error {
	if !p.sealed {
		return making(p.createUnsealed(ctx))
	}
	id, h, err := p.newKey(ctx)
	if err != nil {
		p.dropAfter(ctx, h, err)
		return making(err)
	}
	err = p.writeHeader(ctx, id, h)
	used := p.dropUnused(ctx, h)
	if err == nil && used && len(h.Slots) > 0 && h.Slots[0].Kind == keystore.SlotKeychain {
		p.opts.Notice(fmt.Sprintf("the key of the new store is in the %s; set a passphrase too, in case that is ever lost", p.keychain.Traits().Name))
	}
	return err
}

// making says what failed: it is not about a store that exists.
func making(err error) error {
	if err == nil {
		return nil
	}
	return &keystore.Error{Op: MakeOp, Err: err}
}

// createUnsealed makes a store whose records the keychain guards: it has no
// key. What cannot be written to later is not made.
func (p *Place) createUnsealed(ctx context.Context) error {
	if state, err := p.keychain.Probe(ctx); state != keychain.Ready && state != keychain.Locked {
		return err
	}
	return p.adapter.Update(ctx, func(w keystore.Writer) error {
		if !w.Header().IsZero() {
			return nil
		}
		return w.SetHeader(keystore.Header{StoreID: newStoreID()})
	})
}

func (p *Place) writeHeader(ctx context.Context, id *identity.Identity, h keystore.Header) error {
	meta, err := seal.FormatMeta(seal.Meta{}.Written(p.home(), h.Slots))
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, chosenKey{}, chosen{id: id})
	return p.adapter.Update(ctx, func(w keystore.Writer) error {
		if !w.Header().IsZero() {
			return nil
		}
		if err := w.SetHeader(h); err != nil {
			return err
		}
		return w.Put(keystore.MetaKey, meta)
	})
}

// newKey makes the key of a new store, in the first place there is for it.
func (p *Place) newKey(ctx context.Context) (*identity.Identity, keystore.Header, error) {
	file, creates := p.identityFile()
	switch {
	case file != "" && creates:
		return p.givenKey(file)
	case file != "":
		return nil, keystore.Header{}, &keystore.Error{Store: file, Err: keystore.ErrInvalid,
			Detail: "GLOBUS_KEYS_IDENTITY_FILE makes a new store only with --key-from-env"}
	}
	kind, err := p.newPlace(ctx)
	if err != nil {
		return nil, keystore.Header{}, err
	}
	id, err := identity.New()
	if err != nil {
		return nil, keystore.Header{}, err
	}
	h := keystore.Header{StoreID: newStoreID()}
	slot, err := p.newSlot(ctx, kind, id, h.StoreID)
	if slot.Name != "" { // also after an error, which does not say that nothing was made
		h.Slots = []keystore.Slot{slot}
	}
	return id, h, err
}

// givenKey takes the identity that the run names. The header gets no slot:
// every run names it.
func (p *Place) givenKey(file string) (*identity.Identity, keystore.Header, error) {
	id, store, err := p.readIdentity(file)
	if err == nil && store == (keystore.StoreID{}) {
		store = newStoreID()
	}
	return id, keystore.Header{StoreID: store}, err
}

// newPlace decides where the key of a new store goes. A keychain that is there
// and does not work is an error: where a key lies must not depend on chance.
func (p *Place) newPlace(ctx context.Context) (keystore.SlotKind, error) {
	if p.opts.Key != "" {
		return p.opts.Key, nil
	}
	if p.opts.PassphraseFile != "" {
		return keystore.SlotPassphrase, nil
	}
	state, err := p.keychain.Probe(ctx)
	switch state {
	case keychain.Ready, keychain.Locked:
		return keystore.SlotKeychain, nil
	case keychain.Absent, keychain.Unsupported:
		p.opts.Notice(fmt.Sprintf("there is no keychain here (%s): the key of the new store goes behind a passphrase", reason(err)))
		return keystore.SlotPassphrase, nil
	}
	return "", err
}

// reason is what a backend says of itself, without the sentinel before it.
func reason(err error) string {
	var problem *keychain.Problem
	if errors.As(err, &problem) {
		return problem.Detail
	}
	return err.Error()
}

// newSlot keeps id in a new place of this kind. It is durable there.
func (p *Place) newSlot(ctx context.Context, kind keystore.SlotKind, id *identity.Identity, store keystore.StoreID) (keystore.Slot, error) {
	if kind == keystore.SlotKeychain {
		account, err := keychain.CreateKey(ctx, p.keychain, store, id.Text())
		return keystore.Slot{Kind: kind, Name: account}, err
	}
	passphrase, err := p.newPassphrase(ctx)
	if err != nil {
		return keystore.Slot{}, err
	}
	return p.passphraseSlot(id, store, passphrase)
}

func (p *Place) passphraseSlot(id *identity.Identity, store keystore.StoreID, passphrase keystore.Secret) (keystore.Slot, error) {
	data, err := identity.SealPassphrase(id, store, passphrase, &identity.PassphraseOptions{WorkFactor: p.opts.WorkFactor})
	if err != nil {
		return keystore.Slot{}, err
	}
	slot := keystore.Slot{Kind: keystore.SlotPassphrase, Name: fileName(store)}
	path := p.beside(slot.Name)
	if err := atomicfile.MkdirPrivate(atomicfile.OS(), filepath.Dir(path)); err != nil {
		return keystore.Slot{}, err
	}
	return slot, atomicfile.Create(atomicfile.OS(), path, data)
}

func (p *Place) newPassphrase(ctx context.Context) (keystore.Secret, error) {
	switch {
	case p.opts.PassphraseFile != "":
		return p.givenPassphrase()
	case p.opts.Prompt != nil:
		return p.opts.Prompt(ctx, Question{Store: p.String(), New: true})
	}
	return keystore.Secret{}, &keystore.Error{Err: keystore.ErrLocked,
		Detail: "a new store needs a passphrase, and nobody can be asked for one"}
}

// dropUnused removes what holds the key of a header that did not become the
// store's, and reports whether it did. If that cannot be told, it stays: a store
// without its key is lost, an unused key is only litter.
func (p *Place) dropUnused(ctx context.Context, h keystore.Header) (used bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(keychain.Silently(ctx)), dropTime)
	defer cancel()
	var stored keystore.Header
	err := p.adapter.View(ctx, func(r keystore.Reader) error {
		stored = r.Header()
		return nil
	})
	if err != nil {
		return false
	}
	for _, slot := range h.Slots {
		if !slices.Contains(stored.Slots, slot) {
			p.drop(ctx, h.StoreID, slot)
		}
	}
	return slices.Equal(stored.Slots, h.Slots)
}

// dropAfter is dropUnused after an error, unless a keychain that did not answer
// would be waited for once more.
func (p *Place) dropAfter(ctx context.Context, h keystore.Header, err error) {
	if !errors.Is(err, keystore.ErrUnavailable) {
		p.dropUnused(ctx, h)
	}
}

// home names this place, whatever links lead there.
func (p *Place) home() string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(p.path))
	if err != nil {
		return p.path
	}
	return filepath.Join(dir, filepath.Base(p.path))
}

// drop removes what a slot of this store names, and nothing else: that it is
// gone is nil.
func (p *Place) drop(ctx context.Context, store keystore.StoreID, slot keystore.Slot) error {
	switch {
	case slot.Kind == keystore.SlotKeychain:
		return keychain.DeleteKey(ctx, p.keychain, store, slot.Name)
	case ourFile(slot.Name, store):
		if err := atomicfile.OS().Remove(p.beside(slot.Name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (p *Place) beside(name string) string { return filepath.Join(filepath.Dir(p.Path()), name) }

func newStoreID() (id keystore.StoreID) {
	rand.Read(id[:]) // never fails
	return id
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
