// Package hook runs a program of the user's when something has happened to a
// login: [Run] starts a [Command] and gives it an [Event].
//
// A hook is told, not asked: what it does changes nothing of what has happened.
// It runs without a shell, for a limited time, and without a terminal; a hook
// that runs globus-keys itself starts no further hooks ([Inside]).
package hook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/globus-keys/globus-keys/internal/alone"
)

// Limits of a Command's Timeout.
const (
	DefaultTimeout = 10 * time.Second
	MaxTimeout     = 60 * time.Second
)

// lingering is how long the output of a program that has ended is waited for,
// while another one that it has started holds it open.
const lingering = time.Second

const insideVariable = "GLOBUS_KEYS_IN_HOOK"

// Command is a program to run. The zero Command is none.
type Command struct {
	Args    []string      // the program's absolute path and its arguments
	Timeout time.Duration // 0 means DefaultTimeout
	Tokens  []string      // the secrets that it is shown: AccessToken, RefreshToken
}

// Inside reports whether this process was started by a hook, however far down,
// and is to run none itself.
func Inside(getenv func(string) string) bool { return getenv(insideVariable) != "" }

// Run runs c and returns when it has ended, nil if its exit status is 0. The
// zero Command does nothing.
//
// c gets e as one line of JSON on standard input, which it need not read, and
// the environment and directory of this process. What it writes to standard
// output and standard error, 64 KiB of both together, goes to out when it has
// ended, without control characters. What it leaves running is not waited for.
//
// When ctx or the timeout ends, c is killed, on Unix with all that it has
// started. An error names the program and says nothing of e; it wraps what ctx
// says if that was the cause.
func Run(ctx context.Context, c Command, e Event, out io.Writer) error {
	if len(c.Args) == 0 {
		return nil
	}
	line, err := e.line(c.Tokens)
	if err != nil {
		return fmt.Errorf("hook %q: the event cannot be written as JSON", c.Args[0])
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	var said output
	cmd := exec.CommandContext(limited, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"="+e.Event)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(line), &said, &said
	cmd.WaitDelay = lingering
	alone.Make(cmd)
	err = cmd.Run()
	said.show(out)
	if cmd.Process == nil {
		err = notStarted(err)
	}
	return c.outcome(ctx, limited, err)
}

func (c Command) timeout() time.Duration { return cmp.Or(c.Timeout, DefaultTimeout) }

func (c Command) outcome(ctx, limited context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay): // it has ended well, and left something running
		return nil
	case ctx.Err() != nil:
		err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	case limited.Err() != nil:
		err = fmt.Errorf("stopped, it has not ended within %v", c.timeout())
	}
	return fmt.Errorf("hook %q: %w", c.Args[0], err)
}

// notStarted leaves out the program's path, which is said already.
func notStarted(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return fmt.Errorf("it cannot be started: %w", err)
}
