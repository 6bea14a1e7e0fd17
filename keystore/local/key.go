package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// ErrNoIdentity is the ErrLocked of a store whose key is an identity file, when
// the run names none or not the right one.
var ErrNoIdentity = fmt.Errorf("%w", keystore.ErrLocked)

// ErrNobody is the ErrLocked of a store behind a passphrase, when nobody can be asked.
var ErrNobody = fmt.Errorf("%w", keystore.ErrLocked)

// ErrPassphrase is the ErrLocked of a passphrase that was given and is wrong.
var ErrPassphrase = identity.ErrPassphrase

// MinPassphrase is how many characters a new passphrase has at least.
const MinPassphrase = identity.MinPassphrase

// maxKeyFile bounds identity and passphrase files, in bytes.
const maxKeyFile = identity.MaxPassphraseFile

// find asks for the identity wherever it can be, but for the agent, which has none,
// and says where it was.
func (p *Place) find(ctx context.Context, h keystore.Header) (id *identity.Identity, by keystore.SlotKind, err error) {
	id, by, err = p.search(ctx, h)
	return id, by, p.despite(ctx, h, err)
}

func (p *Place) search(ctx context.Context, h keystore.Header) (id *identity.Identity, by keystore.SlotKind, err error) {
	if seal.Reserved(ctx, h.StoreID) { // others wait for the credential's lock meanwhile
		ctx = keychain.Silently(ctx)
	}
	if file, _ := p.identityFile(); file != "" {
		id, err = p.fromIdentityFile(file, h.StoreID)
		return id, ByIdentityFile, err
	}
	items, files := p.slots(h)
	if len(items)+len(files) == 0 {
		return nil, "", p.noSlot(h)
	}
	if p.namedPassphrase && len(files) == 0 {
		return nil, "", &keystore.Error{Store: p.opts.PassphraseFile, Err: keystore.ErrInvalid, Detail: "no passphrase opens this store: its key is in the keychain only"}
	}
	if len(files) > 0 && p.opts.PassphraseFile != "" {
		id, err = p.fromPassphraseFile(files, h.StoreID)
		return id, keystore.SlotPassphrase, err
	}
	var failed error
	if len(items) > 0 {
		id, err := p.fromKeychain(ctx, items, h.StoreID)
		if err == nil || len(files) == 0 || errors.Is(err, keystore.ErrDeclined) || ctx.Err() != nil {
			return id, keystore.SlotKeychain, err
		}
		failed = err // the passphrase opens the store as well
	}
	id, err = p.fromPerson(ctx, files, h.StoreID, failed)
	return id, keystore.SlotPassphrase, err
}

// fromPerson opens the passphrase files with what somebody has said or says. failed
// is why the keychain does not give the key, if it was asked.
func (p *Place) fromPerson(ctx context.Context, files []string, store keystore.StoreID, failed error) (*identity.Identity, error) {
	if id, ok := p.again(files, store); ok {
		return id, nil
	}
	if p.opts.Prompt != nil && !seal.Reserved(ctx, store) {
		if failed != nil {
			p.opts.Notice(fmt.Sprintf("the keychain does not give the key (%s); the passphrase opens the store too", reason(failed)))
		}
		return p.ask(ctx, files, store)
	}
	if failed == nil {
		failed = errNobody
	}
	return nil, failed
}

// errNoIdentityNamed is ErrNoIdentity when the run names none.
var errNoIdentityNamed = &keystore.Error{Err: ErrNoIdentity, Detail: "its key is an identity file that every run must name"}

// errNobody is ErrNobody without a Prompt.
var errNobody = &keystore.Error{Err: ErrNobody, Detail: "its key is behind a passphrase, and nobody can be asked for it"}

// unasked is what the Prompt says where nobody can be asked after all.
type unasked struct{ error }

func (u unasked) Unwrap() error { return u.error }

// slots returns the names of the slots that may be tried.
func (p *Place) slots(h keystore.Header) (items, files []string) {
	for _, s := range h.Slots {
		switch {
		case p.opts.Key != "" && s.Kind != p.opts.Key:
		case s.Kind == keystore.SlotKeychain:
			items = append(items, s.Name)
		case s.Kind == keystore.SlotPassphrase:
			files = append(files, s.Name)
		}
	}
	return items, files
}

func (p *Place) noSlot(h keystore.Header) error {
	if len(h.Slots) == 0 {
		return errNoIdentityNamed
	}
	return &keystore.Error{Err: keystore.ErrInvalid,
		Detail: fmt.Sprintf("its key is not kept in a %s but in a %s", p.opts.Key, h.Slots[0].Kind)}
}

// fromKeychain tries each item. The first reason is the one to tell.
func (p *Place) fromKeychain(ctx context.Context, items []string, store keystore.StoreID) (*identity.Identity, error) {
	var failed error
	for _, account := range items {
		id, err := p.fromItem(ctx, account, store)
		if err == nil {
			return id, nil
		}
		failed = cmp.Or(failed, err)
	}
	return nil, failed
}

func (p *Place) fromItem(ctx context.Context, account string, store keystore.StoreID) (*identity.Identity, error) {
	text, err := keychain.LoadKey(ctx, p.keychain, store, account)
	if err != nil {
		return nil, err
	}
	id, err := identity.Parse(text.Reveal())
	return id, keystore.Annotate(err, keystore.Error{Store: "keychain item " + account})
}

func (p *Place) fromPassphraseFile(files []string, store keystore.StoreID) (*identity.Identity, error) {
	passphrase, err := p.givenPassphrase()
	if err != nil {
		return nil, err
	}
	id, err := p.openSlots(files, store, passphrase)
	if errors.Is(err, ErrPassphrase) {
		err = &keystore.Error{Store: p.path, Err: ErrPassphrase, Detail: "the first line of " + p.opts.PassphraseFile}
	}
	return id, err
}

// again tries the passphrase that has opened the store before: another process
// may have changed the key and kept the passphrase.
func (p *Place) again(files []string, store keystore.StoreID) (*identity.Identity, bool) {
	p.mu.Lock()
	passphrase := p.passphrase
	p.mu.Unlock()
	if passphrase.IsZero() || len(files) == 0 {
		return nil, false
	}
	id, err := p.openSlots(files, store, passphrase)
	return id, err == nil
}

// identityFile returns the identity file that the run names, and whether it
// may make a new store.
func (p *Place) identityFile() (file string, creates bool) {
	if p.opts.IdentityFile != "" {
		return p.opts.IdentityFile, true
	}
	return p.opts.Getenv("GLOBUS_KEYS_IDENTITY_FILE"), p.opts.KeyFromEnv
}

func (p *Place) fromIdentityFile(file string, store keystore.StoreID) (*identity.Identity, error) {
	id, of, err := p.readIdentity(file)
	if err != nil {
		return nil, err
	}
	if of != (keystore.StoreID{}) && of != store {
		return nil, &keystore.Error{Store: file, Err: keystore.ErrLocked,
			Detail: fmt.Sprintf("the identity is of store %s, not of store %s", of, store)}
	}
	return id, nil
}

func (p *Place) readIdentity(file string) (*identity.Identity, keystore.StoreID, error) {
	data, err := readGiven(file, p.opts.Getenv)
	if err != nil {
		return nil, keystore.StoreID{}, err
	}
	id, of, err := identity.ParseFile(data)
	if err != nil { // a file that the run names, not one of the store's
		err = &keystore.Error{Store: file, Err: keystore.ErrInvalid, Detail: err.Error()}
	}
	return id, of, err
}

// fileName returns the name of a new passphrase file of this store,
// identity-<store id>-<random>.age.
func fileName(store keystore.StoreID) string { return filePrefix(store) + randomHex(8) + ".age" }

// ourFile reports whether fileName could have made this name. A slot may name no
// other: the header is not authentic, and other stores keep their keys beside it.
func ourFile(name string, store keystore.StoreID) bool {
	random, begins := strings.CutPrefix(name, filePrefix(store))
	random, ends := strings.CutSuffix(random, ".age")
	return begins && ends && random != "" && strings.Trim(random, "0123456789abcdef") == ""
}

func filePrefix(store keystore.StoreID) string { return "identity-" + store.String() + "-" }

// openSlots tries the passphrase on each slot. The first reason that is not a
// wrong passphrase is the one to tell.
func (p *Place) openSlots(slots []string, store keystore.StoreID, passphrase keystore.Secret) (*identity.Identity, error) {
	var failed error
	for _, name := range slots {
		id, err := p.openSlot(name, store, passphrase)
		if err == nil {
			p.mu.Lock()
			p.passphrase = passphrase
			p.mu.Unlock()
			return id, nil
		}
		if failed == nil || errors.Is(failed, ErrPassphrase) {
			failed = err
		}
	}
	return nil, failed
}

func (p *Place) openSlot(name string, store keystore.StoreID, passphrase keystore.Secret) (*identity.Identity, error) {
	if !ourFile(name, store) {
		return nil, &keystore.Error{Store: p.path, Err: keystore.ErrTampered, Detail: fmt.Sprintf("a key slot names %q, which is not a passphrase file of this store", name)}
	}
	path := p.beside(name)
	data, err := atomicfile.Read(atomicfile.OS(), path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &keystore.Error{Store: path, Err: keystore.ErrCorrupt, Detail: "the passphrase file that holds the store's key is gone"}
	}
	if err != nil {
		return nil, err
	}
	id, of, err := identity.OpenPassphrase(data, passphrase)
	if errors.Is(err, ErrPassphrase) {
		return nil, keystore.Annotate(err, keystore.Error{Store: p.path})
	}
	if err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Store: path})
	}
	if of != store {
		return nil, &keystore.Error{Store: path, Err: keystore.ErrTampered, Detail: "it holds another store's key"}
	}
	return id, nil
}

// ask tries three answers.
func (p *Place) ask(ctx context.Context, slots []string, store keystore.StoreID) (*identity.Identity, error) {
	q := Question{Store: p.String()}
	for tries := 1; ; tries++ {
		passphrase, err := p.opts.Prompt(ctx, q)
		if errors.Is(err, keystore.ErrLocked) {
			err = unasked{err}
		}
		if err != nil {
			return nil, err
		}
		id, err := p.openSlots(slots, store, passphrase)
		if !errors.Is(err, ErrPassphrase) || tries == 3 {
			return id, err
		}
		q.Wrong = true
	}
}

// givenPassphrase is what the passphrase file says, which is read once.
func (p *Place) givenPassphrase() (keystore.Secret, error) {
	p.mu.Lock()
	given := p.given
	p.mu.Unlock()
	return given()
}

func (p *Place) readPassphrase() (keystore.Secret, error) {
	return readPassphrase(p.opts.PassphraseFile, p.opts.Getenv)
}
