//go:build unix

package keystore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/fileadapter"
	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestAnswerOutlivesAFileOutOfReach: when the answer comes the store's file is moved
// away for some seconds, or its directory is open to others.
func TestAnswerOutlivesAFileOutOfReach(t *testing.T) {
	for name, trouble := range map[string]struct{ begin, end func(path string) error }{
		"moved away and back": {
			func(path string) error { return os.Rename(path, path+".away") },
			func(path string) error { return os.Rename(path+".away", path) },
		},
		"directory open to the group": {
			func(path string) error { return os.Chmod(filepath.Dir(path), 0o770) },
			func(path string) error { return os.Chmod(filepath.Dir(path), 0o700) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "private", "tokens.json")
				runtime := t.TempDir()
				s, i := expiredFile(t, path, runtime)
				i.during = func() {
					if err := trouble.begin(path); err != nil {
						t.Error(err)
					}
					time.AfterFunc(3*time.Second, func() {
						if err := trouble.end(path); err != nil {
							t.Error(err)
						}
					})
				}
				if got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
					t.Errorf("got %q, %v", got.RefreshToken.Reveal(), err)
				}
				if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
					t.Errorf("the store has %q, %v", got.RefreshToken.Reveal(), err)
				}
				if found, err := os.ReadDir(runtime); err != nil || len(found) != 0 {
					t.Errorf("the spool was used: %v, %v", found, err)
				}
			})
		})
	}
}

// expiredFile is expired in a file, with a spool.
func expiredFile(t *testing.T, path, runtime string) (*keystore.Store, *renewer) {
	t.Helper()
	id := keystore.StoreID{1}
	sealer := newSealer(t, id)
	a, err := fileadapter.Open(path, func(context.Context, keystore.Header, []byte) (keystore.Sealer, error) { return sealer, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = a.Update(t.Context(), func(w keystore.Writer) error {
		if err := w.SetHeader(keystore.Header{StoreID: id}); err != nil {
			return err
		}
		return w.Put(keystore.MetaKey, []byte(`{"recipients":[]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	_, i := expired(t, a)
	return keystore.New(a, &keystore.Options{Spool: spool.Dir{Getenv: func(string) string { return runtime }}}), i
}
