//go:build unix

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestStartHearsWhoEndsAtOnce: as the agent does that finds another one running.
func TestStartHearsWhoEndsAtOnce(t *testing.T) {
	for range 300 {
		if err := agent.Start(context.Background(), os.Getenv, "/bin/echo", "ready"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStartSaysWhyNot.
func TestStartSaysWhyNot(t *testing.T) {
	for command, want := range map[string]string{
		"/bin/echo no memory": "no memory",
		"/bin/true":           "it ended without a word",
		"/nowhere/at/all":     "no such file",
	} {
		err := agent.Start(context.Background(), os.Getenv, strings.Fields(command)...)
		if !errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}

// TestStartGivesNothingOfOurs but what an agent needs: no variable, also if there is none
// that it needs, and no file that we were started with. It would keep a lock, a pipe or a
// file with a passphrase open for hours.
func TestStartGivesNothingOfOurs(t *testing.T) {
	t.Setenv("GLOBUS_KEYS_TEST", "ours")
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, at := range []int{9, 200, 900} {
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD, at) // open in what we start, as a shell hands it over
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		none := func(string) string { return "" }
		script := fmt.Sprintf("test -e /dev/fd/%d && echo it has our file; echo ${GLOBUS_KEYS_TEST-ready}", fd)
		if err := agent.Start(context.Background(), none, "/bin/sh", "-c", script); err != nil {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}
