//go:build unix && cgo

package local

import (
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// TestLockDuringARefreshOfAHiddenName: what a refresh has reserved is enough where names
// are hidden too, whose lists need the key.
func TestLockDuringARefreshOfAHiddenName(t *testing.T) {
	d := &during{machine: withRuntime(t)}
	options := func() *Options {
		o := d.options()
		o.Store = "sqlite:" + filepath.Join(d.home, "logins.db")
		o.SQLite = sqliteadapter.Opener(&sqliteadapter.Options{HideNames: true})
		return o
	}
	d.knows, d.asks = options(), options()
	d.knows.Prompt = answer("a fine passphrase")
	d.mustPut(d.knows, "FakeOne")
	owned := refreshable("FakeOne")
	owned.Account.Subject = "alice"
	if err := d.find(d.knows).Store().Put(t.Context(), owned); err != nil {
		t.Fatal(err)
	}
	p := d.find(d.asks)
	d.adapter = &breaking{tended: tended{p.adapter, p}}
	d.store = keystore.New(d.adapter, p.rules())
	start := UnlockOptions{Start: d.startProcess}
	d.unlock(d.knows, start)
	d.refresh(t, func() {
		d.lock(t)
		d.refused(t)
	})
	if n := d.spooled(t); n != 0 {
		t.Errorf("%d answers are in the spool", n)
	}
	d.unlock(d.knows, start)
	gets(t, d.store, "FakeTwo", nil)
}
