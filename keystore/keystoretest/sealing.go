package keystoretest

import (
	"bytes"
	"errors"

	"github.com/globus-keys/globus-keys/keystore"
)

// sealsElsewhere holds a keystore.SealingAdapter to its word: what lies elsewhere
// opens as it would in the store, in its own place only, and with the key that
// the store has now.
func sealsElsewhere(s *store) {
	a, ok := s.StorageAdapter.(keystore.SealingAdapter)
	if ok != s.Seals {
		s.Fatalf("the adapter is a SealingAdapter: %v, and Options.Seals says %v", ok, s.Seals)
	}
	if !ok {
		s.Skip("the adapter seals nothing elsewhere")
	}
	if s.dump().header.IsZero() {
		_, _, err := a.Sealer(s.ctx)
		s.fails("Sealer without a store", err, keystore.ErrNotFound)
	}
	s.make()
	s.put(token("x"), `"stored"`)
	before := s.sealer(a)
	s.opensStored(before)
	sealed, err := before.Seal(s.ctx, token("x"), []byte(`"elsewhere"`))
	s.ok("Seal", err)
	s.opens(s.sealer(s.other().StorageAdapter.(keystore.SealingAdapter)), sealed, `"elsewhere"`)
	for _, k := range []keystore.RecordKey{token("y"),
		{Namespace: "second", Kind: keystore.KindToken, Name: "x"},
		{Namespace: "DEFAULT", Kind: keystore.KindPending, Name: "x"}} {
		if _, err := before.Open(s.ctx, k, sealed); !errors.Is(err, keystore.ErrTampered) {
			s.Errorf("Open in the place of %v: got error %v, want %v", k, err, keystore.ErrTampered)
		}
	}
	s.update(func(w keystore.Writer) error { return s.rekey(w, 1) })
	after := s.sealer(a)
	s.opensStored(after)
	if _, err := after.Open(s.ctx, token("x"), sealed); err == nil {
		s.Error("Open of what was sealed with the key before succeeded")
	}
	s.opens(before, sealed, `"elsewhere"`) // who has it goes on with it
}

// sealer returns what seals the store's records, which must be of this store.
func (s *store) sealer(a keystore.SealingAdapter) keystore.Sealer {
	s.Helper()
	id, sealer, err := a.Sealer(s.ctx)
	s.ok("Sealer", err)
	if want := s.dump().header.StoreID; id != want {
		s.Errorf("Sealer is of store %v, the header's is %v", id, want)
	}
	return sealer
}

func (s *store) opens(sealer keystore.Sealer, sealed []byte, payload string) {
	s.Helper()
	got, err := sealer.Open(s.ctx, token("x"), sealed)
	if err != nil || !bytes.Equal(got, []byte(payload)) {
		s.Errorf("Open: %s, %v, want %s", brief(string(got)), err, payload)
	}
}

// opensStored checks that sealer opens a record as it lies in the store.
func (s *store) opensStored(sealer keystore.Sealer) {
	s.Helper()
	var sealed []byte
	s.view(func(r keystore.Reader) (err error) {
		reader, ok := r.(keystore.SealedReader)
		if !ok {
			return errors.New("its Reader is no SealedReader")
		}
		sealed, err = reader.Sealed(token("x"))
		return err
	})
	s.opens(sealer, sealed, `"stored"`)
}
