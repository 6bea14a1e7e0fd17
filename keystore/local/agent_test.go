//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestProcessThroughLocksAndRekeys: a process that stays open, and asks nobody, works
// as long as the agent has the key, whatever agent and whatever key that is.
func TestProcessThroughLocksAndRekeys(t *testing.T) {
	m := withRuntime(t)
	knows, asks := m.behind("a fine passphrase")
	start := UnlockOptions{Start: m.startProcess}
	store := m.find(asks).Store()
	gets(t, store, "", keystore.ErrLocked)
	for range 2 {
		if u := m.unlock(knows, start); !u.Agent || u.By != keystore.SlotPassphrase {
			t.Errorf("unlocked %+v, want by the passphrase in the agent", u)
		}
		gets(t, store, "FakeOne", nil)
		if n, err := m.find(asks).Lock(t.Context()); n != 1 || err != nil {
			t.Errorf("lock: %d, %v", n, err)
		}
		gets(t, store, "", keystore.ErrLocked)
	}
	m.unlock(knows, start)
	m.signal(syscall.SIGKILL)
	gets(t, store, "", keystore.ErrLocked)
	m.unlock(knows, start)
	gets(t, store, "FakeOne", nil)

	before := m.keys(knows)
	if err := m.find(knows).Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	gets(t, store, "FakeOne", nil)
	if after := m.keys(knows); len(before) != 1 || len(after) != 1 || after[0] == before[0] {
		t.Errorf("the agent has %v, before the rekey it had %v", after, before)
	}
	change := Change{Passphrase: Replace, NewPassphraseFile: m.file("next", "a finer passphrase\n")}
	if err := m.find(knows).Rekey(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	gets(t, store, "FakeOne", nil)
	if err := store.Put(t.Context(), login("FakeTwo")); err != nil {
		t.Errorf("put: %v", err)
	}
	m.mustGet(asks, "FakeTwo")
	if st, err := m.client().Status(t.Context()); err != nil || len(st.Keys) != 1 || st.Keys[0].Left < 7*time.Hour {
		t.Errorf("the agent has %+v, %v, want one key, on the terms of the first", st.Keys, err)
	}
}

// keys are what the agent has of the store.
func (m *machine) keys(opts *Options) (names []string) {
	m.t.Helper()
	keys, err := m.client().Keys(m.t.Context(), header(m.t, m.find(opts)).StoreID)
	if err != nil && !errors.Is(err, keystore.ErrLocked) {
		m.t.Fatal(err)
	}
	for _, k := range keys {
		names = append(names, k.ID.String())
	}
	return names
}

// TestLockedStoreAsksOnce: an agent that is stopped takes 3 seconds for each time.
func TestLockedStoreAsksOnce(t *testing.T) {
	m := withRuntime(t)
	asked := m.serve()
	_, asks := m.behind("a fine passphrase")
	before := asked.n.Load()
	gets(t, m.find(asks).Store(), "", keystore.ErrLocked)
	if n := asked.n.Load() - before; n != 1 {
		t.Errorf("the agent was asked %d times, want once", n)
	}
}

// TestRekeyWithoutTheAgent, by a process that does not find it: what the agent has is
// no key of the store any more, which is locked, and nothing is wrong with the agent.
func TestRekeyWithoutTheAgent(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, asks := m.behind("a fine passphrase")
	m.unlock(knows, UnlockOptions{})
	elsewhere := *knows
	elsewhere.Getenv = func(name string) string {
		if value := m.env[name]; value != m.env["XDG_RUNTIME_DIR"] {
			return value
		}
		return m.home
	}
	if err := m.find(&elsewhere).Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	said := saying(asks)
	_, err := m.find(asks).Store().Get(t.Context(), "rs")
	if !errors.Is(err, keystore.ErrLocked) || strings.Contains(err.Error(), "unlocked") {
		t.Errorf("get: %v, want ErrLocked", err)
	}
	if n := len(m.keys(asks)); n != 1 || said() != "" {
		t.Errorf("the agent has %d keys; said %q", n, said())
	}
	m.unlock(knows, UnlockOptions{})
	m.mustGet(asks, "FakeOne")
}

// TestRekeyThatFails leaves the agent the key that the store has.
func TestRekeyThatFails(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, asks := m.behind("a fine passphrase")
	m.unlock(knows, UnlockOptions{})
	before := m.keys(knows)
	p := m.find(knows)
	r, err := p.plan(t.Context(), Change{})
	if err == nil {
		err = p.fill(t.Context(), r, Change{})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.announceKey(t.Context(), r)
	if now := m.keys(knows); len(now) != 2 {
		t.Errorf("during the rekey the agent has %v, want two keys", now)
	}
	m.mustGet(asks, "FakeOne")
	p.settleKeys(t.Context(), r)
	if now := m.keys(knows); len(now) != 1 || now[0] != before[0] {
		t.Errorf("the agent has %v, want %v", now, before)
	}
	m.mustGet(asks, "FakeOne")
}

// TestKeyThatNoAgentMayHave: without its passphrase a store is the keychain's to
// unlock.
func TestKeyThatNoAgentMayHave(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	_, b := newDesktop(t)
	m.both(b)
	opts := m.with(b)
	opts.Prompt, opts.Key = answer("a fine passphrase"), keystore.SlotPassphrase
	if u := m.unlock(opts, UnlockOptions{}); !u.Agent {
		t.Errorf("unlocked %+v, want in the agent", u)
	}
	opts.Key = ""
	if err := m.find(opts).Rekey(t.Context(), Change{Passphrase: Remove}); err != nil {
		t.Fatal(err)
	}
	if now := m.keys(opts); len(now) != 0 {
		t.Errorf("the agent has %v, want none", now)
	}
	m.mustGet(opts, "FakeOne")
}

// TestWhenTheAgentIsAsked: after what the run names, before what is left over or has
// to be waited for, and only where it can have the key.
func TestWhenTheAgentIsAsked(t *testing.T) {
	m := withRuntime(t)
	asked := m.serve()
	_, b := newDesktop(t)
	m.both(b)
	unlock := m.with(b)
	unlock.Key, unlock.Prompt = keystore.SlotPassphrase, answer("a fine passphrase")
	m.unlock(unlock, UnlockOptions{})
	right, gone := m.file("right", "a fine passphrase\n"), filepath.Join(m.home, "gone")
	for name, c := range map[string]struct {
		opts  func(*Options)
		env   map[string]string
		asked bool
		err   error
	}{
		"nothing is named":           {asked: true},
		"passphrase by variable":     {env: map[string]string{"GLOBUS_KEYS_PASSPHRASE_FILE": gone}, asked: true},
		"passphrase by option":       {opts: func(o *Options) { o.PassphraseFile = right }},
		"wrong passphrase by option": {opts: func(o *Options) { o.PassphraseFile = gone }, err: keystore.ErrUnavailable},
		"identity by option":         {opts: func(o *Options) { o.IdentityFile = gone }, err: keystore.ErrUnavailable},
		"identity by variable":       {env: map[string]string{"GLOBUS_KEYS_IDENTITY_FILE": gone}, err: keystore.ErrUnavailable},
		"keychain":                   {opts: func(o *Options) { o.Key = keystore.SlotKeychain }},
		"passphrase":                 {opts: func(o *Options) { o.Key = keystore.SlotPassphrase }, asked: true},
		"no agent":                   {opts: func(o *Options) { o.NoAgent = true }},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				m.env[k] = v
				defer delete(m.env, k)
			}
			opts := m.with(b)
			if c.opts != nil {
				c.opts(opts)
			}
			calls, before := b.Calls(), asked.n.Load()
			gets(t, m.find(opts).Store(), "FakeOne", c.err)
			if got := asked.n.Load() > before; got != c.asked {
				t.Errorf("the agent was asked: %v, want %v", got, c.asked)
			}
			if c.asked && b.Calls() != calls {
				t.Error("the keychain was asked too")
			}
		})
	}
}

// TestAgentIsNotAskedForAKeychainsStore.
func TestAgentIsNotAskedForAKeychainsStore(t *testing.T) {
	m := withRuntime(t)
	asked := m.serve()
	_, b := newDesktop(t)
	m.mustPut(m.with(b), "FakeOne")
	m.mustGet(m.with(b), "FakeOne")
	if n := asked.n.Load(); n != 0 {
		t.Errorf("the agent was asked %d times", n)
	}
}

// TestAgentThatIsOfNoUse is told of, and the other ways are gone; without one it is
// what to say.
func TestAgentThatIsOfNoUse(t *testing.T) {
	for name, place := range map[string]func(t *testing.T, m *machine){
		"stopped": func(t *testing.T, m *machine) { m.listen() }, // the kernel connects in its place
		"answers anything": func(t *testing.T, m *machine) {
			l := m.listen()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Read(make([]byte, 1024))
					c.Write([]byte("220 smtp.example ESMTP\n"))
					c.Close()
				}
			}()
		},
		"a file": func(t *testing.T, m *machine) {
			if err := os.WriteFile(m.socket(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another user's": func(t *testing.T, m *machine) {
			testenv.NeedRoot(t)
			m.listen()
			if err := os.Chown(m.socket(), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := withRuntime(t)
			_, asks := m.behind("a fine passphrase")
			place(t, m)
			said := saying(asks)
			s := m.find(asks).Store()
			_, err := s.Get(t.Context(), "rs")
			_, again := s.Get(t.Context(), "rs")
			if text := said(); strings.Count(text, "the agent is of no use") != 1 {
				t.Errorf("a process that stays open said %q", text)
			}
			asks.Prompt = func(context.Context, Question) (keystore.Secret, error) {
				return keystore.Secret{}, fmt.Errorf("there is no terminal: %w", keystore.ErrLocked)
			}
			_, unasked := m.find(asks).Store().Get(t.Context(), "rs")
			for _, err := range []error{err, again, unasked} {
				if !errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, keystore.ErrTampered) {
					t.Errorf("without another way: %v, want ErrUnavailable", err)
				}
			}
			said = saying(asks)
			m.env["GLOBUS_KEYS_PASSPHRASE_FILE"] = m.file("words", "a fine passphrase\n")
			m.mustGet(asks, "FakeOne")
			if text := said(); strings.Count(text, "the agent is of no use") != 1 {
				t.Errorf("said %q", text)
			}
		})
	}
}

// socket is where an agent would listen.
func (m *machine) socket() string {
	m.t.Helper()
	dir := filepath.Join(m.env["XDG_RUNTIME_DIR"], "globus-keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	return filepath.Join(dir, agent.SocketName)
}

// listen listens in the place of an agent until the end of the test.
func (m *machine) listen() net.Listener {
	m.t.Helper()
	l, err := net.Listen("unix", m.socket())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close() })
	return l
}

// TestLockedProcessGoesOtherWays: one that stays open does what one would that starts
// now. A person is asked once, and nobody waits for him: neither a lock of the store
// is held, nor a credential's.
func TestLockedProcessGoesOtherWays(t *testing.T) {
	m := withRuntime(t)
	m.serve()
	knows, asks := m.behind("a fine passphrase")
	m.unlock(knows, UnlockOptions{})
	questions := 0
	asks.Prompt = func(ctx context.Context, q Question) (keystore.Secret, error) {
		questions++
		writer := m.find(knows)
		if err := writer.Store().Put(ctx, login("FakeMeanwhile")); err != nil {
			t.Errorf("another process writes while somebody is asked: %v", err)
		}
		unlock, err := writer.Adapter().LockCredential(ctx, keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: "rs"})
		if err != nil {
			t.Errorf("another process takes the credential's lock meanwhile: %v", err)
			return keystore.Secret{}, err
		}
		return keystore.NewSecret("a fine passphrase"), unlock()
	}
	for _, c := range []struct {
		what string
		do   func(*keystore.Store) error
	}{
		{"get", func(s *keystore.Store) error { _, err := s.Get(t.Context(), "rs"); return err }},
		{"put", func(s *keystore.Store) error { return s.Put(t.Context(), login("FakeTwo")) }},
		{"gets at once", func(s *keystore.Store) error {
			errs := make(chan error)
			for range 8 {
				go func() { _, err := s.Get(t.Context(), "rs"); errs <- err }()
			}
			var all error
			for range 8 {
				all = errors.Join(all, <-errs)
			}
			return all
		}},
	} {
		m.unlock(knows, UnlockOptions{})
		s := m.find(asks).Store()
		if _, err := s.Get(t.Context(), "rs"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.find(asks).Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		questions = 0
		for range 2 {
			if err := c.do(s); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		if questions != 1 {
			t.Errorf("%s: asked %d times, want once", c.what, questions)
		}
	}
}
