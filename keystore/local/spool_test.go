package local

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
)

// breaking is a place's adapter as a Store uses it, until it breaks.
type breaking struct {
	tended
	broken atomic.Bool
}

func (b *breaking) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if b.broken.Load() {
		return keystore.ErrReadOnly
	}
	return b.tended.Update(ctx, fn)
}

// TestRekeyKeepsWhatIsSpooled, which is sealed with the key before.
func TestRekeyKeepsWhatIsSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newDesktop(t)
		runtime := t.TempDir()
		m.env["XDG_RUNTIME_DIR"], m.env["TMPDIR"], m.env["LOCALAPPDATA"] = runtime, runtime, runtime
		opts := m.with(b)
		p := m.mustPut(opts, "FakeOne")
		if err := p.Store().Put(t.Context(), refreshable("FakeOne")); err != nil {
			t.Fatal(err)
		}
		a := &breaking{tended: tended{p.adapter, p}}
		files := spool.Dir{Getenv: opts.Getenv}
		store := keystore.New(a, &keystore.Options{Spool: files})
		_, err := store.Refresh(t.Context(), "rs", func(keystore.Token) bool { return true },
			func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
				a.broken.Store(true)
				return refreshable("FakeTwo"), nil
			}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.mustGet(opts, "FakeOne")
		if err := p.Rekey(t.Context(), Change{}); err != nil {
			t.Fatal(err)
		}
		m.mustGet(opts, "FakeTwo")
		if keys, err := files.Keys(t.Context(), header(t, p).StoreID); err != nil || len(keys) != 0 {
			t.Errorf("the spool has %v, %v", keys, err)
		}
	})
}

func refreshable(secret string) keystore.TokenResponse {
	r := login(secret)
	r.Tokens[0].RefreshToken = keystore.NewSecret(secret + "Refresh")
	r.Tokens[0].ExpiresAt = time.Unix(4070908799, 0)
	return r
}
