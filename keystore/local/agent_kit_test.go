//go:build unix

package local

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestAgentProcess is no test, but the agent, when this program is started as one.
func TestAgentProcess(t *testing.T) {
	if flag.Arg(0) != "agent" {
		return
	}
	l, release, err := agent.Listen(os.Getenv, nil)
	if err != nil {
		agent.Ready(err)
		return
	}
	defer release()
	s, err := agent.NewServer(nil)
	if err != nil {
		agent.Ready(err)
		return
	}
	agent.Ready(nil)
	if err := s.Serve(context.Background(), l); err != nil {
		t.Error(err)
	}
}

// withRuntime is a machine with a runtime directory, whose name is short enough for a
// socket.
func withRuntime(t *testing.T) *machine {
	m, dir := newMachine(t), testenv.ShortDir(t)
	m.env["XDG_RUNTIME_DIR"], m.env["TMPDIR"], m.env["LOCALAPPDATA"] = dir, dir, dir
	return m
}

// in is the machine for another test: a bubble of synctest, outside of which the agent
// serves.
func (m machine) in(t *testing.T) *machine {
	m.t = t
	return &m
}

func (m *machine) getenv(name string) string { return m.env[name] }

// startProcess is UnlockOptions.Start: a process of its own, that ends with the test.
func (m *machine) startProcess(ctx context.Context) error {
	m.t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = agent.Start(ctx, m.getenv, self, "-test.run=^TestAgentProcess$", "agent")
	}
	m.t.Cleanup(func() { m.client().Stop(context.Background()) })
	return err
}

// pid is the agent's.
func (m *machine) pid() int {
	m.t.Helper()
	st, err := m.client().Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return st.PID
}

func (m *machine) signal(s syscall.Signal) {
	m.t.Helper()
	if err := syscall.Kill(m.pid(), s); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) client() *agent.Client {
	c := agent.Open(m.getenv)
	m.t.Cleanup(func() { c.Close() })
	return c
}

// requests counts what an agent is asked.
type requests struct {
	slog.Handler
	n atomic.Int64
}

func (r *requests) Enabled(context.Context, slog.Level) bool { return true }

func (r *requests) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message == "request" {
		r.n.Add(1)
	}
	return nil
}

// serve is an agent in this process, and what it is asked.
func (m *machine) serve() *requests {
	m.t.Helper()
	asked := &requests{Handler: slog.DiscardHandler}
	l, release, err := agent.Listen(m.getenv, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := agent.NewServer(&agent.ServerOptions{Log: slog.New(asked)})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	m.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, release()); err != nil {
			m.t.Error(err)
		}
	})
	return asked
}

// behind returns the options of a store that is there, behind a passphrase: of who
// knows that, and of who does not.
func (m *machine) behind(passphrase string) (knows, asks *Options) {
	m.t.Helper()
	knows, asks = m.options(), m.options()
	knows.Prompt = answer(passphrase)
	m.mustPut(knows, "FakeOne")
	return knows, asks
}

func (m *machine) unlock(opts *Options, o UnlockOptions) Unlocked {
	m.t.Helper()
	u, err := m.find(opts).Unlock(m.t.Context(), o)
	if err != nil {
		m.t.Fatal(err)
	}
	return u
}

// gets checks what a store that stays open finds: a token, or an error that wraps want.
func gets(t *testing.T, s *keystore.Store, secret string, want error) {
	t.Helper()
	got, err := s.Get(t.Context(), "rs")
	switch {
	case want != nil && !errors.Is(err, want):
		t.Errorf("get: %v, want %v", err, want)
	case want == nil && (err != nil || got.AccessToken.Reveal() != secret):
		t.Errorf("get: %v, want %s", err, secret)
	}
}

// saying collects what Options.Notice is told.
func saying(opts *Options) func() string {
	var said []string
	opts.Notice = func(text string) { said = append(said, text) }
	return func() string { return strings.Join(said, "\n") }
}
