//go:build unix

package hook_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/hook"
)

// apartVariable lets what a hook starts leave its session.
const apartVariable = "GLOBUS_KEYS_TEST_APART"

func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: os.Getenv(apartVariable) != ""}
}

// TestWhatAHookStartsIsKilledWithIt, unless it has gone its own way: then nobody
// waits for it, though it holds the pipes open.
func TestWhatAHookStartsIsKilledWithIt(t *testing.T) {
	for _, gone := range []bool{false, true} {
		if gone {
			t.Setenv(apartVariable, "1")
		}
		m := newMeeting(t)
		cancel, done := start(t, command("fork", m.Addr().String()))
		one, other := m.arrival(), m.arrival()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
		alive := 0
		for _, living := range []bool{lives(one), lives(other)} {
			if living {
				alive++
			}
		}
		if want := map[bool]int{false: 0, true: 1}[gone]; alive != want {
			t.Errorf("gone its own way: %v: %d processes live on, want %d", gone, alive, want)
		}
	}
}

// TestHookHasNoTerminal: it cannot stop to ask.
func TestHookHasNoTerminal(t *testing.T) {
	if err := hook.Run(t.Context(), command("leader"), event, io.Discard); err != nil {
		t.Error(err)
	}
}

func init() {
	hooks["leader"] = func([]string) {
		if sid, err := unix.Getsid(0); err != nil || sid != os.Getpid() {
			os.Exit(7)
		}
	}
}
