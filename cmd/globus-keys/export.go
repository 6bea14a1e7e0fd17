package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) exportCommand() *cobra.Command {
	var recipients []string
	var output string
	cmd := &cobra.Command{
		Use:   "export --recipient age1... [-o FILE]",
		Short: "Write all logins into an age file for others to keep",
		Long: `Write all logins, configuration values and accounts, of every namespace, into
one age file that is encrypted to the recipients named. Nothing is written in
plain.

"age -d -i KEYFILE FILE" shows it: a JSON object with the records.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.export(cmd.Context(), recipients, output)
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "the age `recipient` (age1...) who can read it; may be repeated")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the `file` to write, which must not exist (default standard output)")
	cmd.MarkFlagRequired("recipient")
	return cmd
}

// exported is the content of an export.
type exported struct {
	Version int              `json:"globus_keys_export"`
	Store   string           `json:"store"`
	Records []exportedRecord `json:"records"`
}

type exportedRecord struct {
	Namespace string          `json:"namespace"`
	Kind      keystore.Kind   `json:"kind"`
	Name      string          `json:"name"`
	Data      json.RawMessage `json:"data"`
}

func (a *app) export(ctx context.Context, to []string, output string) error {
	recipients, err := parseRecipients(to)
	if err != nil {
		return err
	}
	if f, ok := a.out.(*os.File); ok && output == "" && term.IsTerminal(int(f.Fd())) {
		return usageError{fmt.Errorf("an age file is not for a terminal: name a file with -o")}
	}
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	content, err := collect(ctx, p.Adapter())
	if err != nil {
		return err
	}
	sealed, err := encrypted(content, recipients)
	if err != nil {
		return err
	}
	if output == "" {
		_, err = a.out.Write(sealed)
		return err
	}
	if err := atomicfile.Create(atomicfile.OS(), output, sealed); err != nil {
		return err
	}
	a.say("wrote %d records to %s", len(content.Records), output)
	return nil
}

func parseRecipients(texts []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for _, text := range texts {
		r, err := seal.ParseRecovery(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("%w: a recipient begins with age1 and comes from age-keygen", err)}
		}
		recipients = append(recipients, r)
	}
	return recipients, nil
}

// collect reads every record of one snapshot. All of them, or none: an export
// that leaves something out would be taken for whole.
func collect(ctx context.Context, adapter keystore.StorageAdapter) (exported, error) {
	content := exported{Version: 1, Records: []exportedRecord{}}
	err := adapter.View(ctx, func(r keystore.Reader) error {
		content.Store, content.Records = r.Header().StoreID.String(), content.Records[:0]
		if r.Header().IsZero() {
			return fmt.Errorf("there is no store yet: %w", keystore.ErrNotFound)
		}
		for _, kind := range []keystore.Kind{keystore.KindToken, keystore.KindConfig, keystore.KindAccount} {
			for key, err := range r.Keys(kind) {
				if err != nil {
					return err
				}
				data, err := r.Get(key)
				if err != nil {
					return err
				}
				content.Records = append(content.Records, exportedRecord{key.Namespace, key.Kind, key.Name, data})
			}
		}
		return nil
	})
	return content, err
}

func encrypted(content exported, recipients []age.Recipient) ([]byte, error) {
	plain, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(plain)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}
