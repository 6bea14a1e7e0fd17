//go:build unix

package agent_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

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
