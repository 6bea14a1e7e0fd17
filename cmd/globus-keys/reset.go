package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) resetCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Move an unusable store aside and start anew",
		Long: `Move an unusable store aside and start anew: the last resort when the store
cannot be read and has no backup, or when its passphrase is lost. Nothing is
deleted. A store that is unlocked is locked first. You have to log in again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reset(cmd.Context(), yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func (a *app) reset(ctx context.Context, yes bool) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	adapter, ok := p.Adapter().(keystore.ResetAdapter)
	if !ok {
		return fmt.Errorf("%s cannot be moved aside: %w", p, keystore.ErrUnavailable)
	}
	if !yes {
		if err := a.confirm(ctx, fmt.Sprintf("Move %s aside? Its logins are not usable then.", p)); err != nil {
			return err
		}
	}
	a.forget(ctx, p)
	moved, err := adapter.Reset(ctx)
	if err != nil {
		return err
	}
	a.say("the store is now in %s; the next login or import makes a new one", moved)
	if !p.Sealed() {
		a.say("its items stay in the keychain: secret-tool or your keychain's own program removes those of service globus-keys")
	}
	return nil
}
