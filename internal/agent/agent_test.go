//go:build unix

package agent_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

var testStore = keystore.StoreID{1, 2, 3}

var testRecord = keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: "transfer.api.globus.org"}

// home is the environment of a user whose runtime directory is a new one.
func home(t testing.TB) func(string) string {
	dir := t.TempDir()
	return func(name string) string {
		if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
			return dir
		}
		return ""
	}
}

// start starts an agent in this process, and returns its client.
func start(t *testing.T, opts *agent.ServerOptions) *agent.Client {
	t.Helper()
	return startAt(t, home(t), opts)
}

func startAt(t testing.TB, env func(string) string, opts *agent.ServerOptions) *agent.Client {
	t.Helper()
	l, release, err := agent.Listen(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := agent.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	c := agent.Open(env)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := errors.Join(<-done, release()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func newKey(t *testing.T) (seal.Key, *identity.Identity) {
	t.Helper()
	id, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	return seal.KeyOf(id, testStore), id
}

// hour is for tests in which nothing ends.
var hour = agent.Terms{TTL: time.Hour}

func TestUnlockUseLock(t *testing.T) {
	ctx := context.Background()
	c := start(t, nil)
	key, id := newKey(t)
	if keys, err := c.Keys(ctx, testStore); err != nil || len(keys) > 0 {
		t.Fatalf("before: %v, %v", keys, err)
	}
	if err := c.Unlock(ctx, key, "file:/home/u/tokens.json", hour); err != nil {
		t.Fatal(err)
	}
	keys, err := c.Keys(ctx, testStore)
	if err != nil || len(keys) != 1 || keys[0] != key.Public {
		t.Fatalf("keys: %v, %v, want %v", keys, err, key.Public)
	}
	own, err := seal.New(id, testStore, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := seal.FormatMeta(seal.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := own.Seal(ctx, keystore.MetaKey, payload)
	if err != nil {
		t.Fatal(err)
	}
	far, err := seal.LoadHeld(ctx, c.Holder(keys[0]), keys[0], meta)
	if err != nil {
		t.Fatal(err)
	}
	record, err := far.Seal(ctx, testRecord, []byte(`"x"`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := own.Open(ctx, testRecord, record); err != nil || string(got) != `"x"` {
		t.Errorf("sealed by the agent: %q, %v", got, err)
	}
	if n, err := c.Lock(ctx, testStore); err != nil || n != 1 {
		t.Errorf("lock: %d, %v", n, err)
	}
	if _, err := far.Open(ctx, testRecord, record); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("after lock: %v, want ErrLocked", err)
	}
}

// TestKeyIsFoundByTheNameOfItsStore, however long that is.
func TestKeyIsFoundByTheNameOfItsStore(t *testing.T) {
	ctx := context.Background()
	c := start(t, nil)
	for _, name := range []string{"file:/home/u/tokens.json", "file:/" + strings.Repeat("long/", 100) + "tokens.json"} {
		key, _ := newKey(t)
		if err := c.Unlock(ctx, key, name, hour); err != nil {
			t.Fatal(err)
		}
		st, err := c.Status(ctx)
		if err != nil || len(st.Keys) != 1 || !st.Keys[0].IsOf(name) || st.Keys[0].IsOf("file:/home/u/other.json") {
			t.Errorf("the key of %s: %+v, %v", name, st.Keys, err)
		}
		if _, err := c.Lock(ctx, testStore); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLookingIsNoUse, and all else is.
func TestLookingIsNoUse(t *testing.T) {
	ctx := context.Background()
	var passed atomic.Int64
	c := start(t, &agent.ServerOptions{Clock: func() agent.Instant {
		d := time.Duration(passed.Load())
		return agent.Instant{Wall: time.Unix(1e9, 0).Add(d), Steady: d}
	}})
	key, _ := newKey(t)
	if err := c.Unlock(ctx, key, "", agent.Terms{TTL: time.Hour, Idle: time.Minute}); err != nil {
		t.Fatal(err)
	}
	h := c.Holder(key.Public)
	for i, use := range []func() error{
		func() error { _, err := h.WrapKey(ctx, testRecord, seal.NewSalt()); return err },
		func() error { _, err := h.Fresh(agent.Look(ctx), testRecord, 1); return err },
		func() error { _, err := h.WrapKey(agent.Look(ctx), testRecord, seal.NewSalt()); return err },
	} {
		passed.Add(int64(50 * time.Second))
		if err := use(); err != nil {
			t.Fatalf("after %d uses: %v", i, err)
		}
	}
	passed.Add(int64(50 * time.Second))
	if _, err := h.WrapKey(ctx, testRecord, seal.NewSalt()); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("after a look: %v, want ErrLocked", err)
	}
}

func TestNoAgent(t *testing.T) {
	c := agent.Open(home(t))
	defer c.Close()
	if _, err := c.Keys(context.Background(), testStore); !errors.Is(err, agent.ErrNoAgent) || !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("%v, want ErrNoAgent", err)
	}
}

func TestStop(t *testing.T) {
	c := start(t, nil)
	if err := c.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(context.Background()); !errors.Is(err, agent.ErrNoAgent) {
		t.Errorf("%v, want ErrNoAgent", err)
	}
}

// TestSocketOfAServiceManagerStays: it listens for an agent that does not run yet.
func TestSocketOfAServiceManagerStays(t *testing.T) {
	env := home(t)
	path := filepath.Join(placeOf(t, env), agent.SocketName)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := agent.Listen(env, nil); !errors.Is(err, agent.ErrRunning) {
		t.Errorf("%v, want ErrRunning", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("its socket is gone: %v", err)
	}
	c.Close()
}

// placeOf is where an agent of this user has its socket, which is made.
func placeOf(t *testing.T, env func(string) string) string {
	t.Helper()
	dir, err := rundir.Make(env)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestStaleSocketIsReplaced: an agent that was killed leaves its socket.
func TestStaleSocketIsReplaced(t *testing.T) {
	env := home(t)
	l, release, err := agent.Listen(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	path := l.Addr().String()
	if filepath.Base(path) != agent.SocketName {
		t.Errorf("the socket is %s", path)
	}
	if _, _, err := agent.Listen(env, nil); !errors.Is(err, agent.ErrRunning) {
		t.Errorf("beside an agent: %v, want ErrRunning", err)
	}
	l.Close()
	if err := release(); err != nil {
		t.Fatal(err)
	}
	l, release, err = agent.Listen(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	release()
}
