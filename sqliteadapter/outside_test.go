package sqliteadapter

import (
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestWhatIsErased: a store is made, written, listed, read and closed
// inside of erase.Do, where no C may be called. It means something in a release build only.
func TestWhatIsErased(t *testing.T) {
	for name, path := range map[string]string{"WAL": filepath.Join(t.TempDir(), "logins.db"), "memory": Memory} {
		erase.Do(func() {
			k := tokenKey("rs")
			a, err := Open(path, adaptertest.KeyFiles(t.TempDir()).Unseal, nil)
			if err == nil {
				err = found(t, a, k)
			}
			if err == nil {
				err = a.View(t.Context(), func(r keystore.Reader) error {
					for k, err := range r.Keys(keystore.KindToken) {
						if err == nil {
							_, err = r.Get(k)
						}
						if err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err == nil {
				err = a.Update(t.Context(), func(w keystore.Writer) error { return w.Delete(k) })
			}
			if err == nil {
				err = a.Close()
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
