package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) whoamiCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show whose logins the namespace holds",
		Long: `Show whose logins the namespace holds, as the issuer said at the last login.
Nobody is asked over the network. The exit code is 4 if nobody is logged in.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.whoami(cmd.Context(), asJSON) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

func (a *app) whoami(ctx context.Context, asJSON bool) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	servers, err := o.servers(ctx, nil)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		return o.nobody(ctx)
	}
	account, err := o.store.Account(ctx)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return err
	}
	if asJSON {
		return o.printJSON(struct {
			Schema    int    `json:"schema"`
			Namespace string `json:"namespace"`
			Username  string `json:"username,omitempty"`
			Subject   string `json:"subject,omitempty"`
			Issuer    string `json:"issuer,omitempty"`
			ClientID  string `json:"client_id,omitempty"`
		}{1, o.store.Namespace(), account.Username, account.Subject, account.Issuer, account.ClientID})
	}
	return o.printAccount(account)
}

func (a *app) printAccount(account keystore.Account) error {
	for _, line := range [][2]string{
		{"User", account.Username}, {"Subject", account.Subject},
		{"Issuer", account.Issuer}, {"Client", account.ClientID},
	} {
		value := line[1]
		if value == "" {
			value = "not known"
		}
		if err := a.printf("%-8s %s\n", line[0]+":", clean(value)); err != nil {
			return err
		}
	}
	return nil
}
