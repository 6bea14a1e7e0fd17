package main

import (
	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore/local"
)

func (a *app) passphraseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "passphrase",
		Short: "Set, change or remove the passphrase that opens the store",
		Long: `Set, change or remove the passphrase that opens the store. A store can have its
key in the keychain and behind a passphrase at once; each opens it alone.

Each of these gives the store another key, as rekey does: an old passphrase does
not open it any more. A store that is unlocked stays so, for the time that it was.
Copies of the store and its key file that somebody made before it still opens: if
they matter, log out, which revokes, and log in again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.passphraseChange("set", "Let a passphrase open the store, besides what opens it now", local.Add, "the passphrase opens the store from now on"),
		a.passphraseChange("change", "Put another passphrase in place of the one that opens the store", local.Replace, "the new passphrase opens the store from now on, and no other one does"),
		a.passphraseChange("remove", "Let no passphrase open the store any more", local.Remove, "no passphrase opens the store any more"),
	)
	return cmd
}

func (a *app) passphraseChange(use, short string, change local.SlotChange, done string) *cobra.Command {
	c := local.Change{Passphrase: change}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.change(cmd.Context(), c, done) },
	}
	if change != local.Remove {
		cmd.Flags().StringVar(&c.NewPassphraseFile, "new-passphrase-file", "", "`file` with the new passphrase in its first line, or fd:N (default: it is asked for)")
	}
	return cmd
}
