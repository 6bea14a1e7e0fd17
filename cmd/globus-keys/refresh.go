package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) refreshCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "refresh [RESOURCE_SERVER...]",
		Short: "Renew access tokens now",
		Long: `Renew the access tokens of the logins named, or of all in the namespace that can
be renewed, however good they are. "token" renews by itself when it has to.

A login is renewed once, however many processes ask at that moment, and its new
token is stored before it is told. One that fails does not keep the others from
being renewed.`,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.refresh(cmd.Context(), args, asJSON) },
		ValidArgsFunction: a.completeResourceServers,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

type renewedLogin struct {
	ResourceServer string `json:"resource_server"`
	Scope          string `json:"scope"`
	ExpiresAt      int64  `json:"expires_at_seconds"`
}

func (a *app) refresh(ctx context.Context, args []string, asJSON bool) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	servers, err := o.renewable(ctx, args)
	if err != nil {
		return err
	}
	renewed := []renewedLogin{}
	failed := o.each(ctx, servers, func(rs string) error {
		t, err := o.source(rs, 0, func(error) {}).Renew(ctx)
		if err != nil {
			return o.loginHint(ctx, rs, err)
		}
		renewed = append(renewed, renewedLogin{rs, t.Scope, t.ExpiresAt.Unix()})
		o.say("renewed %q in namespace %q: %s", rs, o.store.Namespace(), validFor(t, o.store.Now()))
		return nil
	})
	if asJSON {
		failed = errors.Join(failed, o.printJSON(struct {
			Schema  int            `json:"schema"`
			Renewed []renewedLogin `json:"renewed"`
		}{1, renewed}))
	}
	return failed
}

// renewable returns those named; or those of the namespace that can be renewed, or
// cannot be read, which is to be told.
func (o opened) renewable(ctx context.Context, args []string) ([]string, error) {
	servers, err := o.servers(ctx, args)
	if err != nil || len(args) > 0 {
		return servers, err
	}
	var found []string
	for _, rs := range servers {
		if t, err := o.store.Get(ctx, rs); err != nil || t.Renewable() {
			found = append(found, rs)
		}
	}
	if len(found) == 0 {
		return nil, hinted{
			&keystore.Error{Err: keystore.ErrNotFound, Detail: fmt.Sprintf("namespace %q has no login that can be renewed", o.store.Namespace())},
			"{} status shows what is stored; " + o.loginLine(ctx) + " logs in",
		}
	}
	return found, nil
}
