package main

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/globus-keys/globus-keys/internal/agent"
)

// prepareRuntime gives a script a runtime directory with a short name, as sockets
// need one. What runs there in the end is ended.
func prepareRuntime(env *testscript.Env) error {
	dir, err := os.MkdirTemp(shortTemp(), "gk")
	if err != nil {
		return err
	}
	env.Setenv("XDG_RUNTIME_DIR", dir)
	env.Setenv("TMPDIR", dir) // of which macOS makes the runtime directory
	env.Defer(func() {
		if err := errors.Join(endAgent(dir), os.RemoveAll(dir)); err != nil {
			env.T().(testing.TB).Error(err)
		}
	})
	return nil
}

func shortTemp() string {
	if _, err := os.Stat("/tmp"); err != nil {
		return ""
	}
	return "/tmp"
}

// endAgent ends the agent whose runtime directory this is, if there is one.
func endAgent(dir string) error {
	c := agent.Open(func(name string) string {
		if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
			return dir
		}
		return ""
	})
	defer c.Close()
	err := c.Stop(context.Background())
	if errors.Is(err, agent.ErrNoAgent) {
		return nil
	}
	return err
}

// waitFor COMMAND... runs a command until it succeeds, for a minute at most; with "!"
// until it fails. It is for what another process does in its time.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if (ts.Exec(args[0], args[1:]...) == nil) != neg {
			return
		}
	}
	ts.Fatalf("it never comes to be: %s", strings.Join(args, " "))
}

func TestLingerOfNothingIsForEver(t *testing.T) {
	for linger, want := range map[time.Duration]time.Duration{0: math.MaxInt64, time.Minute: time.Minute} {
		if got := stay(linger); got != want {
			t.Errorf("--linger %v: %v, want %v", linger, got, want)
		}
	}
}
