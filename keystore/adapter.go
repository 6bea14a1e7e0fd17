package keystore

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"unicode"
	"unicode/utf8"
)

// Limits that every adapter keeps, so that a record can move between any two.
const (
	MaxPayload = 60 << 10 // bytes of one record before sealing
	MaxName    = 512      // bytes of a namespace, and of a name
)

// StorageAdapter keeps records durably. Programs use [*Store]; implementors
// write these four methods, and prove them with package keystoretest.
//
// All methods may be called by several goroutines at once. A context that ends
// makes them return an error that wraps its cause, without a change or, from
// Update, with the change whole. An error that fn returns is found in what View
// and Update return; a panic of fn passes through, and nothing is applied.
type StorageAdapter interface {
	// View calls fn with one consistent snapshot, which writers beside it do
	// not change and do not wait for. fn may be called again, and must have
	// no side effects but its results. A store that does not exist yet is a
	// snapshot with a zero Header and no records.
	View(ctx context.Context, fn func(Reader) error) error

	// Update calls fn as the only writer among all processes. What fn wrote
	// is applied all or none, none if fn returns an error, and is durable
	// when Update returns nil. fn reads its own writes. It may be called
	// again, each time on what is then stored. It must not call View,
	// Update or LockCredential.
	Update(ctx context.Context, fn func(Writer) error) error

	// LockCredential takes the lock of one credential across goroutines and
	// processes. It is taken before any Update, one at a time, and is not
	// re-entrant. The kernel frees it when the holder dies. When ctx ends
	// first the error is ErrBusy and names the holder. It never blocks View
	// or Update. Two credentials may share a lock.
	//
	// It needs no key. What a refresh needs of who holds that, Store asks for
	// by itself (Reserver), and hands down in the context of its later calls.
	LockCredential(ctx context.Context, k RecordKey) (unlock func() error, err error)

	// Close gives back what the adapter holds. Calls under way end first.
	Close() error
}

// Reader is a snapshot of a store. It is used by one goroutine and ends with
// the call of fn that it was given to.
type Reader interface {
	// Header says which store it is and where its key lies. It is readable
	// while the store is locked. Zero: there is no store yet.
	Header() Header

	// Get returns the payload of k. The caller may keep and change it.
	// Errors: ErrNotFound; ErrLocked and others of the key; ErrTampered,
	// ErrNoSeal and ErrCorrupt for this record alone.
	Get(k RecordKey) ([]byte, error)

	// Keys yields the keys of one kind, in the given namespaces or, if none
	// is given, in all, sorted by namespace and name. It works while the
	// store is locked, unless the store hides names (Blinder). A Writer may
	// be written to in the loop: what is yielded is as it was when the loop
	// began. An error ends the sequence.
	Keys(kind Kind, namespaces ...string) iter.Seq2[RecordKey, error]
}

// Writer is a Reader that writes. Its writes are seen by others only when
// Update has returned.
type Writer interface {
	Reader

	// Put stores payload, one JSON value of at most MaxPayload bytes, in
	// place of what was there. The Writer keeps no reference to it.
	Put(k RecordKey, payload []byte) error

	// Delete removes k. ErrNotFound if it is not there.
	Delete(k RecordKey) error

	// SetHeader makes the store, or says that its key has changed. A sealed store
	// is made with its MetaKey in the same Update, which else is ErrInvalid. From then
	// on Put seals with the key of h; Get opens what this Update has not yet
	// rewritten with the key before: a rekey is one Update. ErrInvalid for
	// what Header.Check refuses.
	SetHeader(h Header) error
}

// Sealer turns the payload of one record into what may lie on a disk, and
// back. A sealed record opens only in the place it was sealed for.
type Sealer interface {
	Seal(ctx context.Context, k RecordKey, payload []byte) ([]byte, error)
	// Open fails with ErrTampered, ErrNoSeal or ErrCorrupt.
	Open(ctx context.Context, k RecordKey, sealed []byte) ([]byte, error)
}

// Unseal finds the key of the store that h names and returns its Sealer. meta
// is the sealed record of MetaKey, which says to whom else records are
// encrypted; an existing store without it is refused with ErrTampered. It is
// nil in the call that SetHeader makes, for the key that its caller has just
// chosen.
//
// An adapter that seals calls Unseal when it first needs the key, never under
// a lock unless fn has changed the header, and again when it finds another
// header or meta record than before: a process that stays open across
// another's rekey goes on.
type Unseal func(ctx context.Context, h Header, meta []byte) (Sealer, error)

// Kind is what a record is.
type Kind string

// The kinds. Payloads are JSON values.
const (
	KindToken   Kind = "token"   // Name is the resource server
	KindConfig  Kind = "config"  // Name is the caller's
	KindAccount Kind = "account" // whose namespace it is
	KindPending Kind = "pending" // a refresh under way
	KindMeta    Kind = "meta"    // of the store itself
)

// Kinds returns all kinds of record.
func Kinds() []Kind { return []Kind{KindMeta, KindAccount, KindToken, KindConfig, KindPending} }

// MetaKey is the record that every sealed store has: to whom else its records
// are encrypted.
var MetaKey = RecordKey{Kind: KindMeta, Name: "store"}

// RecordKey is the place of a record.
type RecordKey struct {
	Namespace string // "" for KindMeta only
	Kind      Kind
	Name      string
}

// String reads like: token "x" in namespace "DEFAULT".
func (k RecordKey) String() string {
	s := fmt.Sprintf("%s %q", visible(string(k.Kind)), k.Name)
	if k.Namespace != "" {
		s += fmt.Sprintf(" in namespace %q", k.Namespace)
	}
	return s
}

// Check reports ErrInvalid or ErrTooLarge for a key that no store takes:
// namespace and name must not be empty, must be valid UTF-8 without control
// characters and of at most MaxName bytes. Nothing is normalised: two names
// are the same if their bytes are.
func (k RecordKey) Check() error {
	switch k.Kind {
	case KindToken, KindConfig, KindAccount, KindPending:
		if err := checkName("namespace", k.Namespace); err != nil {
			return err
		}
	case KindMeta:
		if k.Namespace != "" {
			return &Error{Key: k, Err: ErrInvalid, Detail: "a meta record has no namespace"}
		}
	default:
		return &Error{Err: ErrInvalid, Detail: fmt.Sprintf("there is no kind of record %q", string(k.Kind))}
	}
	return checkName("name", k.Name)
}

func checkName(what, name string) error {
	var detail string
	switch {
	case name == "":
		return &Error{Err: ErrInvalid, Detail: what + " is empty"}
	case len(name) > MaxName:
		return &Error{Err: ErrTooLarge, Detail: fmt.Sprintf("%s has %d bytes, the limit is %d", what, len(name), MaxName)}
	case !utf8.ValidString(name):
		detail = "is not valid UTF-8"
	case hasControl(name):
		detail = "has a control character"
	default:
		return nil
	}
	return &Error{Err: ErrInvalid, Detail: fmt.Sprintf("%s %q %s", what, name, detail)}
}

func hasControl(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

// CheckPayload reports ErrTooLarge for a payload over MaxPayload.
func CheckPayload(k RecordKey, payload []byte) error {
	if len(payload) <= MaxPayload {
		return nil
	}
	return &Error{Key: k, Err: ErrTooLarge,
		Detail: fmt.Sprintf("the record has %d bytes, the limit is %d", len(payload), MaxPayload)}
}

// StoreID names one store for ever. It is no secret.
type StoreID [16]byte

// String returns 32 lower-case hexadecimal digits.
func (id StoreID) String() string { return hex.EncodeToString(id[:]) }

// ParseStoreID reads what String writes of the id of a store, and nothing else.
// The zero id is no store's.
func ParseStoreID(s string) (StoreID, error) {
	var id StoreID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, corrupt("a store id is not 32 lower-case hexadecimal digits")
	}
	copy(id[:], b)
	if id == (StoreID{}) {
		return id, corrupt("a store id is zero")
	}
	return id, nil
}

// Header says which store it is and where its key lies. It is not sealed: a
// slot is a hint, and what is found there must open the store's records.
type Header struct {
	StoreID StoreID
	Slots   []Slot // empty: the key is given anew for every run
}

// IsZero reports whether there is no store.
func (h Header) IsZero() bool { return h.StoreID == StoreID{} && len(h.Slots) == 0 }

// Check reports ErrInvalid for a header that no store can have: without an id,
// or with a slot of a kind that is not known, or without a name.
func (h Header) Check() error {
	if h.StoreID == (StoreID{}) {
		return &Error{Err: ErrInvalid, Detail: "a store needs an id"}
	}
	for _, s := range h.Slots {
		if s.Kind != SlotKeychain && s.Kind != SlotPassphrase {
			return &Error{Err: ErrInvalid, Detail: fmt.Sprintf("there is no kind of key slot %q", string(s.Kind))}
		}
		if err := checkName("key slot", s.Name); err != nil {
			return err
		}
	}
	return nil
}

// Slot is one place where the store's key lies. All slots hold the same key.
type Slot struct {
	Kind SlotKind
	Name string // what it is called there
}

// SlotKind is a sort of place.
type SlotKind string

const (
	SlotKeychain   SlotKind = "keychain"   // Name is an item of our service in the OS keychain
	SlotPassphrase SlotKind = "passphrase" // Name is a file beside the store, without directory
)

// SealedReader is a Reader that can show records as they lie in the store. It
// is for tools that check a store by other means than its Sealer.
type SealedReader interface {
	Reader
	// Sealed returns the stored bytes of k. Errors: ErrNotFound.
	Sealed(k RecordKey) ([]byte, error)
}

// PagedReader is a Reader that finds its place among many names: Keys would yield all
// before it.
type PagedReader interface {
	Reader
	// KeysAfter yields the keys of one kind in a namespace whose names come after
	// name, in their order, as Keys does; "" comes before all.
	KeysAfter(kind Kind, namespace, name string) iter.Seq2[RecordKey, error]
}

// NamespaceReader is a Reader that finds its namespaces without listing what they hold.
type NamespaceReader interface {
	Reader
	// Namespaces returns the namespaces that hold a record of kind, in any order.
	Namespaces(kind Kind) ([]string, error)
}

// Counter is a Reader that counts records without their names, which a store may hide:
// then Keys needs the key, and Count does not.
type Counter interface {
	Reader
	Count(kind Kind) (int, error)
}

// Blinder is a Sealer that makes keyed hashes of names, for stores that do not show
// them. Without the key nobody can tell which name a hash is of.
type Blinder interface {
	Sealer
	Blind(ctx context.Context, k RecordKey) ([32]byte, error)
}

// CheckingAdapter is an adapter whose store can be damaged in ways that concern no
// record.
type CheckingAdapter interface {
	StorageAdapter
	// Check looks for such damage: ErrCorrupt and ErrTampered, joined. It may take
	// long.
	Check(ctx context.Context) error
}

// BackupAdapter is an adapter that keeps the state before the last Update. It
// is read only when a user asks for it: old records are valid records, and
// nothing but the user can tell that going back is meant.
type BackupAdapter interface {
	StorageAdapter
	// ViewBackup is View of the backup. ErrNotFound if there is none.
	ViewBackup(ctx context.Context, fn func(Reader) error) error
	// RestoreBackup makes the backup the store, if its records are sealed
	// with the store's key; what was the store becomes the backup, if it can
	// still be read at all.
	RestoreBackup(ctx context.Context) error
}

// ResetAdapter is an adapter whose store can be moved aside when nothing else
// helps. Nothing is deleted.
type ResetAdapter interface {
	StorageAdapter
	// Reset moves the store aside and returns the place it has then.
	Reset(ctx context.Context) (moved string, err error)
}
