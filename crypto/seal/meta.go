package seal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// Meta is the payload of keystore.MetaKey: what a store believes of itself
// because it is sealed. As JSON: {"recipients":["age1…"],"home":…,"slots":[…],"retired":[…]}.
type Meta struct {
	// Recipients are the recovery recipients, each as ParseRecovery reads it,
	// none twice; empty for most stores.
	Recipients []string `json:"recipients"`

	// Home is where the store lay when its key was made; "" is not known. A
	// store that lies elsewhere is a copy, or was moved: what holds its key
	// may be another's too.
	Home string `json:"home,omitempty"`

	// Slots are the key slots that the header has to have, if Home is known.
	Slots []Slot `json:"slots,omitempty"`

	// Retired are the slots of keys before, until somebody who has opened the
	// store with the new key has removed what they name.
	Retired []Retired `json:"retired,omitempty"`
}

// Slot is a keystore.Slot.
type Slot struct {
	Kind keystore.SlotKind `json:"kind"`
	Name string            `json:"name"`
}

// Retired is a key slot that a rekey has replaced.
type Retired struct {
	Kind keystore.SlotKind `json:"kind"`
	Name string            `json:"name"`
	At   int64             `json:"at"` // seconds since 1970
}

// Written returns m with the place and the slots of a header that is written
// with it.
func (m Meta) Written(home string, slots []keystore.Slot) Meta {
	m.Home, m.Slots = home, nil
	for _, s := range slots {
		m.Slots = append(m.Slots, Slot(s))
	}
	return m
}

// CheckSlots reports ErrTampered if a header's slots are not those that were
// written with the key: the header is not authentic, and a slot that somebody
// has added would get the next key.
func (m Meta) CheckSlots(slots []keystore.Slot) error {
	same := func(a Slot, b keystore.Slot) bool { return a == Slot(b) }
	if m.Home == "" || slices.EqualFunc(m.Slots, slots, same) {
		return nil
	}
	return &keystore.Error{Err: keystore.ErrTampered, Detail: "its key slots are not those that were written with its key"}
}

// FormatMeta writes what ParseMeta reads. ErrInvalid for what it would refuse.
func FormatMeta(m Meta) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Recipients == nil {
		m.Recipients = []string{}
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode meta record: %w", err)
	}
	return payload, nil
}

// ParseMeta reads the payload of a meta record. ErrCorrupt: a field that is
// missing, unknown, twice there or of another type; a recipient that
// ParseRecovery refuses or that stands twice; a retired slot that no store has.
func ParseMeta(payload []byte) (Meta, error) {
	var m Meta
	if err := strictjson.Check(payload, "recipients", "home", "slots", "retired", "kind", "name", "at"); err != nil {
		return m, corruptMeta(err.Error())
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Recipients == nil {
		return Meta{}, corruptMeta("it does not have the fields of this version")
	}
	if err := m.check(); err != nil {
		return Meta{}, corruptMeta(err.Error())
	}
	return m, nil
}

func corruptMeta(detail string) error {
	return &keystore.Error{Key: keystore.MetaKey, Err: keystore.ErrCorrupt, Detail: detail}
}

func (m Meta) check() error {
	if _, err := m.recovery(); err != nil {
		return err
	}
	var slots []keystore.Slot
	for _, s := range m.Slots {
		slots = append(slots, keystore.Slot(s))
	}
	for _, r := range m.Retired {
		slots = append(slots, keystore.Slot{Kind: r.Kind, Name: r.Name})
	}
	return keystore.Header{StoreID: keystore.StoreID{1}, Slots: slots}.Check()
}

func (m Meta) recovery() ([]age.Recipient, error) {
	var recipients []age.Recipient
	for i, text := range m.Recipients {
		if slices.Contains(m.Recipients[:i], text) {
			return nil, invalidRecipient("is given twice", text)
		}
		r, err := ParseRecovery(text)
		if err != nil {
			return nil, err
		}
		recipients = append(recipients, r)
	}
	return recipients, nil
}

// ParseRecovery reads a native recipient, "age1…" or "age1pq1…", to whom a
// store's records shall be encrypted too. Everything else is ErrInvalid: ssh
// keys, and above all plugin names ("age1name1…"), which would have a program
// run whose name stands in a file (CVE-2024-56327).
func ParseRecovery(text string) (age.Recipient, error) {
	r, err := parseNative(text)
	if err != nil {
		return nil, invalidRecipient("is not a native age recipient", text)
	}
	// Some points of the curve encrypt to nobody, and age finds out late.
	if _, err := r.Wrap(make([]byte, fileKeySize)); err != nil {
		return nil, invalidRecipient("cannot be encrypted to", text)
	}
	return r, nil
}

func parseNative(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "age1pq1") {
		return age.ParseHybridRecipient(text)
	}
	return age.ParseX25519Recipient(text)
}

// invalidRecipient names a recipient only if it looks like one: it may be an
// identity, pasted in the wrong place.
func invalidRecipient(what, text string) error {
	name := "the recovery recipient"
	if strings.HasPrefix(text, "age1") && len(text) <= 80 {
		name += fmt.Sprintf(" %q", text)
	}
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: name + " " + what}
}

func checkRecovery(identityType string, recovery []age.Recipient) error {
	if len(recovery) > MaxRecovery {
		return &keystore.Error{Err: keystore.ErrInvalid,
			Detail: fmt.Sprintf("there are %d recovery recipients, the limit is %d", len(recovery), MaxRecovery)}
	}
	for _, r := range recovery {
		if nativeType(r) != identityType {
			return &keystore.Error{Err: keystore.ErrInvalid,
				Detail: "a recovery recipient must be of the identity's type, " + identityType}
		}
	}
	return nil
}

func nativeType(r age.Recipient) string {
	switch r.(type) {
	case *age.X25519Recipient:
		return identity.X25519
	case *age.HybridRecipient:
		return identity.PostQuantum
	}
	return "other"
}
