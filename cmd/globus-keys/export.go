package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// exporting is one run of the export command.
type exporting struct {
	*app
	recipients []string
	output     string

	plain   string // the file of --plaintext
	format  string
	version string
}

func (a *app) exportCommand() *cobra.Command {
	e := &exporting{app: a}
	cmd := &cobra.Command{
		Use:   "export --recipient age1... [-o FILE]\n  globus-keys export --format FORMAT --plaintext FILE",
		Short: "Write all logins into a file for others: an age file, or one of the Globus SDK",
		Long: `Write all logins, configuration values and accounts, of every namespace, into
one age file that is encrypted to the recipients named. Nothing is written in
plain. "age -d -i KEYFILE FILE" shows it: a JSON object with the records.

With --plaintext FILE, write the logins in plain, for Python programs that must
stay on files of the Globus SDK for now. --format says which:

  globus-sdk-json     JSONTokenStorage (2.0), SimpleJSONFileAdapter (1.0)
  globus-sdk-sqlite   SQLiteTokenStorage (2), SQLiteAdapter (1)

and --format-version 1.0 or 1 the older one of the two. --namespace writes that
namespace only ($GLOBUS_KEYS_NAMESPACE does not); 1.0 holds no more than one.
Configuration values have a place in SQLite 1 only. What is left out is said.

The file must not exist. It holds refresh tokens: whoever reads it has the logins
until they are revoked, and two programs that renew with one refresh token may end
the login. "globus-keys import --follow FILE" takes back what was renewed there.`,
		Example: "  globus-keys export --recipient age1... -o logins.age\n" +
			"  globus-keys export --format globus-sdk-json --plaintext ~/.myprogram/tokens.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.run(cmd) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&e.recipients, "recipient", nil, "the age `recipient` (age1...) who can read it; may be repeated")
	f.StringVarP(&e.output, "output", "o", "", "the age `file` to write, which must not exist (default standard output)")
	f.StringVar(&e.plain, "plaintext", "", "write the logins in plain into this `file`, which must not exist")
	f.StringVar(&e.format, "format", "", "`what` the plain file is: globus-sdk-json or globus-sdk-sqlite")
	f.StringVar(&e.version, "format-version", "", "`version` of the plain file: 2.0 or 1.0 (JSON), 2 or 1 (SQLite) (default 2.0 or 2)")
	return cmd
}

func (e *exporting) run(cmd *cobra.Command) error {
	plain := cmd.Flags().Changed("plaintext")
	switch {
	case plain && e.plain == "":
		return usageError{fmt.Errorf("--plaintext needs the name of a file")}
	case plain && e.plain == "-":
		return usageError{fmt.Errorf("logins in plain are not for standard output: name a file (./- if that is its name)")}
	case plain && (len(e.recipients) > 0 || e.output != ""):
		return usageError{fmt.Errorf("--plaintext is for a file in plain, --recipient and -o are for one that is encrypted: say one of them")}
	case plain:
		return e.exportPlain(cmd.Context())
	case e.format != "" || e.version != "":
		return usageError{fmt.Errorf("such a file holds the logins in plain text: say that you want that, and where, with --plaintext FILE")}
	case len(e.recipients) == 0:
		return usageError{fmt.Errorf("say who can read it, with --recipient age1..., or where it lies in plain, with --format and --plaintext")}
	}
	return e.exportSealed(cmd.Context())
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

// exportSealed writes an age file.
func (e *exporting) exportSealed(ctx context.Context) error {
	recipients, err := parseRecipients(e.recipients)
	if err != nil {
		return err
	}
	if e.output == "" && isTerminal(e.out) {
		return usageError{fmt.Errorf("an age file is not for a terminal: name a file with -o")}
	}
	p, store, err := e.open()
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
	if e.output == "" {
		_, err = e.out.Write(sealed)
		return err
	}
	if err := atomicfile.Create(atomicfile.OS(), e.output, sealed); err != nil {
		return fullDisk(e.output, err)
	}
	e.say("wrote %d records to %s", len(content.Records), e.output)
	return nil
}

// fullDisk names the disk of the file, which need not be that of the store.
func fullDisk(path string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return hinted{err, "make room on the disk of " + path + ", or name a file on another one"}
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
