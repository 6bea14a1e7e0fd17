package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore/local"
)

func (a *app) rekeyCommand() *cobra.Command {
	var c local.Change
	var addKeychain, removeKeychain bool
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Give the store another key, and seal every record with it",
		Long: `Give the store another key, in all places where it lies, and seal every record
with it. Records that were sealed before are refused from then on, and whoever
has the old key cannot read what is written from then on. Programs that have the
store open go on, and a store that is unlocked stays so. The passphrase that there is
is asked for all the same.

Copies of the store that somebody made before can still be read with the old key:
if they matter, log out, which revokes the logins at their issuer, and log in again.

Recovery recipients (age1...) can read all records with stock age, and write
none: whoever holds their identity needs neither keychain nor passphrase.

It stops, and nothing is changed, if a record cannot be read: remove that one
first. It can be interrupted at any time; what held the old key is removed with
the first change of the store that comes five minutes later or more.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case addKeychain:
				c.Keychain = local.Add
			case removeKeychain:
				c.Keychain = local.Remove
			}
			return a.change(cmd.Context(), c, "the store has a new key; copies that were made before can still be read with the old one")
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.AddRecovery, "add-recovery", nil, "let this `recipient` (age1...) read all records too")
	f.BoolVar(&c.RemoveRecovery, "remove-recovery", false, "take out the recovery recipients that there are")
	f.BoolVar(&addKeychain, "add-keychain", false, "keep the key in the keychain too")
	f.BoolVar(&removeKeychain, "remove-keychain", false, "keep the key in the keychain no more")
	f.StringVar(&c.NewIdentityFile, "new-identity-file", "", "`file` with the next key, of a store whose key every run names")
	cmd.MarkFlagsMutuallyExclusive("add-keychain", "remove-keychain")
	return cmd
}

// change is a rekey and what it says afterwards.
func (a *app) change(ctx context.Context, c local.Change, done string) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	err = p.Rekey(ctx, c)
	if unasked(err) && c.Passphrase != local.Keep && c.NewPassphraseFile == "" {
		return hinted{err, "run it in a terminal, or name a file with the new passphrase: --new-passphrase-file FILE"}
	}
	if err != nil {
		return needsPassphrase(err)
	}
	a.say("%s", done)
	return nil
}
