package main

import (
	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) namespacesCommand() *cobra.Command {
	var config, asJSON bool
	cmd := &cobra.Command{
		Use:   "namespaces",
		Short: "List the namespaces that hold logins",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, store, err := a.open()
			if err != nil {
				return err
			}
			defer store.Close()
			kinds := []keystore.Kind{keystore.KindToken}
			if config {
				kinds = append(kinds, keystore.KindConfig)
			}
			found, err := store.Namespaces(cmd.Context(), kinds...)
			if err != nil {
				return err
			}
			return a.printNamespaces(found, asJSON)
		},
	}
	cmd.Flags().BoolVar(&config, "include-config", false, "also those that hold only configuration values")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

func (a *app) printNamespaces(found []string, asJSON bool) error {
	if asJSON {
		return a.printJSON(struct {
			Schema     int      `json:"schema"`
			Namespaces []string `json:"namespaces"`
		}{1, append([]string{}, found...)})
	}
	for _, ns := range found {
		if err := a.printf("%s\n", clean(ns)); err != nil {
			return err
		}
	}
	return nil
}
