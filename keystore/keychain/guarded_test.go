package keychain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// canary is in values and in what fakes say, and may be in no error.
const canary = "CANARY-0f3a"

var errMissing = errors.New("fake: no such item")

// fakeLibrary is a map that does what it is told before each call.
type fakeLibrary struct {
	before func(what, user string) error // may sleep, block, panic or fail

	calls, running, most atomic.Int32
	mu                   sync.Mutex
	items                map[string]string // service:user -> value; guarded by mu
}

// do runs fn as a call, whose overlaps with others it counts.
func (l *fakeLibrary) do(what, service, user string, fn func(name string) error) error {
	l.calls.Add(1)
	now := l.running.Add(1)
	defer l.running.Add(-1)
	for most := l.most.Load(); now > most && !l.most.CompareAndSwap(most, now); most = l.most.Load() {
	}
	if l.before != nil {
		if err := l.before(what, user); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return fn(service + ":" + user)
}

func (l *fakeLibrary) Set(service, user, value string) error {
	return l.do("set", service, user, func(name string) error {
		l.items[name] = value
		return nil
	})
}

// Get returns more than an error where it fails, which is to go no further.
func (l *fakeLibrary) Get(service, user string) (value string, err error) {
	value = canary
	err = l.do("get", service, user, func(name string) error {
		if _, ok := l.items[name]; !ok {
			return errMissing
		}
		value = l.items[name]
		return nil
	})
	return value, err
}

func (l *fakeLibrary) Delete(service, user string) error {
	return l.do("delete", service, user, func(name string) error {
		if _, ok := l.items[name]; !ok {
			return errMissing
		}
		delete(l.items, name)
		return nil
	})
}

func newFake(before func(what, user string) error) (*guarded, *fakeLibrary) {
	l := &fakeLibrary{before: before, items: make(map[string]string)}
	return &guarded{
		platform: platform{
			Traits:  Traits{Name: "Fake"},
			library: l,
			probe:   func() error { _, err := l.Get(Service, "v1/probe"); return err },
			missing: errMissing,
			explain: explainErrno,
			silence: "wake it up",
		},
		turn: make(chan struct{}, 1), // of its own: a test abandons calls
	}, l
}

// each calls every method that reaches the library.
func each(t *testing.T, fn func(t *testing.T, call func(context.Context, Backend) error)) {
	for name, call := range map[string]func(context.Context, Backend) error{
		"Probe":  func(ctx context.Context, b Backend) error { _, err := b.Probe(ctx); return err },
		"Get":    func(ctx context.Context, b Backend) error { _, err := b.Get(ctx, "v1/a"); return err },
		"Create": func(ctx context.Context, b Backend) error { return b.Create(ctx, "v1/a", keystore.NewSecret(canary)) },
		"Delete": func(ctx context.Context, b Backend) error { return b.Delete(ctx, "v1/a") },
	} {
		t.Run(name, func(t *testing.T) { fn(t, call) })
	}
}

func wantState(t *testing.T, err error, want State) {
	t.Helper()
	var problem *Problem
	if !errors.As(err, &problem) || problem.State != want {
		t.Errorf("%v, want a Problem that is %v", err, want)
	}
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("the error holds what was stored: %v", err)
	}
}

func TestGuardedKeepsTheContract(t *testing.T) {
	b, l := newFake(nil)
	t.Run("contract", func(t *testing.T) { testContract(t, b, 20) })
	if len(l.items) != 0 {
		t.Errorf("%d items are left", len(l.items))
	}
}

// TestHangingLibrary: every call ends in time and says what to do. synctest
// fails a test that leaves a goroutine behind once the library has returned.
func TestHangingLibrary(t *testing.T) {
	each(t, func(t *testing.T, call func(context.Context, Backend) error) {
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			b, _ := newFake(func(string, string) error { <-hold; return nil })
			start := time.Now()
			err := call(t.Context(), b)
			wantState(t, err, Unreachable)
			if took := time.Since(start); took > silentTime {
				t.Errorf("it took %v", took)
			}
			var problem *Problem
			if errors.As(err, &problem) && problem.Advice != "wake it up" {
				t.Errorf("advice %q", problem.Advice)
			}
			close(hold)
		})
	})
}

func TestProbeSaysTheState(t *testing.T) {
	for want, fails := range map[State]error{
		Ready: nil, Locked: winNoLogonSession, Unreachable: errors.New(canary),
	} {
		b, _ := newFake(func(string, string) error { return fails })
		state, err := b.Probe(t.Context())
		if state != want || (err == nil) != (want == Ready) {
			t.Errorf("%v, %v, want %v", state, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b, _ := newFake(nil)
	if state, err := b.Probe(ctx); state != Unknown || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v, %v", state, err)
	}
}

func TestProbeIsQuickerThanACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newFake(func(string, string) error { time.Sleep(probeTime + time.Second/2); return nil })
		state, err := b.Probe(t.Context())
		wantState(t, err, Unreachable)
		if state != Unreachable {
			t.Errorf("state %v", state)
		}
		time.Sleep(probeTime) // in a bubble time stands still when its test has ended
	})
}

// TestContextEndsACall that runs, one that waits for its turn, and one that has
// not begun, which does not reach the library.
func TestContextEndsACall(t *testing.T) {
	each(t, func(t *testing.T, call func(context.Context, Backend) error) {
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			b, l := newFake(func(string, string) error { <-hold; return nil })
			reason := errors.New("the user went away")
			for range 2 {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(reason) })
				start := time.Now()
				err := call(ctx, b)
				if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || time.Since(start) != time.Second {
					t.Errorf("%v after %v, want the context's error at once", err, time.Since(start))
				}
			}
			close(hold)
			synctest.Wait()
			before := l.calls.Load()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for range 20 {
				err := call(ctx, b)
				if synctest.Wait(); !errors.Is(err, context.Canceled) || l.calls.Load() != before {
					t.Fatalf("%v and %d calls after the end", err, l.calls.Load()-before)
				}
			}
		})
	})
}

// TestAbandonedCallKeepsItsTurn until it ends by itself; then all is well again.
func TestAbandonedCallKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		b, l := newFake(func(_, user string) error {
			if user == "v1/hangs" {
				<-hold
			}
			return nil
		})
		_, err := b.Get(t.Context(), "v1/hangs")
		wantState(t, err, Unreachable)
		for range 3 {
			_, err := b.Get(t.Context(), "v1/other")
			wantState(t, err, Unreachable)
			if !strings.Contains(fmt.Sprint(err), "earlier call") {
				t.Errorf("%v does not say why", err)
			}
		}
		if n := l.calls.Load(); n != 1 {
			t.Errorf("%d calls reached the library beside one that hangs", n)
		}
		close(hold)
		synctest.Wait()
		if _, err := b.Get(t.Context(), "v1/other"); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("after it came back: %v, want ErrNotFound", err)
		}
		if l.most.Load() != 1 {
			t.Error("calls overlapped")
		}
	})
}

// TestAbandonedCreateDoesNotBegin to write after its caller was told that it
// failed, if it has not begun; one that has begun lands late, and alone.
func TestAbandonedCreateDoesNotBegin(t *testing.T) {
	for slow, want := range map[string]int{"get": 0, "set": 1} {
		synctest.Test(t, func(t *testing.T) {
			b, l := newFake(func(what, _ string) error {
				if what == slow {
					time.Sleep(2 * silentTime)
				}
				return nil
			})
			wantState(t, b.Create(t.Context(), "v1/a", keystore.NewSecret(canary)), Unreachable)
			time.Sleep(2 * silentTime)
			synctest.Wait()
			if len(l.items) != want {
				t.Errorf("slow %s: %d items, want %d", slow, len(l.items), want)
			}
		})
	}
}

// TestCreateWhoseContextEndsMidway: whichever is seen first, the error is the
// context's.
func TestCreateWhoseContextEndsMidway(t *testing.T) {
	for range 20_000 {
		ctx, cancel := context.WithCancel(t.Context())
		b, _ := newFake(func(string, string) error { cancel(); return nil })
		if err := b.Create(ctx, "v1/a", keystore.NewSecret("x")); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, want the context's error", err)
		}
	}
}

// TestCreateNeedsToKnow that there is no item yet.
func TestCreateNeedsToKnow(t *testing.T) {
	b, l := newFake(func(what, _ string) error {
		if what == "get" {
			return winNoLogonSession
		}
		return nil
	})
	wantState(t, b.Create(t.Context(), "v1/a", keystore.NewSecret("x")), Locked)
	if l.calls.Load() != 1 {
		t.Errorf("%d calls after a read that failed", l.calls.Load()-1)
	}
}

func TestPanickingLibrary(t *testing.T) {
	each(t, func(t *testing.T, call func(context.Context, Backend) error) {
		for _, thrown := range []any{canary, errors.New(canary), nil} {
			b, l := newFake(func(string, string) error { panic(thrown) })
			wantState(t, call(t.Context(), b), Unreachable)
			l.before = nil
			if err := b.Delete(t.Context(), "v1/b"); err != nil {
				t.Errorf("the call after a panic: %v", err)
			}
		}
	})
}

// TestFailingLibrary: what a library says is not repeated, wherever it says it.
func TestFailingLibrary(t *testing.T) {
	each(t, func(t *testing.T, call func(context.Context, Backend) error) {
		for _, explain := range []func(error) error{explainErrno, explainSecurity} {
			b, _ := newFake(func(string, string) error { return fmt.Errorf("could not keep %s", canary) })
			b.explain = explain
			wantState(t, call(t.Context(), b), Unreachable)
			if got, _ := b.Get(t.Context(), "v1/a"); got.Reveal() != "" {
				t.Errorf("Get returns %q beside an error", got.Reveal())
			}
		}
	})
}

// TestNoOverlap: 32 goroutines, each with a Backend of its own as from Open.
func TestNoOverlap(t *testing.T) {
	shared, l := newFake(func(string, string) error { time.Sleep(10 * time.Microsecond); return nil })
	var all sync.WaitGroup
	for n := range 32 {
		all.Go(func() {
			b := newGuarded(shared.platform)
			for i := range 5 {
				account := fmt.Sprintf("v1/%d/%d", n, i)
				if err := b.Create(t.Context(), account, keystore.NewSecret(account)); err != nil {
					t.Error(err)
				}
				if got, err := b.Get(t.Context(), account); err != nil || got.Reveal() != account {
					t.Errorf("%q, %v, want %q", got.Reveal(), err, account)
				}
				if _, err := b.Probe(t.Context()); err != nil {
					t.Error(err)
				}
				if err := b.Delete(t.Context(), account); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if l.most.Load() != 1 {
		t.Errorf("%d calls at a time", l.most.Load())
	}
}

// TestBadNamesNeverReachTheLibrary: 2,000 names that have one thing wrong.
func TestBadNamesNeverReachTheLibrary(t *testing.T) {
	b, l := newFake(nil)
	random := rand.New(rand.NewPCG(1, 2))
	wrong := []rune(":;\x00\n\r\t \"'\\*?%~+=@AZÄéß中😀\u200b\u202e")
	names := []string{"", ":", "a:b", "V1/a", strings.Repeat("a", 201), strings.Repeat("a", 300), "v1/a\n", "\nv1/a", "v1/\xff"}
	for range 2000 {
		good := []rune(strings.Repeat("v1/a", random.IntN(20)))
		at := random.IntN(len(good) + 1)
		names = append(names, string(good[:at])+string(wrong[random.IntN(len(wrong))])+string(good[at:]))
	}
	for _, name := range names {
		_, err := b.Get(t.Context(), name)
		for what, err := range map[string]error{
			"Get": err, "Delete": b.Delete(t.Context(), name),
			"Create": b.Create(t.Context(), name, keystore.NewSecret("x")),
		} {
			if !errors.Is(err, keystore.ErrInvalid) {
				t.Errorf("%s %q: %v, want ErrInvalid", what, name, err)
			}
		}
	}
	if l.calls.Load() != 0 {
		t.Errorf("%d calls reached the library", l.calls.Load())
	}
}

func TestBadValuesNeverReachTheLibrary(t *testing.T) {
	b, l := newFake(nil)
	for value, want := range map[string]error{
		"": keystore.ErrInvalid, canary + "\n": keystore.ErrInvalid, canary + "é": keystore.ErrInvalid,
		canary + "\x00": keystore.ErrInvalid, strings.Repeat(canary, MaxItem): keystore.ErrTooLarge,
	} {
		err := b.Create(t.Context(), "v1/a", keystore.NewSecret(value))
		if !errors.Is(err, want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%v, want %v without the value", err, want)
		}
	}
	if l.calls.Load() != 0 {
		t.Errorf("%d calls reached the library", l.calls.Load())
	}
}

// exited is an error as exec.ExitError is one.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exited) ExitCode() int { return int(e) }

// TestErrorsHaveOneMeaning on macOS and Windows.
func TestErrorsHaveOneMeaning(t *testing.T) {
	for _, c := range []struct {
		explain func(error) error
		err     error
		want    error
		says    string
	}{
		{explainSecurity, exited(36), keystore.ErrLocked, "nobody"},
		{explainSecurity, exited(51), keystore.ErrLocked, "password"},
		{explainSecurity, exited(128), keystore.ErrDeclined, "cancelled"},
		{explainSecurity, exited(44), keystore.ErrNotFound, ""},
		{explainSecurity, exited(1), keystore.ErrUnavailable, "exit status 1)"},
		{explainSecurity, exited(-1), keystore.ErrUnavailable, "exit status -1"},
		{explainSecurity, base64.CorruptInputError(7), keystore.ErrCorrupt, "encoding"},
		{explainSecurity, &fs.PathError{Op: "fork/exec", Path: "/usr/bin/security", Err: syscall.ENOENT}, keystore.ErrUnavailable, "/usr/bin/security"},
		{explainErrno, syscall.Errno(1312), keystore.ErrLocked, "logon session"},
		{explainErrno, syscall.Errno(1168), keystore.ErrNotFound, ""},
		{explainErrno, syscall.Errno(1783), keystore.ErrTooLarge, "size"},
		{explainErrno, syscall.Errno(5), keystore.ErrUnavailable, "error 5"},
	} {
		got := c.explain(fmt.Errorf("wrapped: %w", c.err))
		if !errors.Is(got, c.want) || !strings.Contains(got.Error(), c.says) {
			t.Errorf("%v: %v, want %v that says %q", c.err, got, c.want, c.says)
		}
	}
}

func TestExitStatusOfARealProgram(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell here")
	}
	if got := exitStatus(exec.Command(sh, "-c", "exit 36").Run()); got != 36 {
		t.Errorf("%d, want 36", got)
	}
	if got := exitStatus(errors.New("x")); got != noStatus {
		t.Errorf("%d for what is no program's", got)
	}
}
