package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/internal/legacy/legacysqlite"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// exportPlain writes a file of the Globus SDK. $GLOBUS_KEYS_NAMESPACE does not choose
// what is in it: who forgets it would take a part for the whole.
func (e *exporting) exportPlain(ctx context.Context) error {
	format, err := e.plainFormat()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(e.plain); err == nil { // before a passphrase is asked for
		return atomicfile.About(e.plain, os.ErrExist)
	}
	_, store, err := e.open()
	if err != nil {
		return err
	}
	defer store.Close()
	contents, err := e.contents(ctx, store, format)
	if err != nil {
		return err
	}
	file, left, err := format.Encode(ctx, contents, legacysqlite.Encode)
	if err != nil {
		return err
	}
	if held := count(contents); held.tokens == 0 && held.configs == len(left) {
		e.sayLeft(left)
		return fmt.Errorf("there is nothing that a file of %s holds: %w", format, keystore.ErrNotFound)
	}
	if err := atomicfile.CreateWhole(atomicfile.OS(), e.plain, file); err != nil {
		return fullDisk(e.plain, err)
	}
	e.sayPlain(format, contents, left)
	return nil
}

// plainFormat reads --format and --format-version.
func (e *exporting) plainFormat() (legacy.Format, error) {
	switch {
	case e.format == "" && e.version == "":
		return legacy.Format{}, usageError{fmt.Errorf("say which file --plaintext is to write: --format globus-sdk-json or globus-sdk-sqlite")}
	case e.format == "":
		return legacy.Format{}, usageError{fmt.Errorf("--format-version needs --format")}
	}
	format, ok := legacy.FindFormat(e.format, e.version)
	if ok {
		return format, nil
	}
	var known []string
	for _, f := range legacy.Formats {
		known = append(known, f.Name+" "+f.Version)
	}
	asked := strings.TrimSpace(e.format + " " + e.version)
	return legacy.Format{}, usageError{fmt.Errorf("there is no format %q; there are %s", asked, strings.Join(known, ", "))}
}

// contents are those that the file is to have.
func (e *exporting) contents(ctx context.Context, store *keystore.Store, format legacy.Format) ([]keystore.Content, error) {
	var chosen []string
	if e.namespace != "" {
		chosen = []string{e.namespace}
	}
	contents, err := store.Contents(ctx, chosen...)
	if err != nil {
		return nil, err
	}
	contents = slices.DeleteFunc(contents, func(c keystore.Content) bool { return len(c.Tokens)+len(c.Configs) == 0 })
	switch {
	case len(contents) == 0 && e.namespace != "":
		return nil, fmt.Errorf("there is nothing in namespace %q to write: %w", e.namespace, keystore.ErrNotFound)
	case len(contents) == 0:
		return nil, fmt.Errorf("there is nothing to write: %w", keystore.ErrNotFound)
	case format.One() && len(contents) > 1:
		return nil, usageError{fmt.Errorf("%s holds one namespace; choose with --namespace: %s", format, named(contents))}
	}
	return contents, nil
}

func named(contents []keystore.Content) string {
	var names []string
	for _, c := range contents {
		names = append(names, fmt.Sprintf("%q", c.Namespace))
	}
	return strings.Join(names, ", ")
}

// sayPlain says what lies in plain now, what does not, and what not to do with it.
func (e *exporting) sayPlain(format legacy.Format, contents []keystore.Content, left []legacy.Left) {
	held := count(contents)
	held.configs -= len(left)
	e.say("wrote %s of %s to %s", held, namespaces(contents), e.plain)
	e.say("it is a file of %s", format)
	e.sayLeft(left)
	if facts := unsaid(contents); len(facts) > 0 {
		e.say("left out, since no such file has a place for it: %s", strings.Join(facts, ", "))
	}
	if format.One() && contents[0].Namespace != keystore.DefaultNamespace {
		e.say("the file does not name its namespace, %q: programs see it as %s", contents[0].Namespace, keystore.DefaultNamespace)
	}
	e.warn("%s holds %s in plain text: who reads it, or a backup of it, has these logins until they are revoked.", e.plain, held)
	if held.refresh > 0 {
		e.warn("two programs share the refresh tokens of %s now. Where the issuer replaces a refresh token when it is used, that cannot work: "+
			"who renews second loses the login, for both; there, log in for each program. "+
			"Elsewhere let one program renew, the one that uses the file, and run import --follow before the tokens here expire.", e.plain)
		e.advise("{} " + e.followed(format, contents) + " takes back what its program renews")
	}
}

func (e *exporting) sayLeft(left []legacy.Left) {
	for _, l := range left {
		e.say("left out, since %s: %s", l.Why, l.Key)
	}
}

// followed is the rest of the command line that takes back what a program renews.
func (e *exporting) followed(format legacy.Format, contents []keystore.Content) string {
	path := e.plain
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	line := "import --follow " + shellQuoted(path)
	if format.One() && contents[0].Namespace != keystore.DefaultNamespace {
		line = "--namespace " + shellQuoted(contents[0].Namespace) + " " + line
	}
	return line
}

// secretsOf are what a plain file gives away.
type secretsOf struct {
	tokens, refresh, configs int
	client                   bool // a client's secret is among the configs
}

func count(contents []keystore.Content) (s secretsOf) {
	for _, c := range contents {
		s.tokens += len(c.Tokens)
		s.configs += len(c.Configs)
		for _, t := range c.Tokens {
			if !t.RefreshToken.IsZero() {
				s.refresh++
			}
		}
		_, client := c.Configs[oauth.ClientConfig]
		s.client = s.client || client
	}
	return s
}

func (s secretsOf) String() string {
	text := fmt.Sprintf("%s and %s", several(s.tokens, "access token"), several(s.refresh, "refresh token"))
	if s.configs > 0 {
		text = fmt.Sprintf("%s, %s and %s", several(s.tokens, "access token"), several(s.refresh, "refresh token"),
			several(s.configs, "configuration value"))
	}
	if s.configs > 0 && s.client {
		text += " (with a client's secret)"
	}
	return text
}

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func namespaces(contents []keystore.Content) string {
	if len(contents) == 1 {
		return fmt.Sprintf("namespace %q", contents[0].Namespace)
	}
	return several(len(contents), "namespace")
}

// unsaid are the facts that the store knows and no such file holds.
func unsaid(contents []keystore.Content) []string {
	var account, issuer, client, endpoints, grant, times bool
	for _, c := range contents {
		account = account || c.Account.Subject != "" || c.Account.Username != ""
		for _, t := range c.Tokens {
			issuer, client = issuer || t.Issuer != "", client || t.ClientID != ""
			endpoints = endpoints || t.Endpoints != keystore.Endpoints{}
			grant = grant || t.Grant != ""
			times = times || !t.LoggedIn.IsZero() || !t.Used.IsZero()
		}
	}
	var facts []string
	for _, f := range []struct {
		is   bool
		text string
	}{
		{account, "the account of a namespace"}, {issuer, "a login's issuer"}, {client, "its client"}, {endpoints, "its endpoints"},
		{grant, "its grant"}, {times, "when it was made and used"},
	} {
		if f.is {
			facts = append(facts, f.text)
		}
	}
	return facts
}
