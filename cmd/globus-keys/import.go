package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/internal/legacy/legacysqlite"
	"github.com/globus-keys/globus-keys/keystore"
)

// importing is one run of the import command.
type importing struct {
	*app
	clientID     string
	issuer       string
	overwrite    bool
	deleteSource bool
	follow       bool
	json         bool

	sharing bool // --follow has taken something that its program renews, too
}

func (a *app) importCommand() *cobra.Command {
	i := &importing{app: a}
	cmd := &cobra.Command{
		Use:   "import FILE...|globus-cli",
		Short: "Take over the logins of another program's token file",
		Long: `Take over the logins that another program keeps in plain text, and keep them
encrypted. The word globus-cli stands for the Globus CLI's own storage.

Understood, by content: the files of the Globus SDK for Python (JSON 1.0 and
2.0, SQLite schema 1 and 2), of globus-cli, globus-compute, fair-research-login
and Parsl. Namespaces, configuration values and unknown fields are kept;
--namespace puts the logins of a file into another one ($GLOBUS_KEYS_NAMESPACE
does not).

A stored login gives way only to one of the same account that expires later;
--overwrite replaces it in any case. The file is left as it is unless
--delete-source is given: then it is removed once everything in it has been
stored and read back.

With --follow, take what a program that goes on using its file has renewed there:
the later expiry wins, and the rest is left alone, without a word. Identity, client
and unknown fields of the stored login stay. A login that is only in the file is
imported, also one that was logged out here: nothing remembers that. Where issuers
replace a refresh token when it is used, two programs must not share one, and
--follow does not change that. Elsewhere let one of them renew.`,
		Example: "  globus-keys import globus-cli\n  globus-keys import ~/.globus/app/*/*/tokens.json",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return i.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVar(&i.clientID, "client-id", "", "the OAuth `client` of logins whose file does not say it")
	f.StringVar(&i.issuer, "issuer", "", "the `URL` of the issuer of logins whose file does not say it (with --client-id, default Globus Auth)")
	f.BoolVar(&i.overwrite, "overwrite", false, "replace what is stored")
	f.BoolVar(&i.deleteSource, "delete-source", false, "remove the file when all of it has been stored; its program is logged out then")
	f.BoolVar(&i.follow, "follow", false, "take what the program of the file has renewed since, and no more")
	f.BoolVar(&i.json, "json", false, "answer in JSON")
	return cmd
}

func (i *importing) run(ctx context.Context, args []string) error {
	if err := i.checkFlags(); err != nil {
		return err
	}
	_, store, err := i.open()
	if err != nil {
		return err
	}
	defer store.Close()
	answer := importAnswer{Schema: 1, Files: []importedFile{}}
	for _, arg := range args {
		var done importedFile
		if done, err = i.one(ctx, store, arg); err != nil {
			break
		}
		answer.Files = append(answer.Files, done)
	}
	if i.sharing {
		i.warn("two programs have these refresh tokens: let one of them renew. Where the issuer replaces a refresh token when it is used, log in for each instead")
	}
	if err == nil {
		i.nextUnlock()
		err = answer.damage()
	}
	if i.json { // also what was done before an error
		err = errors.Join(i.printJSON(answer), err)
	}
	return err
}

func (i *importing) one(ctx context.Context, store *keystore.Store, arg string) (importedFile, error) {
	file, err := i.read(ctx, arg)
	if err != nil {
		return importedFile{}, err
	}
	return i.take(ctx, store, file)
}

// checkFlags refuses a client or issuer that could be neither. An issuer gets
// refresh tokens sent: only https, or a server on this machine.
func (i *importing) checkFlags() error {
	if err := i.checkFollow(); err != nil {
		return err
	}
	if clean(i.clientID) != i.clientID {
		return usageError{fmt.Errorf("--client-id has a character that no client id has")}
	}
	if i.issuer == "" {
		return nil
	}
	u, err := url.Parse(i.issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return usageError{fmt.Errorf("--issuer is not an https URL")}
	}
	return nil
}

func loopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

func (i *importing) read(ctx context.Context, arg string) (*legacy.File, error) {
	path := arg
	if arg == "globus-cli" {
		home, _ := os.UserHomeDir()
		found, err := legacy.Find(arg, i.getenv, home)
		if err != nil {
			return nil, err
		}
		path = found
	}
	file, err := legacy.Read(ctx, path, legacysqlite.Read)
	if errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrTampered) {
		return nil, hinted{foreign{err}, "nothing was imported, and the store is as it was; let the program that wrote the file " + remedy(err)}
	}
	if err != nil {
		return nil, err
	}
	return file, i.complete(file)
}

// remedy is what the program of a file does about its damaged record: a configuration
// value is not of a login.
func remedy(err error) string {
	if about, _ := errors.AsType[*keystore.Error](err); about != nil && about.Key.Kind == keystore.KindConfig {
		return "write that value anew, or remove it"
	}
	return "log in again"
}

// complete adds what the flags say to what the file says.
func (i *importing) complete(file *legacy.File) error {
	issuer := i.issuer
	if issuer == "" && i.clientID != "" {
		issuer = globusAuth()
	}
	for n := range file.Contents {
		c := &file.Contents[n]
		if c.Account.ClientID == "" || c.AssumedClient && i.clientID != "" {
			c.Account.ClientID, c.AssumedClient = i.clientID, false
		}
		switch {
		case c.Account.Issuer == "":
			c.Account.Issuer = issuer
		case c.Assumed && i.issuer != "":
			c.Account.Issuer, c.Assumed = i.issuer, false
		}
	}
	if i.namespace == "" {
		return nil
	}
	if len(file.Contents) > 1 {
		return usageError{fmt.Errorf("%s holds %d namespaces, which do not fit in one: import it without --namespace",
			file.Path, len(file.Contents))}
	}
	for n := range file.Contents {
		file.Contents[n].Namespace = i.namespace
	}
	return nil
}

// take stores one file's content, and reads it back before it says so.
func (i *importing) take(ctx context.Context, store *keystore.Store, file *legacy.File) (importedFile, error) {
	done := importedFile{Path: file.Path, Format: file.Format, Records: []importedRecord{}}
	results, err := store.Import(ctx, file.Contents, i.overwrite)
	if err != nil {
		return done, fmt.Errorf("%s was not imported: %w", file.Path, err)
	}
	whole := store.Holds(ctx, file.Contents)
	i.tell(&done, file, results)
	if !i.deleteSource {
		i.shared(file)
		return done, nil
	}
	if whole != nil {
		return done, hinted{fmt.Errorf("%s was not deleted, since not all of it is in the store: %v", file.Path, whole),
			"--overwrite lets the file's logins replace those in the store"}
	}
	if err := file.Delete(ctx, legacysqlite.Delete); err != nil {
		return done, fmt.Errorf("everything is stored, but %s was not deleted: %w", file.Path, err)
	}
	done.Deleted = true
	i.say("deleted %s; the program that wrote it is logged out now. Copies in backups are still in plain text.", file.Path)
	return done, nil
}

func (i *importing) tell(done *importedFile, file *legacy.File, results []keystore.ImportResult) {
	for _, r := range results {
		done.Records = append(done.Records, importedRecord{r.Key.Namespace, string(r.Key.Kind), r.Key.Name, string(r.Outcome), r.Reason})
		done.damage = cmp.Or(done.damage, r.Damage)
	}
	if i.follow {
		i.tellFollow(file, results)
		return
	}
	i.say("%s is a file of %s", file.Path, file.Format)
	for _, note := range file.Notes {
		i.say("%s", note)
	}
	i.sayClient(file)
	for _, r := range results {
		line := fmt.Sprintf("%-9s %s", r.Outcome, r.Key)
		if r.Reason != "" {
			line += ": " + r.Reason + "; --overwrite replaces it"
		}
		i.say("%s", line)
	}
}

// sayClient says how logins become renewable whose file names no client.
func (i *importing) sayClient(file *legacy.File) {
	for _, c := range file.Contents {
		switch {
		case len(c.Tokens) == 0:
		case c.Account.ClientID == "":
			i.hint("once you know the client of namespace %q: import it again with --client-id ID", c.Namespace)
		case c.AssumedClient:
			i.sayAssumed(c)
		case c.Account.ClientID == i.clientID:
			i.say("the logins of namespace %q are taken to be of client %s at %s", c.Namespace, i.clientID, c.Account.Issuer)
		}
	}
}

func (i *importing) sayAssumed(c keystore.Content) {
	i.say("new logins of namespace %q are taken to be of client %s, which is in its auth_client_data; --client-id names another", c.Namespace, c.Account.ClientID)
}

// shared says what it means that the file still exists.
func (i *importing) shared(file *legacy.File) {
	switch renewable := count(file.Contents).refresh > 0; {
	case i.follow: // that was said when the file was written, or imported
	case renewable:
		i.warn("%s still holds these logins in plain text, and two programs share one refresh token now: "+
			"if one of them renews or revokes it, the other may have to log in again. --delete-source removes the file.", file.Path)
	default:
		i.warn("%s still holds these logins in plain text. --delete-source removes the file.", file.Path)
	}
}

type importAnswer struct {
	Schema int            `json:"schema"`
	Files  []importedFile `json:"files"`
}

// damage is the first of the records that were left since they cannot be read.
func (a importAnswer) damage() error {
	for _, f := range a.Files {
		if f.damage != nil {
			return hinted{fmt.Errorf("not everything was imported: %w", f.damage), "import --overwrite replaces what cannot be read; {} verify shows all of it"}
		}
	}
	return nil
}

type importedFile struct {
	Path    string           `json:"path"`
	Format  string           `json:"format"`
	Deleted bool             `json:"deleted"`
	Records []importedRecord `json:"records"`

	damage error // of a record that was left
}

type importedRecord struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Outcome   string `json:"outcome"`
	Reason    string `json:"reason,omitempty"`
}
