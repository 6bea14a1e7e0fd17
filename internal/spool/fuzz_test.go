package spool

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzSpoolFile: whatever lies in the spool, nothing panics.
func FuzzSpoolFile(f *testing.F) {
	f.Add([]byte(`{"namespace":"DEFAULT","kind":"pending","name":"rs","age":"YWdl"}`))
	path := filepath.Join(f.TempDir(), "x.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(path); err == nil {
			got.key().Check()
			name(got.key())
		}
	})
}
