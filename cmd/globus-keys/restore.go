package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) restoreCommand() *cobra.Command {
	var backup, yes bool
	cmd := &cobra.Command{
		Use:   "restore --backup",
		Short: "Go back to the store as it was before its last change",
		Long: `Go back to the store as it was before its last change, which is kept beside it.
What would change is shown first. A store file that cannot be read is kept under
another name. What remove has taken out is not in the backup either. A store in a
database or in the keychain has no backup.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !backup {
				return usageError{fmt.Errorf("say what to restore from: --backup")}
			}
			return a.restore(cmd.Context(), yes)
		},
	}
	cmd.Flags().BoolVar(&backup, "backup", false, "from the backup beside the store")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func (a *app) restore(ctx context.Context, yes bool) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	adapter, ok := p.Adapter().(keystore.BackupAdapter)
	if !ok {
		err := fmt.Errorf("%s keeps no backup: %w", p, keystore.ErrUnavailable)
		return hinted{err, "only a store in a file has one; {} verify checks what is there, {} reset moves it aside"}
	}
	before, err := contents(ctx, adapter.ViewBackup)
	if err != nil {
		return err
	}
	now, err := contents(ctx, adapter.View)
	if err != nil {
		a.say("the store cannot be read now: %v", err)
	}
	if a.sayChanges(now, before) == 0 && err == nil {
		a.say("the backup holds the same records as the store: there is nothing to restore")
		return nil
	}
	if !yes {
		if err := a.confirm(ctx, fmt.Sprintf("Go back to the backup of %s?", p)); err != nil {
			return err
		}
	}
	if err := adapter.RestoreBackup(ctx); err != nil {
		return err
	}
	a.say("%s is restored from its backup; what it was is the backup now", p)
	return nil
}

// contents maps each record to its stored bytes, without opening any.
func contents(ctx context.Context, view func(context.Context, func(keystore.Reader) error) error) (map[keystore.RecordKey]string, error) {
	found := make(map[keystore.RecordKey]string)
	err := view(ctx, func(r keystore.Reader) error {
		sealed, ok := r.(keystore.SealedReader)
		if !ok {
			return fmt.Errorf("the records cannot be compared: %w", keystore.ErrUnavailable)
		}
		clear(found)
		for _, kind := range keystore.Kinds() {
			for key, err := range r.Keys(kind) {
				if err != nil {
					return err
				}
				data, err := sealed.Sealed(key)
				if err != nil && !errors.Is(err, keystore.ErrCorrupt) {
					return err
				}
				found[key] = string(data)
			}
		}
		return nil
	})
	return found, err
}

func (a *app) sayChanges(now, then map[keystore.RecordKey]string) (changes int) {
	all := maps.Clone(now)
	maps.Copy(all, then)
	for _, key := range slices.SortedFunc(maps.Keys(all), func(a, b keystore.RecordKey) int {
		return strings.Compare(a.String(), b.String())
	}) {
		was, inThen := then[key]
		is, inNow := now[key]
		switch {
		case !inThen:
			a.say("would be removed: %s", key)
		case !inNow:
			a.say("would come back:  %s", key)
		case was != is:
			a.say("would change:    %s", key)
		default:
			continue
		}
		changes++
	}
	return changes
}
