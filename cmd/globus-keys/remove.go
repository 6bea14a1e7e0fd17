package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

func (a *app) removeCommand() *cobra.Command {
	var all bool
	var config string
	cmd := &cobra.Command{
		Use:   "remove RESOURCE_SERVER...|--all|--config NAME",
		Short: "Remove logins or a configuration value from the store",
		Long: `Remove logins from the store: those named, or all of the namespace; or one
configuration value.

The tokens are removed here only: their issuer takes them until they expire or
are revoked.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			named := 0
			for _, given := range []bool{len(args) > 0, all, config != ""} {
				if given {
					named++
				}
			}
			if named != 1 {
				return usageError{fmt.Errorf("name resource servers, or say --all, or --config NAME")}
			}
			return a.remove(cmd.Context(), args, all, config)
		},
		ValidArgsFunction: a.completeResourceServers,
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every login of the namespace")
	cmd.Flags().StringVar(&config, "config", "", "remove the configuration value of this `name`")
	return cmd
}

func (a *app) remove(ctx context.Context, args []string, all bool, config string) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	if config != "" {
		return opened{a, p, store}.removeConfig(ctx, config)
	}
	if all {
		if args, err = resourceServers(ctx, p.Adapter(), store.Namespace()); err != nil {
			return err
		}
		if len(args) == 0 {
			a.say("namespace %q holds no logins", store.Namespace())
			return nil
		}
	}
	for _, arg := range args {
		if err := store.Delete(ctx, oauth.ResourceServer(arg)); err != nil {
			return err
		}
		a.say("removed %q from namespace %q", oauth.ResourceServer(arg), store.Namespace())
	}
	a.say("tokens that were removed here stay valid at their issuer until they expire or are revoked")
	return nil
}

func resourceServers(ctx context.Context, adapter keystore.StorageAdapter, namespace string) ([]string, error) {
	_, keys, err := names(ctx, adapter, keystore.KindToken)
	var servers []string
	for _, key := range keys {
		if key.Namespace == namespace {
			servers = append(servers, key.Name)
		}
	}
	return servers, err
}
