// Package sealers keeps the Sealer of a store between the calls of its adapter, and
// asks for another one when the store has another key.
package sealers

import (
	"context"
	"slices"

	"github.com/globus-keys/globus-keys/internal/turn"
	"github.com/globus-keys/globus-keys/keystore"
)

// State is what the choice of a Sealer depends on, as it stands in the store.
type State struct {
	Header keystore.Header
	Meta   string // the sealed meta record, in the adapter's own encoding; "": it is missing
}

// Equal reports whether one Sealer is good for both.
func (s State) Equal(other State) bool {
	return s.Header.StoreID == other.Header.StoreID && s.Meta == other.Meta && slices.Equal(s.Header.Slots, other.Header.Slots)
}

// Keeper remembers the Sealer of the last State that it was asked for. One call at a
// time asks for a key; the others wait for it as long as their contexts last. Make it
// with New.
type Keeper struct {
	unseal keystore.Unseal
	decode func(meta string) ([]byte, error)

	turn   turn.Turn // its holder owns the fields below
	state  State
	sealer keystore.Sealer
}

// New returns a Keeper that asks unseal. decode undoes the encoding of State.Meta; its
// error is about that record.
func New(unseal keystore.Unseal, decode func(meta string) ([]byte, error)) *Keeper {
	return &Keeper{unseal: unseal, decode: decode, turn: turn.New()}
}

// Sealer returns the Sealer for s, nil if there is no store.
func (k *Keeper) Sealer(ctx context.Context, s State) (keystore.Sealer, error) {
	if s.Header.IsZero() {
		return nil, nil
	}
	if err := k.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer k.turn.Give()
	if k.sealer != nil && k.state.Equal(s) {
		return k.sealer, nil
	}
	sealer, err := k.Open(ctx, s)
	if err == nil {
		k.state, k.sealer = s, sealer
	}
	return sealer, err
}

// Open asks for the Sealer of s, and does not remember it.
func (k *Keeper) Open(ctx context.Context, s State) (keystore.Sealer, error) {
	if s.Meta == "" {
		return nil, &keystore.Error{Key: keystore.MetaKey, Err: keystore.ErrTampered, Detail: "the record is missing"}
	}
	meta, err := k.decode(s.Meta)
	if err != nil {
		return nil, err
	}
	return k.unseal(ctx, s.Header, meta)
}

// New asks for the Sealer of a header that is being set, whose key its caller has just
// chosen.
func (k *Keeper) New(ctx context.Context, h keystore.Header) (keystore.Sealer, error) {
	return k.unseal(ctx, h, nil)
}

// Keep remembers the Sealer of a state that has just been written, so that nobody is
// asked for the key that he has chosen. A context that ends only costs that.
func (k *Keeper) Keep(ctx context.Context, s State, sealer keystore.Sealer) {
	if k.turn.Take(ctx) != nil {
		return
	}
	defer k.turn.Give()
	k.state, k.sealer = s, sealer
}

// Reopen asks anew, for one whose Sealer has lost the key. If that fails, what has
// been begun with the Sealer before can still be finished with it; nobody waits for
// the answer but the caller.
func (k *Keeper) Reopen(ctx context.Context, s State) error {
	if s.Header.IsZero() {
		return nil
	}
	sealer, err := k.Open(ctx, s)
	if err != nil {
		return err
	}
	if err := k.turn.Take(ctx); err != nil {
		return err
	}
	defer k.turn.Give()
	k.state, k.sealer = s, sealer
	return nil
}

// Forget lets go of the key. Nobody else uses the Keeper meanwhile.
func (k *Keeper) Forget() { k.state, k.sealer = State{}, nil }
