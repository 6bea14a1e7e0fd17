package fileadapter

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestStoreWithoutMetaIsNotMade: nobody could open it again.
func TestStoreWithoutMetaIsNotMade(t *testing.T) {
	a := newKeychain(t).open(t, filepath.Join(t.TempDir(), "store", "tokens.json"))
	err := a.Update(t.Context(), func(w keystore.Writer) error {
		return errors.Join(w.SetHeader(header(slotA)), w.Put(tokenKey("one"), []byte(`"x"`)))
	})
	if !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("a store without a meta record: %v", err)
	}
	if err := makeStore(t.Context(), a, map[string]string{"one": "x"}); err != nil {
		t.Errorf("with one: %v", err)
	}
}
