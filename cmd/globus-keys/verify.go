package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) verifyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every record of the store",
		Long: `Check every record of the store, in every namespace: by its seal, which says
that this store wrote it in this place, and by age with the store's identity,
which says that stock age recovers it. Of a database each page is checked too. The
passphrase is asked for also while the store is unlocked. The exit code is 7 if
something fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

type verified struct {
	Schema  int              `json:"schema"`
	Records []verifiedRecord `json:"records"`
	Damage  []string         `json:"damage,omitempty"` // of the store, that concerns no record
}

type verifiedRecord struct {
	Namespace string        `json:"namespace"`
	Kind      keystore.Kind `json:"kind"`
	Name      string        `json:"name"`
	OK        bool          `json:"ok"`
	Problem   string        `json:"problem,omitempty"`
}

func (a *app) verify(ctx context.Context, asJSON bool) error {
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	answer := verified{Schema: 1, Records: []verifiedRecord{}}
	bad := 0
	for key, problem := range p.Verify(ctx) {
		if key == (keystore.RecordKey{}) {
			return needsPassphrase(problem)
		}
		r := verifiedRecord{Namespace: key.Namespace, Kind: key.Kind, Name: key.Name, OK: problem == nil}
		if problem != nil {
			r.Problem = problem.Error()
			bad++
		}
		answer.Records = append(answer.Records, r)
	}
	damage, err := check(ctx, p.Adapter())
	for _, d := range damage {
		answer.Damage = append(answer.Damage, d.Error())
	}
	if err := errors.Join(err, a.printVerified(answer, asJSON)); err != nil {
		return err
	}
	switch {
	case bad > 0:
		return fmt.Errorf("%d of %d records of %s: %w", bad, len(answer.Records), p, keystore.ErrTampered)
	case len(damage) > 0:
		return fmt.Errorf("%s holds what no record can be, or has lost something: %w", p, damage[0])
	}
	return nil
}

// check looks for damage that concerns no record. err says that it could not look.
func check(ctx context.Context, adapter keystore.StorageAdapter) (damage []error, err error) {
	c, ok := adapter.(keystore.CheckingAdapter)
	if !ok {
		return nil, nil
	}
	found := c.Check(ctx)
	if found == nil {
		return nil, nil
	}
	for _, e := range apart(found) {
		if !integrity(e) {
			return damage, e
		}
		damage = append(damage, e)
	}
	return damage, nil
}

func (a *app) printVerified(answer verified, asJSON bool) error {
	if asJSON {
		return a.printJSON(answer)
	}
	for _, r := range answer.Records {
		line := keystore.RecordKey{Namespace: r.Namespace, Kind: r.Kind, Name: r.Name}.String() + ": ok"
		if !r.OK {
			line = r.Problem // which names the record
		}
		if err := a.printf("%s\n", clean(line)); err != nil {
			return err
		}
	}
	for _, d := range answer.Damage {
		if err := a.printf("%s\n", clean(d)); err != nil {
			return err
		}
	}
	return nil
}
