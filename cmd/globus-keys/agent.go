package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Look at the agent that keeps stores unlocked, or end it",
		Long: `Look at the agent that keeps stores unlocked, or end it. "unlock" starts it when
there is none: one for each user and machine. It has the keys of the stores' seals
in its memory, and nothing else: no passphrase, no identity and no token. It ends by
itself after ten minutes without a store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.agentRunCommand(), a.agentStatusCommand(), a.agentStopCommand())
	return cmd
}

func (a *app) agentStopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Lock all stores, and end the agent",
		Long: `Lock all stores, and end the agent. That none is running is no error. A command
that is storing what an issuer has answered is not disturbed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.stopAgent(cmd.Context()) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (a *app) stopAgent(ctx context.Context) error {
	c := agent.Open(a.getenv)
	defer c.Close()
	err := c.Stop(ctx)
	switch {
	case errors.Is(err, agent.ErrNoAgent):
		a.say("no agent is running")
		return nil
	case err != nil:
		return err
	}
	a.say("the agent has ended; nothing is unlocked any more")
	return nil
}

// agentWords make this program an agent in the background.
var agentWords = []string{"agent", "run", "--announce"}

// startAgent starts one that goes on without this process.
func (a *app) startAgent(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil { // there is no /proc
		err = &keystore.Error{Op: "start the agent", Err: keystore.ErrUnavailable, Detail: err.Error()}
		return hinted{err, "do without unlock: each command takes --passphrase-file FILE"}
	}
	err = agent.Start(ctx, a.getenv, append([]string{program}, agentWords...)...)
	if err != nil && ctx.Err() == nil {
		err = hinted{err, "globus-keys agent run shows whether one can run here; without one each command takes --passphrase-file FILE"}
	}
	return err
}

// agentHint says what to do if it is the agent that err is about.
func (a *app) agentHint(err error) string {
	switch {
	case errors.Is(err, agent.ErrTaken):
		return "look who owns that, and have him or root remove it; or set " + rundir.Variable + " to a directory of your own with mode 0700"
	case !errors.Is(err, agent.ErrSilent):
		return ""
	}
	if pid := agent.Process(context.Background(), err); pid != 0 {
		return fmt.Sprintf("if it was stopped, kill -CONT %d lets it go on; else kill -KILL %d ends it, and {store} unlock starts another", pid, pid)
	}
	return "its process, globus-keys agent run, was stopped or hangs: let it go on, or end it; {store} unlock starts another"
}
