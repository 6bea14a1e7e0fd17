package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/browse"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

var loginFlows = []string{"loopback", "paste", "client-credentials"}

func (a *app) loginCommand() *cobra.Command {
	l := &loggingIn{app: a}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in with a browser, and store the login",
		Long: `Log in at Globus Auth, or at another issuer, and store what it grants.

What is asked for: the scopes of --scopes, those of the services of --service
(` + strings.Join(oauth.Aliases(), ", ") + `), those that the error of
a service demands (--from-error: the JSON of its answer with status 403, "-" for
standard input); without scopes or services what the namespace holds already and
"scopes" of config.toml, else who you are. "openid" is always among a person's, so
that the namespace's account is known: another account's login is refused and
revoked.

The client is --client-id; else "client_id" of config.toml or that of the last login,
at the issuer that it belongs to, not at another one that --issuer names. Register
one at https://app.globus.org/settings/developers, as a native app.

Flows: "loopback" opens a browser here (that of $BROWSER, if set) and waits for it;
"paste" shows the URL for a browser anywhere, and asks for the code that it shows
in the end, or for the URL at which it ends; "client-credentials" logs the client
itself in, with the secret in --client-secret-file. Unless told otherwise it is
the first where a browser can be expected to open, else the second.

The store is tried out before the browser opens. Nothing is changed if the login
is cancelled, or not made within ten minutes.`,
		Example: "  globus-keys login --service transfer,groups\n  globus-keys login --issuer https://idp.example.org --client-id ID --scopes 'openid offline_access'",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&l.scopes, "scopes", "", "`scopes` to ask for, separated by spaces")
	f.StringSliceVar(&l.services, "service", nil, "`services` to ask for, separated by commas")
	f.StringVar(&l.flow, "flow", "", "the `flow`: "+strings.Join(loginFlows, ", "))
	f.StringVar(&l.issuer, "issuer", "", "`URL` of the issuer (default Globus Auth)")
	f.StringVar(&l.clientID, "client-id", "", "the OAuth `client` that logs in")
	f.StringVar(&l.secretFile, "client-secret-file", "", "`file` with the secret of a confidential client, or fd:N; it is kept in the store")
	f.StringVar(&l.fromError, "from-error", "", "`file` with a service's answer that says which login it wants")
	f.BoolVar(&l.json, "json", false, "answer in JSON")
	cmd.RegisterFlagCompletionFunc("flow", cobra.FixedCompletions(loginFlows, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("service", completeServices)
	return cmd
}

// completeServices offers what can stand behind the last comma.
func completeServices(_ *cobra.Command, _ []string, toComplete string) (lists []string, _ cobra.ShellCompDirective) {
	before := toComplete[:strings.LastIndex(toComplete, ",")+1]
	for _, alias := range oauth.Aliases() {
		if !slices.Contains(strings.Split(before, ","), alias) {
			lists = append(lists, before+alias)
		}
	}
	return lists, cobra.ShellCompDirectiveNoFileComp
}

// loggingIn is one login.
type loggingIn struct {
	*app
	scopes, flow, issuer, clientID, secretFile, fromError string
	services                                              []string
	json                                                  bool
}

func (l *loggingIn) run(ctx context.Context) error {
	o, err := l.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	want, err := l.wanted(ctx, o)
	if err != nil {
		return err
	}
	if err := l.askable(want); err != nil {
		return err
	}
	client, err := l.client(ctx, want)
	if err != nil {
		return err
	}
	if err := o.store.Probe(ctx); err != nil {
		return err
	}
	// Who waits for a person obeys ctx. When that does not help there is a code or
	// a login to lose, and an interrupt has to wait.
	l.finishing.Add(1)
	defer l.finishing.Add(-1)
	answer, err := l.answer(ctx, client, want)
	if err != nil {
		return l.explain(err)
	}
	if err := client.Keep(context.WithoutCancel(ctx), o.store, answer); err != nil {
		return o.hintApart(err)
	}
	return l.tell(o, answer)
}

func (l *loggingIn) client(ctx context.Context, w wanted) (*oauth.Client, error) {
	if w.issuer != globusAuth() {
		l.say("the issuer is %s", w.issuer)
	}
	provider, err := oauth.Find(ctx, w.issuer, nil)
	if err != nil {
		return nil, hinted{err, "check the issuer's URL: --issuer, or issuer in config.toml"}
	}
	return oauth.NewClient(provider, w.credentials, nil)
}

// answer has somebody log in, or the client itself.
func (l *loggingIn) answer(ctx context.Context, client *oauth.Client, w wanted) (oauth.Answer, error) {
	if w.flow == "client-credentials" {
		return client.ClientCredentials(ctx, w.scopes)
	}
	opts := oauth.LoginOptions{Scopes: w.scopes, Session: w.session, Visit: l.visit}
	if w.flow == "paste" {
		opts.Visit, opts.Code = l.show, l.paste
	}
	return client.Login(ctx, opts)
}

// visit opens a browser. The URL is shown too: whatever the browser does, somebody
// can open it himself.
func (l *loggingIn) visit(ctx context.Context, url string) error {
	l.say("waiting for a login in the browser; if none opens, open this page on this machine (^C cancels):")
	l.say("%s", url)
	if err := browse.Open(ctx, url, l.getenv); err != nil {
		l.warn("%v; without a browser here, say --flow paste", err)
	}
	return nil
}

func (l *loggingIn) show(_ context.Context, url string) error {
	l.say("log in with a browser anywhere, at this page (^C cancels):")
	l.say("%s", url)
	return nil
}

func (l *loggingIn) paste(ctx context.Context) (keystore.Secret, error) {
	t, err := l.terminal()
	if err != nil {
		return keystore.Secret{}, err
	}
	text, err := t.line(ctx, "Code, or the URL at which the browser ends: ")
	return keystore.NewSecret(text), err
}

// askable reports, before anybody has logged in, whether the code can be asked for.
func (l *loggingIn) askable(w wanted) error {
	if w.flow != "paste" {
		return nil
	}
	err := errors.New("nobody is to be asked anything")
	if !l.silent() {
		if _, err = l.terminal(); err == nil {
			return nil
		}
		err = errors.New("there is no terminal")
	}
	return hinted{
		usageError{fmt.Errorf("the code cannot be asked for: %w", err)},
		"run it in a terminal; where a browser is, say --flow loopback",
	}
}

// explain adds what to try to what a login has come to.
func (l *loggingIn) explain(err error) error {
	var refused *oauth.Error
	switch {
	case errors.As(err, &refused) && refused.Code == "invalid_client":
		return hinted{err, "check --client-id, and that the client is registered as a native app, or say --client-secret-file"}
	case errors.As(err, &refused) && strings.Contains(refused.Code, "scope"): // issuers have words of their own for it
		return hinted{err, "check what is asked for: --scopes, or scopes in config.toml"}
	case errors.Is(err, keystore.ErrDeclined) || errors.Is(err, keystore.ErrLoginRequired):
		return hinted{err, "run the same again; nothing was changed"}
	}
	return err
}

// hintApart says what became of a login that does not fit to those that are there:
// another account's, or another issuer's at the same resource server.
func (o opened) hintApart(err error) error {
	if errors.Is(err, keystore.ErrSubjectMismatch) {
		revoked := "the new login was revoked; "
		if len(apart(err)) > 1 {
			revoked = ""
		}
		return hinted{err, revoked + "keep the two apart: {} --namespace NAME login; or log out of the old one first: " + o.line("logout", "--all")}
	}
	return err
}

type loginAnswer struct {
	Schema    int            `json:"schema"`
	Namespace string         `json:"namespace"`
	Issuer    string         `json:"issuer"`
	Username  string         `json:"username,omitempty"`
	Subject   string         `json:"subject,omitempty"`
	Logins    []renewedLogin `json:"logins"`
	Narrowed  []string       `json:"scopes_not_granted"`
}

func (l *loggingIn) tell(o opened, answer oauth.Answer) error {
	account := answer.Response.Account
	told := loginAnswer{1, o.store.Namespace(), account.Issuer, account.Username, account.Subject, []renewedLogin{}, append([]string{}, answer.Narrowed...)}
	if who := cmp.Or(account.Username, account.Subject); who != "" {
		l.say("logged in as %s", who)
	}
	for _, t := range answer.Response.Tokens {
		told.Logins = append(told.Logins, renewedLogin{t.ResourceServer, t.Scope, t.ExpiresAt.Unix()})
		l.say("stored %q in namespace %q: %s%s", t.ResourceServer, o.store.Namespace(), validFor(t, o.store.Now()), renewal(t))
	}
	if len(answer.Narrowed) > 0 {
		l.warn("not granted: %s", strings.Join(answer.Narrowed, " "))
	}
	l.nextUnlock()
	if l.json {
		return l.printJSON(told)
	}
	return nil
}

func renewal(t keystore.Token) string {
	if t.Renewable() {
		return ", and renewed then"
	}
	return "; it cannot be renewed: there is no refresh token"
}
