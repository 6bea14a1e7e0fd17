package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) removeCommand() *cobra.Command {
	var all bool
	var config string
	cmd := &cobra.Command{
		Use:   "remove RESOURCE_SERVER...|--all|--config NAME",
		Short: "Remove logins or a configuration value from the store",
		Long: `Remove logins from the store: those named, or all of the namespace, at once or, if
one is missing, none; or one configuration value.

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
			return a.remove(cmd.Context(), args, config)
		},
		ValidArgsFunction: a.completeResourceServers,
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every login of the namespace")
	cmd.Flags().StringVar(&config, "config", "", "remove the configuration value of this `name`")
	return cmd
}

func (a *app) remove(ctx context.Context, args []string, config string) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	if config != "" {
		return opened{a, p, store}.removeConfig(ctx, config)
	}
	servers, err := opened{a, p, store}.servers(ctx, args)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		a.say("namespace %q holds no logins", store.Namespace())
		return nil
	}
	if err := store.Delete(ctx, servers[0], servers[1:]...); err != nil {
		return err
	}
	for _, rs := range servers {
		a.say("removed %q from namespace %q", rs, store.Namespace())
	}
	a.say("tokens that were removed here stay valid at their issuer until they expire or are revoked")
	return nil
}

func resourceServers(ctx context.Context, adapter keystore.StorageAdapter, namespace string) (servers []string, err error) {
	err = adapter.View(ctx, func(r keystore.Reader) error {
		servers = nil
		for key, err := range r.Keys(keystore.KindToken, namespace) {
			if err != nil {
				return err
			}
			servers = append(servers, key.Name)
		}
		return nil
	})
	return servers, err
}
