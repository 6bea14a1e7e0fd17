//go:build cgo

package local

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// TestVerifyBesideAWriter: what changes while it is checked is checked anew, and told once.
func TestVerifyBesideAWriter(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Store = "sqlite:" + filepath.Join(m.home, "logins.db")
	opts.SQLite = sqliteadapter.Opener(nil)
	p := m.mustPut(opts, "FakeOne")
	writer := m.find(opts).Store()
	disturbed := disturbing{StorageAdapter: p.adapter, write: func() error { return writer.PutConfig(t.Context(), "setting", 1) }}
	p.adapter = &disturbed
	seen := make(map[keystore.RecordKey]int)
	for key, err := range p.Verify(t.Context()) {
		if err != nil {
			t.Errorf("%v: %v", key, err)
		}
		seen[key]++
	}
	if disturbed.times != 1 || len(seen) != 3 {
		t.Errorf("disturbed %d times, saw %v", disturbed.times, seen)
	}
	for key, times := range seen {
		if times != 1 {
			t.Errorf("%v was told %d times", key, times)
		}
	}
}

// disturbing has somebody write once, in the middle of the first View.
type disturbing struct {
	keystore.StorageAdapter
	write func() error
	times int
}

func (d *disturbing) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return d.StorageAdapter.View(ctx, func(r keystore.Reader) error {
		return fn(disturbedReader{r.(keystore.SealedReader), d})
	})
}

type disturbedReader struct {
	keystore.SealedReader
	d *disturbing
}

func (r disturbedReader) Sealed(k keystore.RecordKey) ([]byte, error) {
	if k.Kind == keystore.KindToken && r.d.times == 0 {
		r.d.times++
		if err := r.d.write(); err != nil {
			return nil, err
		}
	}
	return r.SealedReader.Sealed(k)
}
