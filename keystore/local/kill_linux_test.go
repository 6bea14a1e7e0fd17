package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	rundir.FirstOnly = true
	dir := os.Getenv("LOCAL_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	s := scenarios[os.Getenv("LOCAL_SCENARIO")]
	if err := s.do(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// scenario is something that changes where the key of a store lies.
type scenario struct {
	prepare func(ctx context.Context, dir string) error
	do      func(ctx context.Context, dir string) error
	before  bool // the login is there before
}

var scenarios = map[string]scenario{
	"first login, passphrase": {
		do: func(ctx context.Context, dir string) error { return storeFirst(ctx, dir, keystore.SlotPassphrase) },
	},
	"first login, keychain": {
		do: func(ctx context.Context, dir string) error { return storeFirst(ctx, dir, keystore.SlotKeychain) },
	},
	"rekey of both slots": {
		before: true,
		prepare: func(ctx context.Context, dir string) error {
			if err := storeFirst(ctx, dir, keystore.SlotKeychain); err != nil {
				return err
			}
			return rekeyIn(ctx, dir, Change{Passphrase: Add})
		},
		do: func(ctx context.Context, dir string) error { return rekeyIn(ctx, dir, Change{}) },
	},
	"the write that removes what a rekey has retired": {
		before: true,
		prepare: func(ctx context.Context, dir string) error {
			if err := storeFirst(ctx, dir, keystore.SlotKeychain); err != nil {
				return err
			}
			if err := rekeyIn(ctx, dir, Change{Passphrase: Add}); err != nil {
				return err
			}
			return rekeyIn(ctx, dir, Change{})
		},
		do: func(ctx context.Context, dir string) error {
			opts := inDir(dir, "")
			opts.Clock = func() time.Time { return time.Now().Add(time.Hour) }
			store, err := Open(ctx, opts)
			if err != nil {
				return err
			}
			defer store.Close()
			return store.Put(ctx, login("FakeLater"))
		},
	},
}

func inDir(dir string, key keystore.SlotKind) *Options {
	b := keychaintest.New(filepath.Join(dir, "keychain"))
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		panic(err)
	}
	b.Before, b.After = dieAt("before"), dieAt("after")
	return &Options{
		Store:      "file:" + filepath.Join(dir, "sub", "tokens.json"),
		Prompt:     answer("a fine passphrase"),
		WorkFactor: 1,
		Key:        key,
		Keychain:   b,
	}
}

// dieAt kills this process before or after a keychain call, if the environment
// says so.
func dieAt(when string) func(string, int) error {
	return func(_ string, n int) error {
		if os.Getenv("LOCAL_DIE") == fmt.Sprintf("%s %d", when, n) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
}

// storeFirst makes the key, the store and the first record in it.
func storeFirst(ctx context.Context, dir string, key keystore.SlotKind) error {
	store, err := Open(ctx, inDir(dir, key))
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Put(ctx, login("FakeFirst"))
}

func rekeyIn(ctx context.Context, dir string, c Change) error {
	p, err := Find(inDir(dir, ""))
	if err != nil {
		return err
	}
	defer p.Adapter().Close()
	return p.Rekey(ctx, c)
}

// TestKeyChangesAtEverySystemCall: whatever becomes of the process that makes
// the store or gives it another key, a store that exists has its key, in every
// slot; what was acknowledged is there; the next process can store; and one
// that had the store open goes on.
func TestKeyChangesAtEverySystemCall(t *testing.T) {
	for name, s := range scenarios {
		for what, fault := range map[string]string{
			"killed": faultcalls.Kill, "full disk": faultcalls.NoSpace, "device error": faultcalls.DeviceError,
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				r := &rig{t: t, scenario: s, name: name}
				points := faultcalls.Walk(t, fault, faultcalls.Program{Fresh: r.fresh, Command: r.command, Check: r.check})
				t.Logf("%d points", points)
			})
		}
	}
}

// TestKeyChangesAtEveryKeychainCall is the same for a kill before and after
// each call of the keychain.
func TestKeyChangesAtEveryKeychainCall(t *testing.T) {
	for name, s := range scenarios {
		if name == "first login, passphrase" {
			continue // makes none
		}
		t.Run(name, func(t *testing.T) {
			r := &rig{t: t, scenario: s, name: name}
			killed := 0
			for n, acknowledged := 1, false; !acknowledged; n++ {
				for _, when := range []string{"before", "after"} {
					dir := r.fresh()
					cmd := r.command(dir, nil)
					point := fmt.Sprintf("%s %d", when, n)
					cmd.Env = append(cmd.Env, "LOCAL_DIE="+point)
					acknowledged = cmd.Run() == nil
					if !acknowledged {
						killed++
					}
					r.check(dir, acknowledged, "killed "+point)
				}
			}
			if killed < 4 {
				t.Errorf("killed %d times only", killed)
			}
			t.Logf("%d points", killed)
		})
	}
}

// rig runs one scenario.
type rig struct {
	t *testing.T
	scenario
	name string

	mu         sync.Mutex
	bystanders map[string]*keystore.Store // by directory; guarded by mu
}

// fresh is the state before, with a process that has the store open.
func (r *rig) fresh() string {
	dir := r.t.TempDir()
	if r.prepare == nil {
		return dir
	}
	if err := r.prepare(r.t.Context(), dir); err != nil {
		r.t.Fatal(err)
	}
	store, err := Open(r.t.Context(), inDir(dir, ""))
	if err == nil {
		_, err = store.Get(r.t.Context(), "rs")
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bystanders == nil {
		r.bystanders = make(map[string]*keystore.Store)
	}
	r.bystanders[dir] = store
	return dir
}

func (r *rig) command(dir string, tracer []string) *exec.Cmd {
	args := append(tracer, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(faultcalls.Environment(), "LOCAL_CHILD="+dir, "LOCAL_SCENARIO="+r.name)
	return cmd
}

func (r *rig) check(dir string, acknowledged bool, point string) {
	t := r.t
	p, err := Find(inDir(dir, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Adapter().Close()
	h := header(t, p)
	if (acknowledged || r.before) && h.IsZero() {
		t.Fatalf("%s: there is no store", point)
	}
	for _, slot := range h.Slots {
		checkSlot(t, dir, slot, point)
	}
	_, err = p.Store().Get(t.Context(), "rs")
	if err != nil && (acknowledged || r.before || !errors.Is(err, keystore.ErrNotFound)) {
		t.Errorf("%s: acknowledged %t, then %v", point, acknowledged, err)
	}
	r.mu.Lock()
	bystander := r.bystanders[dir]
	r.mu.Unlock()
	if bystander != nil {
		defer bystander.Close()
		if _, err := bystander.Get(t.Context(), "rs"); err != nil {
			t.Errorf("%s: a process that had the store open: %v", point, err)
		}
	}
	if err := p.Store().Put(t.Context(), login("FakeSecond")); err != nil {
		t.Errorf("%s: the next process cannot store: %v", point, err)
	}
}

// checkSlot opens the store with one slot alone, and every record with stock
// age and the key that lies there.
func checkSlot(t *testing.T, dir string, slot keystore.Slot, point string) {
	p, err := Find(inDir(dir, slot.Kind))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Adapter().Close()
	for key, err := range p.Verify(t.Context()) {
		if err != nil {
			t.Errorf("%s: by the %s alone %v: %v", point, slot.Kind, key, err)
		}
	}
	if slot.Kind == keystore.SlotKeychain {
		checkWithAge(t, p, slot.Name, point)
	}
}

// checkWithAge takes the identity out of the item as a user would, by its
// looks, and reads every record with age and nothing of ours.
func checkWithAge(t *testing.T, p *Place, account, point string) {
	item, err := p.Keychain().Get(t.Context(), account)
	if err != nil {
		t.Errorf("%s: %v", point, err)
		return
	}
	_, text, _ := strings.Cut(item.Reveal(), ".AGE-SECRET-KEY-")
	text, _, _ = strings.Cut(text, ".")
	id, err := identity.Parse("AGE-SECRET-KEY-" + text)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Adapter().View(t.Context(), func(r keystore.Reader) error {
		for _, kind := range keystore.Kinds() {
			for key := range r.Keys(kind) {
				sealed, err := r.(keystore.SealedReader).Sealed(key)
				if err == nil {
					_, err = age.Decrypt(strings.NewReader(string(sealed)), id.AgeIdentity())
				}
				if err != nil {
					t.Errorf("%s: age cannot read %v: %v", point, key, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", point, err)
	}
}
