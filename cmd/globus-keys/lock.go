package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

func (a *app) lockCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Lock the store that unlock has opened",
		Long: `Lock the store that unlock has opened, or with --all every store of yours on this
machine. The key is erased at once; a login that is being renewed at this moment is
stored all the same. That nothing was unlocked is no error; of a store that does not
exist the exit code is 3.

The OS keychain is not locked: its own program does that.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				return a.lockAll(cmd.Context())
			}
			return a.lock(cmd.Context())
		},

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&all, "all", false, "lock every store")
	return cmd
}

func (a *app) lock(ctx context.Context) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	n, err := p.Lock(ctx)
	switch {
	case integrity(err) && n > 0:
		a.say("%s is locked, and something is wrong with it", p)
		return err
	case integrity(err):
		return hinted{err, "globus-keys lock --all locks every store, whatever has become of it"}
	case err != nil:
		return err
	case n == 0:
		a.say("%s was not unlocked", p)
	default:
		a.say("%s is locked", p)
	}
	return nil
}

// forget locks a store that is about to be no store any more. Of one that cannot be
// read the agent knows the name.
func (a *app) forget(ctx context.Context, p *local.Place) {
	_, err := p.Lock(ctx)
	if err != nil {
		_, err = p.Forget(ctx)
	}
	if err != nil {
		a.warn("the agent may still have the key of %s (%v): globus-keys lock --all erases it", p, err)
	}
}

func (a *app) lockAll(ctx context.Context) error {
	c := agent.Open(a.getenv)
	defer c.Close()
	n, err := c.Lock(ctx, keystore.StoreID{})
	switch {
	case err != nil && !errors.Is(err, agent.ErrNoAgent):
		return err
	case n == 0:
		a.say("nothing was unlocked")
	default:
		a.say("every store is locked")
	}
	return nil
}
