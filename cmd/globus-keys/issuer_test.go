package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// testClient is $CLIENT of the scripts.
const testClient = "11111111-2222-4333-8444-555555555555"

// scriptIssuer is the issuer of one script, and what was counted of it already.
type scriptIssuer struct {
	t testing.TB
	*oauthtest.Server
	before oauthtest.Counts
}

type issuerKey struct{}

func prepareIssuer(env *testscript.Env) {
	env.Values[issuerKey{}] = &scriptIssuer{t: env.T().(testing.TB)}
	env.Setenv("CLIENT", testClient)
	env.Setenv("BROWSER", "fake-browser")
	env.Setenv("TRANSFER", transferScope)
	env.Setenv("GROUPS", groupsScope)
}

const (
	transferScope = "urn:globus:auth:scope:transfer.api.globus.org:all"
	groupsScope   = "urn:globus:auth:scope:groups.api.globus.org:all"
)

func issuerOf(ts *testscript.TestScript) *scriptIssuer {
	return ts.Value(issuerKey{}).(*scriptIssuer)
}

var rotations = map[string]oauthtest.Rotation{"static": oauthtest.Static, "omitted": oauthtest.Omitted, "rotating": oauthtest.Rotating}

// issuer [static|omitted|rotating] [SECONDS] starts the script's issuer, $ISSUER, or
// changes what it does with refresh tokens and how long its access tokens live.
func startIssuer(ts *testscript.TestScript, neg bool, args []string) {
	i := issuerOf(ts)
	if i.Server == nil {
		i.Server = oauthtest.New(i.t)
		ts.Setenv("ISSUER", i.URL)
	}
	for _, arg := range args {
		if r, ok := rotations[arg]; ok {
			i.SetRotation(r)
			continue
		}
		seconds, err := strconv.Atoi(arg)
		ts.Check(err)
		i.SetLifetime(seconds)
	}
}

// issuer-answers [NAME] makes every endpoint but the authorization endpoint answer
// in one of oauthtest.BadAnswers, or well again.
func issuerAnswers(ts *testscript.TestScript, neg bool, args []string) {
	issuerOf(ts).AnswerBadly(strings.Join(args, " "))
}

// issuer-asked NAME PATTERN checks a parameter of the last authorization request.
// "! issuer-asked" checks that there was none, "! issuer-asked NAME" that it is not
// in it.
func issuerAsked(ts *testscript.TestScript, neg bool, args []string) {
	asked := issuerOf(ts).LastAuthorize()
	switch {
	case neg && len(args) == 0 && asked != nil, neg && len(args) == 1 && asked.Has(args[0]):
		ts.Fatalf("the issuer was asked: %v", asked)
	case !neg && len(args) == 2 && (!asked.Has(args[0]) || !regexp.MustCompile(args[1]).MatchString(asked.Get(args[0]))):
		ts.Fatalf("the issuer was asked: %v", asked)
	case len(args) > 2 || !neg && len(args) != 2:
		ts.Fatalf("usage: [!] issuer-asked [NAME [PATTERN]]")
	}
}

// issuer-client ID SECRET registers a confidential client.
func issuerClient(ts *testscript.TestScript, neg bool, args []string) {
	issuerOf(ts).AddClient(args[0], args[1])
}

// issuer-counts NAME=N... checks how often the issuer was asked since the last call,
// by the names that the JSON of its counters has.
func issuerCounts(ts *testscript.TestScript, neg bool, args []string) {
	i := issuerOf(ts)
	now := i.Counts()
	got := make(map[string]int)
	for n := range reflect.TypeFor[oauthtest.Counts]().NumField() {
		name := reflect.TypeFor[oauthtest.Counts]().Field(n).Tag.Get("json")
		got[name] = int(reflect.ValueOf(now).Field(n).Int() - reflect.ValueOf(i.before).Field(n).Int())
	}
	i.before = now
	for _, arg := range args {
		name, want, _ := strings.Cut(arg, "=")
		if count, ok := got[name]; !ok || fmt.Sprint(count) != want {
			ts.Fatalf("want %s of %v", arg, got)
		}
	}
}

// issuer-denies makes persons say no; "! issuer-denies" ends that.
func issuerDenies(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		issuerOf(ts).SetCallback(nil)
		return
	}
	issuerOf(ts).SetCallback(oauthtest.Deny)
}

// issuer-kills-logins ends all refresh tokens.
func issuerKillsLogins(ts *testscript.TestScript, neg bool, args []string) {
	issuerOf(ts).KillLogins()
}

// issuer-takes N checks how many tokens are good for something.
func issuerTakes(ts *testscript.TestScript, neg bool, args []string) {
	if living := issuerOf(ts).Living(); fmt.Sprint(len(living)) != args[0] {
		ts.Fatalf("the issuer takes %q", living)
	}
}

// issuer-user SUBJECT USERNAME says who logs in next.
func issuerUser(ts *testscript.TestScript, neg bool, args []string) {
	issuerOf(ts).SetUser(args[0], args[1])
}

// logged-in [-ago DURATION] [-issuer URL] SCOPE... is a login of $CLIENT at the issuer, made so
// long ago, in the namespace and the store of the environment, in place of another.
func loggedIn(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("logged-in", flag.ContinueOnError)
	ago := flags.Duration("ago", 0, "")
	issuer := flags.String("issuer", "", "another name of the issuer")
	ts.Check(flags.Parse(args))
	p, err := local.Find(&local.Options{Getenv: ts.Getenv, SQLite: sqliteadapter.Opener(nil), WorkFactor: 10})
	ts.Check(err)
	store := p.Store()
	defer store.Close()
	i := issuerOf(ts)
	r := longAgo(i.t, i.Server, *ago, flags.Args()...)
	r.Account.Issuer = cmp.Or(*issuer, r.Account.Issuer)
	for n, t := range r.Tokens {
		r.Tokens[n].Issuer = r.Account.Issuer
		// else its newer moments count
		if err := store.Delete(i.t.Context(), t.ResourceServer); !errors.Is(err, keystore.ErrNotFound) {
			ts.Check(err)
		}
	}
	ts.Check(store.Put(i.t.Context(), r))
}

// longAgo is what a login of s has brought so long ago.
func longAgo(t testing.TB, s *oauthtest.Server, ago time.Duration, scopes ...string) keystore.TokenResponse {
	t.Helper()
	const redirect, verifier = "http://127.0.0.1:1/", "a-verifier-that-is-as-long-as-they-have-to-be"
	c, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: testClient}, nil)
	if err != nil {
		t.Fatal(err)
	}
	code := s.Code(testClient, redirect, verifier, scopes...)
	answer, err := c.Exchange(t.Context(), keystore.NewSecret(code), keystore.NewSecret(verifier), redirect, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	r := answer.Response
	r.Account.Subject, r.Account.Username = oauthtest.Subject, oauthtest.Username
	for i := range r.Tokens {
		for _, at := range []*time.Time{&r.Tokens[i].ExpiresAt, &r.Tokens[i].LoggedIn, &r.Tokens[i].Used} {
			*at = at.Add(-ago)
		}
	}
	return r
}

// settings FILE makes FILE the user's config.toml. Variables in it are replaced.
func writeSettings(ts *testscript.TestScript, neg bool, args []string) {
	dir := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "globus-keys")
	ts.Check(os.MkdirAll(dir, 0o700))
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600))
}
