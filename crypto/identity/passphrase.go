package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"golang.org/x/crypto/scrypt"

	"github.com/globus-keys/globus-keys/keystore"
)

// Work factors are base-2 logarithms of scrypt's N; r = 8 and p = 1, as age
// has them. One costs 2^factor KiB of memory.
const (
	minWorkFactor = 18 // age's default: about 0.7 s and 256 MiB in 2026
	maxWorkFactor = 20 // 1 GiB; more is refused, or a planted file could end us
	probeFactor   = 16 // what calibration measures

	unlockTime = time.Second // what an unlock may cost on the machine that made the file

	MinPassphrase     = 8        // characters
	MaxPassphraseFile = 16 << 10 // bytes: an identity file and the age format around it
)

// PassphraseOptions are what SealPassphrase can be told. The zero value is right
// for everything but tests.
type PassphraseOptions struct {
	// WorkFactor is used as it is, 1 to 20. Zero: calibrated, 18 to 20, so
	// that one unlock takes about a second at most. Less than 18 is for tests.
	WorkFactor int

	// Now is the clock that calibration reads. nil: time.Now.
	Now func() time.Time
}

// SealPassphrase returns the identity file of id, encrypted with passphrase as
// `age -p` does it, in binary form; `age -d` opens it, and `age -d -i` takes it
// for an identity. The store must not be zero. ErrInvalid: a passphrase of fewer
// than 8 characters, a work factor out of range. The passphrase is used byte for
// byte, without Unicode normalisation, as age uses it.
func SealPassphrase(id *Identity, store keystore.StoreID, passphrase keystore.Secret, opts *PassphraseOptions) ([]byte, error) {
	if store == (keystore.StoreID{}) {
		return nil, invalid("a passphrase file needs a store")
	}
	if n := utf8.RuneCountInString(passphrase.Reveal()); n < MinPassphrase {
		return nil, invalid(fmt.Sprintf("the passphrase has %d characters, at least %d are needed", n, MinPassphrase))
	}
	factor, err := opts.workFactor()
	if err != nil {
		return nil, err
	}
	recipient, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return nil, fmt.Errorf("encrypt identity: %w", err)
	}
	recipient.SetWorkFactor(factor)
	return encrypt(FormatFile(id, store), recipient)
}

func encrypt(plain []byte, to age.Recipient) ([]byte, error) {
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to)
	if err != nil {
		return nil, fmt.Errorf("encrypt identity: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("encrypt identity: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypt identity: %w", err)
	}
	return file.Bytes(), nil
}

// workFactor returns the factor asked for or, by measuring, the greatest whose
// unlock takes about unlockTime at most.
func (o *PassphraseOptions) workFactor() (int, error) {
	if o == nil {
		o = &PassphraseOptions{}
	}
	if o.WorkFactor < 0 || o.WorkFactor > maxWorkFactor {
		return 0, invalid(fmt.Sprintf("there is no work factor %d, the limit is %d", o.WorkFactor, maxWorkFactor))
	}
	if o.WorkFactor != 0 {
		return o.WorkFactor, nil
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	start := now()
	if _, err := scrypt.Key([]byte("calibration"), make([]byte, 16), 1<<probeFactor, 8, 1, 32); err != nil {
		return 0, fmt.Errorf("calibrate scrypt: %w", err)
	}
	return greatestFactor(now().Sub(start)), nil
}

// greatestFactor takes the time of probeFactor; each step doubles it. A clock
// that did not move has measured nothing.
func greatestFactor(probe time.Duration) int {
	factor := minWorkFactor
	for probe > 0 && factor < maxWorkFactor && probe<<(factor+1-probeFactor) <= unlockTime {
		factor++
	}
	return factor
}

// ErrPassphrase is the ErrLocked of a wrong passphrase.
var ErrPassphrase error = wrongPassphrase{}

type wrongPassphrase struct{}

func (wrongPassphrase) Error() string { return "wrong passphrase" }
func (wrongPassphrase) Unwrap() error { return keystore.ErrLocked }

// OpenPassphrase opens what SealPassphrase made. The store is the one that the
// file names, zero if it names none: the caller compares it with his.
//
// Errors: ErrPassphrase for a wrong one, which a changed salt or key cannot
// be told from; ErrCorrupt for what is no passphrase file, or one that asks for
// a work factor over 20, which is not tried; ErrTampered if the passphrase is
// right and the rest of the file is not what was written with it.
func OpenPassphrase(data []byte, passphrase keystore.Secret) (*Identity, keystore.StoreID, error) {
	plain, err := decrypt(data, passphrase)
	if err != nil {
		return nil, keystore.StoreID{}, err
	}
	return ParseFile(plain)
}

func decrypt(data []byte, passphrase keystore.Secret) ([]byte, error) {
	if len(data) > MaxPassphraseFile {
		return nil, corrupt(fmt.Sprintf("the passphrase file has more than %d bytes", MaxPassphraseFile))
	}
	if passphrase.IsZero() {
		return nil, &keystore.Error{Err: ErrPassphrase, Detail: "it is empty"}
	}
	u := unlocker{passphrase: passphrase}
	r, err := age.Decrypt(bytes.NewReader(data), &u)
	switch {
	case !u.asked:
		return nil, corrupt("the passphrase file is not an age file")
	case u.err != nil:
		return nil, u.err
	case err != nil:
		return nil, changed()
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, changed()
	}
	return plain, nil
}

func changed() error {
	return &keystore.Error{Err: keystore.ErrTampered,
		Detail: "the passphrase is right, but the passphrase file is changed or cut short"}
}

// unlocker is the age.Identity of one OpenPassphrase. It keeps what it found,
// so that the meaning of an error does not depend on how age wraps it.
type unlocker struct {
	passphrase keystore.Secret
	asked      bool  // age could read the header
	err        error // why there is no file key
}

func (u *unlocker) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	u.asked = true
	fileKey, err := u.unwrap(stanzas)
	u.err = err
	return fileKey, err
}

func (u *unlocker) unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, corrupt("the passphrase file is not encrypted with a passphrase alone")
	}
	native, err := age.NewScryptIdentity(u.passphrase.Reveal())
	if err != nil {
		return nil, fmt.Errorf("decrypt identity: %w", err)
	}
	native.SetMaxWorkFactor(maxWorkFactor)
	fileKey, err := native.Unwrap(stanzas)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, &keystore.Error{Err: ErrPassphrase}
	}
	if err != nil {
		return nil, corrupt(fmt.Sprintf("the passphrase file asks for more work than factor %d, or its scrypt stanza is malformed", maxWorkFactor))
	}
	return fileKey, nil
}
