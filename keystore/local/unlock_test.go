//go:build unix

package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// TestUnlockByEveryWay.
func TestUnlockByEveryWay(t *testing.T) {
	for name, c := range map[string]struct {
		opts func(m *machine, o *Options)
		in   keychain.State // of the keychain when it is unlocked; 0: as it was
		want Unlocked
		err  error
	}{
		"both slots":                    {want: Unlocked{By: keystore.SlotKeychain}},
		"both slots, keychain locked":   {in: keychain.Locked, want: Unlocked{By: keystore.SlotPassphrase, Agent: true}},
		"both slots, keychain declined": {in: keychain.Declined, want: Unlocked{By: keystore.SlotKeychain}, err: keystore.ErrDeclined},
		"the passphrase is wanted": {opts: func(_ *machine, o *Options) { o.Key = keystore.SlotPassphrase },
			want: Unlocked{By: keystore.SlotPassphrase, Agent: true}},
		"the keychain is wanted": {opts: func(_ *machine, o *Options) { o.Key = keystore.SlotKeychain }, in: keychain.Locked,
			want: Unlocked{By: keystore.SlotKeychain}, err: keystore.ErrLocked},
		"a passphrase file is named": {opts: func(m *machine, o *Options) {
			o.Prompt, o.PassphraseFile = nil, m.file("words", "a fine passphrase\n")
		}, want: Unlocked{By: keystore.SlotPassphrase, Agent: true}},
		"nobody to ask": {opts: func(_ *machine, o *Options) { o.Prompt, o.Key = nil, keystore.SlotPassphrase },
			want: Unlocked{By: keystore.SlotPassphrase}, err: keystore.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			m := withRuntime(t)
			m.serve()
			_, b := newDesktop(t)
			m.both(b)
			opts := m.with(b)
			opts.Prompt, opts.Clock = answer("a fine passphrase"), func() time.Time { return time.Unix(1_800_000_000, 0) }
			if c.opts != nil {
				c.opts(m, opts)
			}
			if c.in != 0 {
				b.Before = in(c.in)
			}
			if c.want.Agent {
				c.want.Until = time.Unix(1_800_000_000, 0).Add(90 * time.Second)
			}
			got, err := m.find(opts).Unlock(t.Context(), UnlockOptions{TTL: 90 * time.Second})
			if !errors.Is(err, c.err) || got != c.want {
				t.Errorf("%+v, %v, want %+v, %v", got, err, c.want, c.err)
			}
			if n := len(m.keys(opts)); (n == 1) != c.want.Agent {
				t.Errorf("the agent has %d keys", n)
			}
		})
	}
}

// TestUnlockByAnIdentityFile, of a store that has no slot. One of another store is
// handed to nobody, and so is the right one of a store that is damaged.
func TestUnlockByAnIdentityFile(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	opts := m.options()
	opts.IdentityFile = m.file("key", newIdentity(t).Text().Reveal()+"\n")
	p := m.mustPut(opts, "FakeOne")
	asks := m.options()
	if _, err := m.find(asks).Store().Get(t.Context(), "rs"); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("before: %v, want ErrNoIdentity", err)
	}
	wrong := *opts
	wrong.IdentityFile = m.file("wrong", newIdentity(t).Text().Reveal()+"\n")
	if _, err := m.find(&wrong).Unlock(t.Context(), UnlockOptions{}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("another's: %v, want ErrNoIdentity", err)
	}
	whole := m.read(p)
	m.write(p, strings.Replace(whole, `"name":"store"`, `"name":"shop"`, 1))
	if _, err := m.find(opts).Unlock(t.Context(), UnlockOptions{}); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a store without its meta record: %v, want ErrTampered", err)
	}
	m.write(p, whole)
	if n := len(m.keys(opts)); n != 0 {
		t.Errorf("the agent has %d keys", n)
	}
	if u := m.unlock(opts, UnlockOptions{}); u.By != ByIdentityFile || !u.Agent {
		t.Errorf("unlocked %+v, want by the identity file", u)
	}
	m.mustGet(asks, "FakeOne")
}

// TestUnlockOfAPlantedSlot: the key opens the records, and is handed to nobody.
func TestUnlockOfAPlantedSlot(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, _ := m.behind("a fine passphrase")
	m.editSlots(m.find(knows), func(slots []map[string]string) []map[string]string {
		return append(slots, map[string]string{"kind": "keychain", "item": "v1/x"})
	})
	knows.Key = keystore.SlotPassphrase
	if _, err := m.find(knows).Unlock(t.Context(), UnlockOptions{}); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("%v, want ErrTampered", err)
	}
	if n := len(m.keys(knows)); n != 0 {
		t.Errorf("the agent has %d keys", n)
	}
}

// TestUnlockThatCannotBe, and whom it has asked by then.
func TestUnlockThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		opts       func(m *machine, o *Options)
		unlock     UnlockOptions
		err        error
		says       string
		right      bool // is the answer
		asked      int
		withServer bool
	}{
		"no store": {opts: func(m *machine, o *Options) { o.Store = "file:" + filepath.Join(m.home, "none.json") },
			err: keystore.ErrNotFound, says: "there is no store yet"},
		"no keychain store": {opts: func(_ *machine, o *Options) { o.Store = "keychain:none" },
			err: keystore.ErrNotFound, says: "there is no store yet"},
		"no agent":              {err: agent.ErrNoAgent},
		"an agent cannot start": {unlock: UnlockOptions{Start: func(context.Context) error { return keystore.ErrUnavailable }}, err: keystore.ErrUnavailable, right: true, asked: 1},
		"wrong passphrase, and no agent is started": {unlock: UnlockOptions{Start: func(context.Context) error { panic("started") }},
			err: keystore.ErrLocked, asked: 3},
		"wrong passphrase":  {withServer: true, err: keystore.ErrLocked, asked: 3},
		"too long":          {unlock: UnlockOptions{TTL: 31 * 24 * time.Hour}, withServer: true, err: keystore.ErrInvalid},
		"too short":         {unlock: UnlockOptions{TTL: time.Millisecond}, withServer: true, err: keystore.ErrInvalid},
		"idle since before": {unlock: UnlockOptions{Idle: -1}, withServer: true, err: keystore.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			m := withRuntime(t)
			if c.withServer {
				m.serve()
			}
			_, opts := m.behind("a fine passphrase")
			var asked []Question
			opts.Prompt = func(_ context.Context, q Question) (keystore.Secret, error) {
				asked = append(asked, q)
				if c.right {
					return keystore.NewSecret("a fine passphrase"), nil
				}
				return keystore.NewSecret("a wrong passphrase"), nil
			}
			if c.opts != nil {
				c.opts(m, opts)
			}
			got, err := m.find(opts).Unlock(t.Context(), c.unlock)
			if !errors.Is(err, c.err) || got.Agent || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v, %v, want %v", got, err, c.err)
			}
			if len(asked) != c.asked || c.asked > 1 && (asked[0].Wrong || !asked[1].Wrong) {
				t.Errorf("asked %+v, want %d times", asked, c.asked)
			}
		})
	}
}

// TestUnlockOfAStoreInTheKeychain opens the keychain, and reads what there is.
func TestUnlockOfAStoreInTheKeychain(t *testing.T) {
	m := withRuntime(t)
	asked := m.serve()
	_, b := newDesktop(t)
	opts := m.with(b)
	opts.Store = "keychain:work"
	p := m.mustPut(opts, "FakeOne")
	want := Unlocked{By: keystore.SlotKeychain}
	for _, what := range []string{"with records", "without"} {
		if u, err := m.find(opts).Unlock(t.Context(), UnlockOptions{}); err != nil || u != want {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
		b.Before = in(keychain.Locked)
		if _, err := m.find(opts).Unlock(t.Context(), UnlockOptions{}); !errors.Is(err, keystore.ErrLocked) {
			t.Errorf("%s, locked: %v, want ErrLocked", what, err)
		}
		b.Before = nil
		if err := p.Store().Delete(t.Context(), "rs"); what == "with records" && err != nil {
			t.Fatal(err)
		}
	}
	m.mustPut(opts, "FakeOne")
	for _, account := range accounts(t, b) {
		if err := b.Delete(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.find(opts).Unlock(t.Context(), UnlockOptions{}); !errors.Is(err, keystore.ErrCorrupt) {
		t.Errorf("its items are gone: %v, want ErrCorrupt", err)
	}
	if n, err := m.find(opts).Lock(t.Context()); n != 0 || err != nil {
		t.Errorf("lock: %d, %v", n, err)
	}
	if n := asked.n.Load(); n != 2 {
		t.Errorf("the agent was asked %d times, want twice, by lock: for the store and its name", n)
	}
}

// TestUnlockForgetsThePassphrase: a place that goes on being used is locked with the
// others.
func TestUnlockForgetsThePassphrase(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, _ := m.behind("a fine passphrase")
	asked := 0
	knows.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		if asked++; asked > 1 {
			return keystore.Secret{}, keystore.ErrDeclined
		}
		return keystore.NewSecret("a fine passphrase"), nil
	}
	p := m.find(knows)
	if _, err := p.Unlock(t.Context(), UnlockOptions{}); err != nil {
		t.Fatal(err)
	}
	gets(t, p.Store(), "FakeOne", nil)
	if n, err := p.Lock(t.Context()); n != 1 || err != nil {
		t.Fatalf("lock: %d, %v", n, err)
	}
	gets(t, p.Store(), "", keystore.ErrDeclined)
}

// TestLock where there is nothing to.
func TestLock(t *testing.T) {
	m := withRuntime(t)
	knows, asks := m.behind("a fine passphrase")
	lock := func(what string) {
		t.Helper()
		if n, err := m.find(asks).Lock(t.Context()); n != 0 || err != nil {
			t.Errorf("%s: %d, %v, want 0", what, n, err)
		}
	}
	lock("no agent")
	m.serve()
	lock("locked")
	other := *knows
	other.Store = "file:" + filepath.Join(m.home, "other.json")
	m.mustPut(&other, "FakeOther")
	m.unlock(&other, UnlockOptions{})
	lock("another is unlocked")
	other.Prompt = nil
	m.mustGet(&other, "FakeOther")
	if err := os.Remove(m.find(&other).Path()); err != nil {
		t.Fatal(err)
	}
	none := *asks
	none.Store = "file:" + filepath.Join(m.home, "none.json")
	if _, err := m.find(&none).Lock(t.Context()); !errors.Is(err, keystore.ErrNotFound) || !strings.Contains(err.Error(), "there is no store yet") {
		t.Errorf("no store: %v, want ErrNotFound", err)
	}
}

// TestLockOfWhatWasPutInItsPlace: who can write the store's file cannot keep it unlocked by
// putting another there, or none. The agent knows the name too.
func TestLockOfWhatWasPutInItsPlace(t *testing.T) {
	for what, put := range map[string]func(store, other string) error{
		"another":       func(store, other string) error { return os.Rename(other, store) },
		"none":          func(store, _ string) error { return os.Remove(store) },
		"no store file": func(store, _ string) error { return os.WriteFile(store, []byte("{"), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			m := withRuntime(t)
			knows, _ := m.behind("a fine passphrase")
			other := *knows
			other.Store = "file:" + filepath.Join(m.home, "other.json")
			m.mustPut(&other, "FakeOther")
			m.serve()
			m.unlock(knows, UnlockOptions{})
			if err := put(m.find(knows).Path(), m.find(&other).Path()); err != nil {
				t.Fatal(err)
			}
			if n, err := m.find(knows).Lock(t.Context()); n != 1 {
				t.Errorf("%d keys are locked, %v", n, err)
			}
			if st, err := m.client().Status(t.Context()); err != nil || len(st.Keys) > 0 {
				t.Errorf("the agent still has %v, %v", st.Keys, err)
			}
		})
	}
}

// TestUnlockDuringARekey: the agent gets the key that the store has when somebody has
// typed his passphrase, and not the one that it had when he was asked.
func TestUnlockDuringARekey(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, asks := m.behind("a fine passphrase")
	asks.Prompt = func(ctx context.Context, _ Question) (keystore.Secret, error) {
		return keystore.NewSecret("a fine passphrase"), m.find(knows).Rekey(ctx, Change{})
	}
	m.unlock(asks, UnlockOptions{})
	asks.Prompt = nil
	gets(t, m.find(asks).Store(), "FakeOne", nil)
}
