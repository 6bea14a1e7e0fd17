//go:build unix

package local

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
)

// during is a store through the agent, in a refresh of which something happens.
type during struct {
	*machine
	knows, asks *Options
	store       *keystore.Store
	adapter     *breaking
	notices     func() string
}

// newDuring needs an agent that serves.
func newDuring(m *machine) *during {
	m.t.Helper()
	d := &during{machine: m}
	d.knows, d.asks = m.behind("a fine passphrase")
	if err := m.find(d.knows).Store().Put(m.t.Context(), refreshable("FakeOne")); err != nil {
		m.t.Fatal(err)
	}
	d.notices = saying(d.asks)
	p := m.find(d.asks)
	d.adapter = &breaking{tended: tended{p.adapter, p}}
	d.store = keystore.New(d.adapter, p.rules())
	return d
}

// refresh renews the login, and has happen what happens while the issuer is asked.
func (d *during) refresh(t *testing.T, happens func()) {
	t.Helper()
	got, err := d.store.Refresh(t.Context(), "rs", always, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		happens()
		return refreshable("FakeTwo"), nil
	}, nil)
	if err != nil || got.AccessToken.Reveal() != "FakeTwo" {
		t.Errorf("refresh: %v, want the new token", err)
	}
}

// refused checks that the store is locked for this process and for others.
func (d *during) refused(t *testing.T) {
	t.Helper()
	gets(t, d.store, "", keystore.ErrLocked)
	gets(t, d.find(d.asks).Store(), "", keystore.ErrLocked)
	if err := d.find(d.asks).Store().Put(t.Context(), login("FakeNew")); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("put: %v, want ErrLocked", err)
	}
}

func (d *during) lock(t *testing.T) {
	t.Helper()
	if n, err := d.find(d.asks).Lock(t.Context()); n != 1 || err != nil {
		t.Errorf("lock: %d, %v", n, err)
	}
}

func (d *during) spooled(t *testing.T) int {
	t.Helper()
	keys, err := spool.Dir{Getenv: d.getenv}.Keys(t.Context(), header(t, d.find(d.asks)).StoreID)
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// TestLockDuringARefresh, and SIGKILL of the agent: the answer is stored, and nothing
// else is served.
func TestLockDuringARefresh(t *testing.T) {
	for name, lock := range map[string]func(d *during){
		"locked": func(d *during) { d.lock(t) },
		"killed": func(d *during) { d.signal(syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDuring(withRuntime(t))
			start := UnlockOptions{Start: d.startProcess}
			d.unlock(d.knows, start)
			d.refresh(t, func() {
				lock(d)
				d.refused(t)
			})
			d.refused(t)
			if n := d.spooled(t); n != 0 {
				t.Errorf("%d answers are in the spool", n)
			}
			d.unlock(d.knows, start)
			gets(t, d.store, "FakeTwo", nil)
			d.spends(d.asks, "FakeTwoRefresh")
		})
	}
}

// TestLockDuringARefreshThatCannotBeStored: the answer is in the spool, and the next
// who has the key stores it.
func TestLockDuringARefreshThatCannotBeStored(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	synctest.Test(t, func(t *testing.T) {
		d := newDuring(m.in(t))
		d.unlock(d.knows, UnlockOptions{})
		d.refresh(t, func() {
			d.adapter.broken.Store(true)
			d.lock(t)
		})
		d.refused(t)
		if n := d.spooled(t); n != 1 {
			t.Errorf("%d answers are in the spool, want one", n)
		}
		d.unlock(d.knows, UnlockOptions{})
		d.spends(d.asks, "FakeTwoRefresh")
	})
}

// TestNobodyIsAskedDuringARefresh: what was not reserved, since another process has
// changed it meanwhile, waits in the spool for the next unlock, and no person is waited
// for with the credential's lock.
func TestNobodyIsAskedDuringARefresh(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	synctest.Test(t, func(t *testing.T) {
		d := newDuring(m.in(t))
		d.unlock(d.knows, UnlockOptions{})
		asking, asked := false, 0
		d.adapter.p.opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
			if asking {
				asked++
			}
			return keystore.Secret{}, keystore.ErrDeclined
		}
		d.refresh(t, func() {
			other := refreshable("FakeOther")
			other.Tokens[0].ResourceServer, other.Account.Subject = "other", "alice"
			if err := d.find(d.knows).Store().Put(t.Context(), other); err != nil { // makes the account's record
				t.Error(err)
			}
			d.lock(t)
			asking = true
		})
		if asked > 0 {
			t.Errorf("somebody was asked %d times", asked)
		}
		if n := d.spooled(t); n != 1 {
			t.Errorf("%d answers are in the spool, want one", n)
		}
		d.unlock(d.knows, UnlockOptions{})
		d.spends(d.asks, "FakeTwoRefresh")
	})
}

// TestRekeyDuringARefreshThatWasStopped: a rekey waits for a refresh, but not for ever.
// The answer is stored with the next key, which the agent has; if the store is locked
// too, nobody has it, and that is said.
func TestRekeyDuringARefreshThatWasStopped(t *testing.T) {
	for name, locked := range map[string]bool{"unlocked": false, "locked": true} {
		t.Run(name, func(t *testing.T) {
			m := withRuntime(t)
			m.serve()
			synctest.Test(t, func(t *testing.T) {
				d := newDuring(m.in(t))
				var warned []string
				d.asks.Warn = func(err error) { warned = append(warned, err.Error()) }
				d.unlock(d.knows, UnlockOptions{})
				d.refresh(t, func() {
					later := *d.knows
					later.Clock = func() time.Time { return time.Now().Add(time.Minute) }
					if err := d.find(&later).Rekey(t.Context(), Change{}); err != nil {
						t.Error(err)
					}
					if locked {
						d.lock(t)
					}
				})
				if n := d.spooled(t); (n == 1) != locked {
					t.Errorf("%d answers are in the spool", n)
				}
				if !locked {
					d.spends(d.asks, "FakeTwoRefresh")
					return
				}
				d.unlock(d.knows, UnlockOptions{})
				d.spends(d.asks, "FakeOneRefresh") // which the issuer will not take
				if len(warned) != 1 {
					t.Errorf("warned of %q, want of the one that is lost", warned)
				}
			})
		})
	}
}
