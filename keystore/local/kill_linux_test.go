package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestMain is also the process that stores its first login.
func TestMain(m *testing.M) {
	dir := os.Getenv("LOCAL_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if err := storeFirst(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func inDir(dir string) *Options {
	return &Options{
		Store:      "file:" + filepath.Join(dir, "sub", "tokens.json"),
		Prompt:     answer("a fine passphrase"),
		WorkFactor: 1,
	}
}

// storeFirst makes the key, the store and the first record in it.
func storeFirst(ctx context.Context, dir string) error {
	store, err := Open(ctx, inDir(dir))
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Put(ctx, login("FakeFirst"))
}

// TestFirstLoginAtEverySystemCall: whatever becomes of the process that makes
// the store, a store that exists has its key, what was acknowledged is there,
// and the next process can store.
func TestFirstLoginAtEverySystemCall(t *testing.T) {
	for name, fault := range map[string]string{
		"killed": faultcalls.Kill, "full disk": faultcalls.NoSpace, "device error": faultcalls.DeviceError,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := faultcalls.Walk(t, fault, faultcalls.Program{
				Fresh:   t.TempDir,
				Command: firstLogin,
				Check: func(dir string, acknowledged bool, point string) {
					checkFirst(t, dir, acknowledged, point)
				},
			})
			t.Logf("%d points", points)
		})
	}
}

func firstLogin(dir string, tracer []string) *exec.Cmd {
	cmd := exec.Command(tracer[0], append(tracer[1:], os.Args[0])...)
	cmd.Env = append(faultcalls.Environment(), "LOCAL_CHILD="+dir)
	return cmd
}

func checkFirst(t *testing.T, dir string, acknowledged bool, point string) {
	store, err := Open(t.Context(), inDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	got, err := store.Get(t.Context(), "rs")
	switch {
	case err == nil && got.AccessToken.Reveal() == "FakeFirst":
	case errors.Is(err, keystore.ErrNotFound) && !acknowledged:
	default:
		t.Errorf("%s: acknowledged %t, then %v", point, acknowledged, err)
	}
	if err := store.Put(t.Context(), login("FakeSecond")); err != nil {
		t.Errorf("%s: the next process cannot store: %v", point, err)
	}
}
