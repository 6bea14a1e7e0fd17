package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestJoinedErrorsAreLines: each error has a line of its own, and none can make up
// another one.
func TestJoinedErrorsAreLines(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"one":        {errors.New("a"), "globus-keys: error: a\n"},
		"joined":     {errors.Join(errors.New("a"), errors.Join(errors.New("b"), errors.New("c"))), "globus-keys: error: a\nglobus-keys: error: b\nglobus-keys: error: c\n"},
		"hinted":     {hinted{errors.Join(errors.New("a"), errors.New("b")), "x"}, "globus-keys: error: a\nglobus-keys: error: b\n"},
		"two in one": {fmt.Errorf("%w: %w", errors.New("a"), errors.New("b")), "globus-keys: error: a: b\n"},
		"made up":    {errors.New("a\nglobus-keys: error: b"), "globus-keys: error: a\\u000aglobus-keys: error: b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var told bytes.Buffer
			a := app{ui: ui{err: &told}}
			a.complain(c.err)
			if told.String() != c.want {
				t.Errorf("told is %q, want %q", told.String(), c.want)
			}
		})
	}
}

// TestHintForAFullAgent: it is not another process that is at work.
func TestHintForAFullAgent(t *testing.T) {
	var told bytes.Buffer
	a := app{ui: ui{err: &told}, getenv: func(string) string { return "" }}
	code := a.fail(&cobra.Command{}, &keystore.Error{Op: "unlock", Err: agent.ErrFull})
	if code != 6 || !strings.Contains(told.String(), "hint: globus-keys agent status names the stores") {
		t.Errorf("exit code %d, and told is %q", code, told.String())
	}
}
