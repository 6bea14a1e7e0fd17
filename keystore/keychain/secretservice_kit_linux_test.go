package keychain

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	testAccount = "v1/00112233445566778899aabbccddeeff/key/0123456789abcdef"
	testValue   = "gk1.key.value-of-the-test"
)

// A kit is a backend and the session it is in.
type kit struct {
	*testing.T
	ctx     context.Context // ends the test if it ends by itself
	bus     *desktoptest.Bus
	backend *secretService
	notices []string // each notice that was given
}

// newKit makes a backend in the session of the bus. Its limits are so long that
// a slow machine fails no test, and the test fails when one is reached.
func newKit(t *testing.T, bus *desktoptest.Bus) *kit {
	t.Helper()
	k := &kit{T: t, bus: bus, ctx: watched(t)}
	k.backend = newSecretService(Options{Getenv: bus.Getenv, Notice: func(s string) { k.notices = append(k.notices, s) }})
	k.limit(time.Minute)
	k.backend.limits.answer = time.Minute
	k.backend.limits.settle, k.backend.limits.saved, k.backend.limits.shown = 0, 0, 0
	t.Cleanup(func() { k.backend.Close() })
	return k
}

// watched returns a context that fails the test when it ends.
func watched(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	t.Cleanup(func() {
		if ctx.Err() != nil {
			t.Error("a call did not end by itself")
		}
		cancel()
	})
	return ctx
}

// scripted makes a kit with a scripted service.
func scripted(t *testing.T, opts secretservicetest.Options) (*kit, *secretservicetest.Service) {
	t.Helper()
	bus := desktoptest.StartBus(t)
	return newKit(t, bus), secretservicetest.New(t, bus, opts)
}

// testItem is the item that the test methods of kit ask for.
func testItem() secretservicetest.Item {
	return secretservicetest.Item{Value: testValue, Attributes: attributes(testAccount)}
}

// limit sets how long the service may be silent.
func (k *kit) limit(d time.Duration) {
	k.backend.limits.probe, k.backend.limits.silent = d, d
}

// display is somebody who sees dialogs.
func (k *kit) display() { k.bus.Setenv("DISPLAY", ":99") }

func (k *kit) get() (string, error) {
	value, err := k.backend.Get(k.ctx, testAccount)
	return value.Reveal(), err
}

func (k *kit) getError() error {
	_, err := k.backend.Get(k.ctx, testAccount)
	return err
}

func (k *kit) probe() error {
	_, err := k.backend.Probe(k.ctx)
	return err
}

func (k *kit) create() error {
	return k.backend.Create(k.ctx, testAccount, keystore.NewSecret(testValue))
}

func (k *kit) delete() error { return k.backend.Delete(k.ctx, testAccount) }

func (k *kit) wantValue(want string) {
	k.Helper()
	if got, err := k.get(); err != nil || got != want {
		k.Errorf("Get: %q, %v; want %q", got, err, want)
	}
}

// wantError checks for a sentinel.
func (k *kit) wantError(what string, err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Errorf("%s: %v; want one that is %q", what, err, want)
	}
	if err != nil && strings.Contains(err.Error(), testValue) {
		k.Errorf("%s: the error holds the value: %v", what, err)
	}
}

// wantProblem checks for a state, and words in the error.
func (k *kit) wantProblem(what string, err error, want State, words string) {
	k.Helper()
	var problem *Problem
	if !errors.As(err, &problem) || problem.State != want {
		k.Errorf("%s: %v; want a problem that is %v", what, err, want)
	} else if !strings.Contains(err.Error(), words) {
		k.Errorf("%s: %q does not say %q", what, err, words)
	}
}

// wantState checks a probe.
func (k *kit) wantState(want State, words string) {
	k.Helper()
	state, err := k.backend.Probe(k.ctx)
	if state != want {
		k.Errorf("Probe: %v, %v; want %v", state, err, want)
	}
	if want == Ready && err != nil {
		k.Errorf("Probe: ready with error %v", err)
	}
	if want != Ready {
		k.wantProblem("Probe", err, want, words)
	}
}

// wantAll checks a probe and all methods: with some problems nothing works.
func (k *kit) wantAll(want State, words string) {
	k.Helper()
	k.wantState(want, words)
	_, err := k.get()
	k.wantProblem("Get", err, want, words)
	k.wantProblem("Create", k.create(), want, words)
	k.wantProblem("Delete", k.delete(), want, words)
}

// wantTidy runs fn, closes the backend, and checks that nothing is left of it.
func (k *kit) wantTidy(fn func()) {
	k.Helper()
	goroutines, files := k.counts()
	fn()
	k.wantClosed(goroutines, files)
}

// counts are what wantClosed compares with.
func (k *kit) counts() (goroutines, files int) { return runtime.NumGoroutine(), openFiles(k.T) }

func (k *kit) wantClosed(goroutines, files int) {
	k.Helper()
	if err := k.backend.Close(); err != nil {
		k.Errorf("Close: %v", err)
	}
	desktoptest.Until(k.T, "all goroutines are gone", func() bool {
		if runtime.NumGoroutine() <= goroutines {
			return true
		}
		k.logGoroutines()
		return false
	})
	desktoptest.Until(k.T, "all files are closed", func() bool { return openFiles(k.T) <= files })
}

// logGoroutines shows them in the last second of waiting, not always.
func (k *kit) logGoroutines() {
	if testing.Verbose() && os.Getenv("STACKS") != "" {
		stacks := make([]byte, 1<<20)
		k.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	}
}

func openFiles(t *testing.T) int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// fakeLaunch puts a dbus-launch first on PATH, and returns the file that it
// writes when it is run.
func fakeLaunch(t *testing.T) (ran string) {
	dir := t.TempDir()
	ran = filepath.Join(dir, "ran")
	script := "#!/bin/sh\ntouch " + ran + "\n"
	if err := os.WriteFile(filepath.Join(dir, "dbus-launch"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return ran
}

// listen makes a socket that accepts and never answers. accepted counts.
func listen(t *testing.T, path string) (accepted chan net.Conn) {
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepted = make(chan net.Conn, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for range len(accepted) {
			(<-accepted).Close()
		}
	})
	return accepted
}

// program is a program that runs in the session of the bus.
func program(bus *desktoptest.Bus, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = bus.Env()
	return cmd
}

// output returns what a program writes, without the line's end.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %v: %s", cmd.Args, err, stderr.Bytes())
	}
	return strings.TrimRight(string(out), "\n")
}
