package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/activation"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/logind"
	"github.com/globus-keys/globus-keys/internal/secretmem"
)

// serving is one run of the agent.
type serving struct {
	*app
	linger   time.Duration
	verbose  bool
	announce bool
}

func (a *app) agentRunCommand() *cobra.Command {
	s := &serving{app: a, linger: 10 * time.Minute}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Be the agent, until a signal or agent stop ends it",
		Long: `Be the agent, in the foreground, for a service manager: "unlock" starts one in the
background by itself. It takes the socket that the service manager has made
(LISTEN_FDS), or makes its own. SIGTERM and ^C lock all stores and end it; its own
socket is removed. If another one is running the exit code is 6.

Of a request nothing is logged but its kind.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.Var(period{to: &s.linger, flag: "linger", such: "10m, or 0 for ever", max: forever}, "linger", "how long it stays while no store is unlocked; 0: for ever")
	f.BoolVar(&s.verbose, "verbose", false, "log each request, and what locks stores, to standard error")
	f.BoolVar(&s.announce, "announce", false, "tell whoever starts it that it serves, and go on without a terminal")
	f.MarkHidden("announce")
	return cmd
}

func (s *serving) run(ctx context.Context) error {
	if s.announce {
		signal.Ignore(syscall.SIGHUP) // the end of a terminal is not its
	}
	server, l, release, err := s.begin()
	if s.announce {
		agent.Ready(err)
	}
	switch {
	case s.announce && errors.Is(err, agent.ErrRunning):
		return nil
	case errors.Is(err, agent.ErrRunning):
		return hinted{err, "globus-keys agent status tells of it; globus-keys agent stop ends it"}
	case err != nil:
		return err
	}
	s.log().Info("serves", "socket", l.Addr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.watch(ctx, server)
	return errors.Join(server.Serve(ctx, l), release())
}

// begin makes this process the agent. Clients can connect when it returns.
func (s *serving) begin() (*agent.Server, net.Listener, func() error, error) {
	if err := secretmem.Protect(); err != nil {
		return nil, nil, nil, err
	}
	server, err := agent.NewServer(&agent.ServerOptions{Linger: stay(s.linger), Log: s.log()})
	if err != nil {
		return nil, nil, nil, err
	}
	given, _, err := activation.Listener(s.getenv, os.Unsetenv)
	if err != nil {
		return nil, nil, nil, err
	}
	l, release, err := agent.Listen(s.getenv, given)
	return server, l, release, err
}

// watch locks everything when the machine goes to sleep, or the session is locked.
func (s *serving) watch(ctx context.Context, server *agent.Server) {
	err := logind.Watch(ctx, s.getenv, server.Lock)
	switch {
	case errors.Is(err, logind.ErrNothing):
		s.log().Info("not told of sleep and of locked screens", "why", err)
	case err != nil:
		s.log().Warn("not told of sleep and of locked screens", "why", err)
	}
}

func (s *serving) log() *slog.Logger {
	level := slog.LevelWarn
	if s.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level}))
}

// stay is how long an agent stays without a key if --linger says so: 0 is for ever there,
// and ten minutes in agent.ServerOptions.
func stay(linger time.Duration) time.Duration {
	if linger == 0 {
		return math.MaxInt64
	}
	return linger
}
