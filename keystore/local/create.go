package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"slices"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// create makes the store and its key. The key is durable, in its slot, before
// the header that names the slot; what another process makes meanwhile wins.
func (p *Place) create(ctx context.Context) error {
	id, h, err := p.newKey(ctx)
	if err != nil {
		return keystore.Annotate(err, keystore.Error{Op: "make the store"})
	}
	if err := p.writeHeader(ctx, id, h); err != nil {
		p.dropUnused(h)
		return err
	}
	p.dropUnused(h)
	return nil
}

func (p *Place) writeHeader(ctx context.Context, id *identity.Identity, h keystore.Header) error {
	meta, err := seal.FormatMeta(seal.Meta{})
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
	passphrase, err := p.newPassphrase(ctx)
	if err != nil {
		return nil, keystore.Header{}, err
	}
	return p.passphraseKey(passphrase)
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

func (p *Place) passphraseKey(passphrase keystore.Secret) (*identity.Identity, keystore.Header, error) {
	id, err := identity.New()
	if err != nil {
		return nil, keystore.Header{}, err
	}
	store := newStoreID()
	data, err := identity.SealPassphrase(id, store, passphrase, &identity.PassphraseOptions{WorkFactor: p.opts.WorkFactor})
	if err != nil {
		return nil, keystore.Header{}, err
	}
	name := "identity-" + randomHex(8) + ".age"
	path := p.beside(name)
	if err := atomicfile.MkdirPrivate(atomicfile.OS(), filepath.Dir(path)); err != nil {
		return nil, keystore.Header{}, err
	}
	if err := atomicfile.Create(atomicfile.OS(), path, data); err != nil {
		return nil, keystore.Header{}, err
	}
	slot := keystore.Slot{Kind: keystore.SlotPassphrase, Name: name}
	return id, keystore.Header{StoreID: store, Slots: []keystore.Slot{slot}}, nil
}

func (p *Place) newPassphrase(ctx context.Context) (keystore.Secret, error) {
	switch {
	case p.opts.PassphraseFile != "":
		return p.given()
	case p.opts.Prompt != nil:
		return p.opts.Prompt(ctx, Question{Store: p.String(), New: true})
	}
	return keystore.Secret{}, &keystore.Error{Err: keystore.ErrLocked,
		Detail: "a new store needs a passphrase, and nobody can be asked for one"}
}

// dropUnused removes the passphrase file of a header that did not become the
// store's. If that cannot be told, the file stays: a store without its key is
// lost, an unused key is only litter.
func (p *Place) dropUnused(h keystore.Header) {
	var stored keystore.Header
	err := p.adapter.View(context.Background(), func(r keystore.Reader) error {
		stored = r.Header()
		return nil
	})
	if err != nil || len(h.Slots) == 0 || slices.Contains(stored.Slots, h.Slots[0]) {
		return
	}
	atomicfile.OS().Remove(p.beside(h.Slots[0].Name))
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
