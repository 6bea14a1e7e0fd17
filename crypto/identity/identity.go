// Package identity makes, reads and writes the one secret of a store: an age
// identity. All that a store seals can be opened with it, by this program and
// by the stock age command, and the key of the store's seals is derived from it.
//
// It is kept in one of three forms, and each is an age identity file:
//
//	id, err := identity.New()
//	text := id.Text()                                             // one line, for a keychain item
//	plain := identity.FormatFile(id, store)                       // a file that a service manager guards
//	locked, err := identity.SealPassphrase(id, store, words, nil) // a file behind a passphrase
//
// Where these are kept is the caller's business; this package touches no disk.
// An identity does not change: what a rekey needs is the [Identity.Next] one.
package identity

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/keystore"
)

// The types of identity, named as age names their stanzas.
const (
	X25519      = "X25519"         // AGE-SECRET-KEY-1…, read by every version of age
	PostQuantum = "mlkem768x25519" // AGE-SECRET-KEY-PQ-1…, read by age 1.3 and later
)

const (
	seedSize          = 32
	x25519Prefix      = "AGE-SECRET-KEY-"
	postQuantumPrefix = "AGE-SECRET-KEY-PQ-"

	redacted = "[redacted]"
)

// Identity is an age identity of one of the native types. It never changes and
// may be used by several goroutines. Printing it shows nothing of the secret;
// Text is the only way out. The zero Identity is not usable.
type Identity struct {
	typ  string
	seed keystore.Secret // seedSize bytes
	// A function, because fmt calls no methods on unexported fields: of an
	// Identity deep in somebody's struct it prints what pointers point to, if
	// the verb does not fit (%s), but of a function always the address.
	native    func() age.Identity
	recipient interface {
		age.Recipient
		fmt.Stringer
	}
}

// New makes a random identity of type X25519, the default: Debian 12's age
// refuses a whole identity file that holds a post-quantum line.
func New() (*Identity, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return Parse(id.String())
}

// NewPostQuantum makes a random identity of type PostQuantum.
func NewPostQuantum() (*Identity, error) {
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return Parse(id.String())
}

// Next makes a random identity of the same type, for a rekey: all slots of a
// store hold one identity, and a rekey replaces it in all of them.
func (id Identity) Next() (*Identity, error) {
	if id.typ == PostQuantum {
		return NewPostQuantum()
	}
	return New()
}

// Parse reads one identity as age-keygen writes it, without white space around
// it: "AGE-SECRET-KEY-1…" or "AGE-SECRET-KEY-PQ-1…", upper case, checksum and
// padding right. Anything else is ErrCorrupt; plugin and ssh identities too.
// No error quotes the text.
func Parse(text string) (*Identity, error) {
	typ, prefix := X25519, x25519Prefix
	if strings.HasPrefix(text, postQuantumPrefix) {
		typ, prefix = PostQuantum, postQuantumPrefix
	}
	seed, err := bech32Decode(prefix, text)
	if err != nil {
		return nil, corrupt("this is no age identity: " + err.Error())
	}
	if len(seed) != seedSize {
		return nil, corrupt("this is no age identity: it has the wrong length")
	}
	id := &Identity{typ: typ, seed: keystore.NewSecret(string(seed))}
	if err := id.parseNative(text); err != nil {
		return nil, err
	}
	return id, nil
}

// parseNative lets age read text too. It never refuses what Parse accepts.
func (id *Identity) parseNative(text string) error {
	if id.typ == PostQuantum {
		native, err := age.ParseHybridIdentity(text)
		if err != nil {
			return corrupt("age refuses the identity")
		}
		id.native, id.recipient = func() age.Identity { return native }, native.Recipient()
		return nil
	}
	native, err := age.ParseX25519Identity(text)
	if err != nil {
		return corrupt("age refuses the identity")
	}
	id.native, id.recipient = func() age.Identity { return native }, native.Recipient()
	return nil
}

// Type returns X25519 or PostQuantum.
func (id Identity) Type() string { return id.typ }

// Recipient returns to whom files for this identity are encrypted.
func (id Identity) Recipient() age.Recipient { return id.recipient }

// RecipientString returns the recipient as "age1…" or "age1pq1…". It is no
// secret, but who does not know it cannot make a file for this identity:
// it is better not written beside the data.
func (id Identity) RecipientString() string { return id.recipient.String() }

// AgeIdentity returns the identity for age.Decrypt. Whoever reads records with
// it checks no seal; see package seal.
func (id Identity) AgeIdentity() age.Identity { return id.native() }

// Text returns the identity as Parse reads it: one line without its end.
func (id Identity) Text() keystore.Secret {
	prefix := x25519Prefix
	if id.typ == PostQuantum {
		prefix = postQuantumPrefix
	}
	return keystore.NewSecret(bech32Encode(prefix, []byte(id.seed.Reveal())))
}

// Seed returns the 32 bytes from which the store's other keys are derived, for
// X25519 clamped as RFC 7748 section 5 has it: other tools may write the same
// identity with these five bits changed, and the keys must not depend on them.
func (id Identity) Seed() [32]byte {
	seed := [seedSize]byte([]byte(id.seed.Reveal()))
	if id.typ == X25519 {
		seed[0] &= 248
		seed[31] &= 127
		seed[31] |= 64
	}
	return seed
}

// Format writes "[redacted]" for every verb and flag.
func (id Identity) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[redacted]".
func (id Identity) String() string { return redacted }

// GoString returns "[redacted]".
func (id Identity) GoString() string { return redacted }

// LogValue returns "[redacted]".
func (id Identity) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", also for encoding/json.
func (id Identity) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}

func invalid(detail string) error {
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: detail}
}
