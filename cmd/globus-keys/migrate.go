package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// migrating is one run of the migrate command.
type migrating struct {
	*app
	to     string
	toKeys keyFlags
	keystore.MigrateOptions
	json bool
}

func (a *app) migrateCommand() *cobra.Command {
	m := &migrating{app: a}
	cmd := &cobra.Command{
		Use:   "migrate --to STORE",
		Short: "Carry all logins over into another store",
		Long: `Carry the logins, configuration values and accounts of all namespaces over from
the store (--store, with the flags of its key) into another one, of any kind, which
is made if it is not there. Each is read back from there before it counts. Said again
after a kill, a cancel or an error it goes on where it was.

What the other store holds already is left: the same is done with; of two states of
one login the later one is kept; what else differs is named, stays in both, and the
exit code is 1. A damaged record is named, and the exit code 7.

The store is left as it is unless --delete-source is given: then each record is
removed from it as soon as it has been read back from the other, and no refresh comes
between. Without it two stores share each refresh token: use one of them.
--hide-names is about the other store. It is said, before anything is written, if the
store hides names and the other one will not.`,
		Example: "  globus-keys migrate --to sqlite:/var/lib/me/tokens.db --dry-run\n" +
			"  globus-keys --store keychain:work migrate --to file:tokens.json --to-key passphrase",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.remedy(cmd, m.run(cmd.Context())) },
	}
	f := cmd.Flags()
	f.StringVar(&m.to, "to", "", "the `store` to carry them into, as file:PATH, sqlite:PATH or keychain:NAME")
	f.StringVar(&m.toKeys.key, "to-key", "", "`where` the key of that store goes, or is looked for: keychain or passphrase")
	f.StringVar(&m.toKeys.passphraseFile, "to-passphrase-file", "", "`file` with the passphrase of that store in its first line, or fd:N")
	f.StringVar(&m.toKeys.identityFile, "to-identity-file", "", "age identity `file` that opens or makes that store, or fd:N")
	f.BoolVar(&m.DryRun, "dry-run", false, "write nothing, and say what would be done")
	f.BoolVar(&m.DeleteSource, "delete-source", false, "remove each record when it has been read back from the other store")
	f.BoolVar(&m.json, "json", false, "answer in JSON")
	cmd.MarkFlagRequired("to")
	return cmd
}

type migrateAnswer struct {
	Schema  int              `json:"schema"`
	From    string           `json:"from"`
	To      string           `json:"to"`
	DryRun  bool             `json:"dry_run"`
	Left    int              `json:"left"` // records in the source afterwards
	Records []migratedRecord `json:"records"`
}

type migratedRecord struct {
	Namespace string           `json:"namespace"`
	Kind      keystore.Kind    `json:"kind"`
	Name      string           `json:"name"`
	Outcome   keystore.Outcome `json:"outcome"`
	Reason    string           `json:"reason,omitempty"`
}

func (m *migrating) run(ctx context.Context) error {
	if m.namespace != "" {
		return usageError{errors.New("migrate takes all namespaces: leave --namespace out")}
	}
	if m.to == "" { // which is not the user's own
		return usageError{errors.New("--to names no store")}
	}
	m.toKeys.hideNames, m.hideNames = m.hideNames, false // the other one is as it is
	from, source, err := m.open()
	if err != nil {
		return err
	}
	defer source.Close()
	to, err := m.target()
	if err != nil {
		return err
	}
	target := to.Store()
	defer target.Close()
	m.warnOfNames(ctx, from, to)
	answer := migrateAnswer{Schema: 1, From: from.String(), To: to.String(), DryRun: m.DryRun, Records: []migratedRecord{}}
	done, err := m.each(ctx, source, target, &answer)
	if err == nil {
		answer.Left, err = left(ctx, from)
	}
	m.conclude(ctx, from, answer, done, err)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = hinted{errCancelled, m.again() + " goes on from here"}
	}
	if err == nil {
		err = cmp.Or(done.first, m.conflict(done))
	}
	if m.json { // also what was done before an error
		err = errors.Join(err, m.printJSON(answer))
	}
	return err
}

// warnOfNames says, before anything is written, that what one store hides will lie in
// clear in the other.
func (m *migrating) warnOfNames(ctx context.Context, from, to *local.Place) {
	if !hidesNames(ctx, from.Adapter()) || hidesNames(ctx, to.Adapter()) {
		return
	}
	way := ""
	if strings.HasPrefix(m.to, "sqlite:") {
		way = "; with --hide-names a new store in a database hides them"
	}
	m.warn("%s hides names, and %s will not: those of namespaces, resource servers and configuration values lie in clear there%s", from, to, way)
}

// hidesNames is false if the store cannot be looked at: the migration says why.
func hidesNames(ctx context.Context, adapter keystore.StorageAdapter) bool {
	a, ok := adapter.(interface {
		HidesNames(context.Context) (bool, error)
	})
	if !ok {
		return false
	}
	hidden, err := a.HidesNames(ctx)
	return hidden && err == nil
}

// target finds the store that is migrated to. What the environment says of keys is
// about the store that is migrated from.
func (m *migrating) target() (*local.Place, error) {
	getenv := func(name string) string {
		if name == "GLOBUS_KEYS_IDENTITY_FILE" || name == "GLOBUS_KEYS_PASSPHRASE_FILE" {
			return ""
		}
		return m.getenv(name)
	}
	return m.placeWith(m.to, "--to-key", m.toKeys, getenv)
}

// each migrates record by record, and tells of each.
func (m *migrating) each(ctx context.Context, source, target *keystore.Store, answer *migrateAnswer) (tally, error) {
	done := tally{outcomes: make(map[keystore.Outcome]int)}
	for r, err := range keystore.Migrate(ctx, source, target, &m.MigrateOptions) {
		if r.Key == (keystore.RecordKey{}) {
			return done, err
		}
		if err != nil {
			r.Reason = err.Error()
		}
		if next := done.add(r, err); next != nil {
			m.complain(next)
		}
		if err := m.tell(r, answer); err != nil {
			return done, err
		}
	}
	return done, nil
}

// tally is what has become of the records so far.
type tally struct {
	outcomes map[keystore.Outcome]int
	shared   bool  // a refresh token is in both stores
	first    error // of a record that has failed, which ends the command: damage before others
}

// add returns an error that does not end the command, and is to be told now.
func (t *tally) add(r keystore.Migrated, err error) error {
	t.outcomes[r.Outcome]++
	t.shared = t.shared || r.Shared
	if t.first == nil || err != nil && integrity(err) && !integrity(t.first) {
		t.first, err = err, t.first
	}
	return err
}

// tell is the answer, a line for each record.
func (m *migrating) tell(r keystore.Migrated, answer *migrateAnswer) error {
	if m.json {
		answer.Records = append(answer.Records, migratedRecord{r.Key.Namespace, r.Key.Kind, r.Key.Name, r.Outcome, r.Reason})
		return nil
	}
	line := fmt.Sprintf("%-10s %s", r.Outcome, r.Key)
	if r.Outcome == keystore.Kept {
		line += ": " + r.Reason
	}
	return m.printf("%s\n", clean(line))
}

// left counts the records that are in the source afterwards.
func left(ctx context.Context, from *local.Place) (int, error) {
	_, keys, err := names(ctx, from.Adapter(), keystore.KindAccount, keystore.KindToken, keystore.KindConfig)
	return len(keys), err
}

// conclude says what it all comes to, and what to do next.
func (m *migrating) conclude(ctx context.Context, from *local.Place, a migrateAnswer, done tally, err error) {
	if err == nil || len(done.outcomes) > 0 {
		m.say("%s", done.sum(m.DryRun, a.To))
	}
	switch {
	case err != nil && ctx.Err() != nil:
		m.say("it was broken off between two records: each is in one of the stores, or in both")
	case err != nil || m.DryRun:
	case m.DeleteSource && a.Left == 0:
		rest := " is"
		if from.Sealed() {
			rest = ", and its key, are"
		}
		m.say("%s is empty now; the store itself%s still there", a.From, rest)
		m.advise("{store} reset moves it aside")
	case m.DeleteSource:
		m.say("records that are still in %s: %d", a.From, a.Left)
	case done.shared:
		m.warn("%s still holds these logins, and two stores share each refresh token now: if a login is renewed or revoked "+
			"in one of them, the other may have to log in again. Use one of them; --delete-source empties this one.", a.From)
	}
	if err == nil && m.chosen { // for the new store
		m.advise(m.selfFor([2]string{"--store", m.to}) + " unlock opens it for hours, so that the passphrase is typed once")
	}
}

// sum counts the records by what has become of them.
func (t tally) sum(dryRun bool, to string) string {
	var counts []string
	for _, o := range []keystore.Outcome{keystore.Copied, keystore.Replaced, keystore.Completed, keystore.Unchanged,
		keystore.Superseded, keystore.Kept, keystore.Failed} {
		if n := t.outcomes[o]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, o))
		}
	}
	would := ""
	if dryRun {
		would = "there would be "
	}
	text := to + ": " + would + strings.Join(counts, ", ")
	if len(counts) == 0 {
		text = "there is nothing to migrate"
	}
	if dryRun {
		text += "; nothing was written"
	}
	return text
}

// conflict is the error of records that differ in the two stores.
func (m *migrating) conflict(t tally) error {
	if t.outcomes[keystore.Kept] == 0 {
		return nil
	}
	return hinted{fmt.Errorf("records that differ in the two stores, and are as they were in both: %d", t.outcomes[keystore.Kept]), m.way()}
}

// remedy makes the hints for an error name the store that it is about.
func (m *migrating) remedy(cmd *cobra.Command, err error) error {
	switch _, ofTarget := errors.AsType[keystore.TargetError](err); {
	case errors.Is(err, keystore.ErrSubjectMismatch):
		return hinted{err, m.way()}
	case ofTarget:
		m.store, m.keyFlags = m.to, m.toKeys
		_, hint := m.outcomeOf(cmd, err)
		return hinted{err, m.ofTarget(hint)}
	}
	return err
}

// ofTarget makes a hint name the other store and the options of its key. A command that
// is spelled out has the store as its own.
func (m *migrating) ofTarget(hint string) string {
	return strings.NewReplacer(
		"{} --key", "{} --key",
		"--key", "--to-key",
		"--passphrase-file FILE", "--to-passphrase-file FILE",
		"--identity-file FILE", "--to-identity-file FILE",
		"the passphrase,", "the passphrase of "+m.to+",",
		"the passphrase:", "the passphrase of "+m.to+":",
	).Replace(hint)
}

// way is out of a conflict.
func (m *migrating) way() string {
	return "remove what is not wanted, {store} --namespace NAME remove RESOURCE_SERVER|--config NAME, or there: " +
		m.selfFor([2]string{"--store", m.to}) + " --namespace NAME remove …; then " + m.again()
}

// again is the same command again.
func (m *migrating) again() string {
	line := "{} migrate --to " + shellQuoted(m.to)
	for _, flag := range [][2]string{{"--to-key", m.toKeys.key}, {"--to-identity-file", m.toKeys.identityFile},
		{"--to-passphrase-file", m.toKeys.passphraseFile}} {
		if flag[1] != "" {
			line += " " + flag[0] + " " + shellQuoted(flag[1])
		}
	}
	if m.DeleteSource {
		line += " --delete-source"
	}
	return line
}
