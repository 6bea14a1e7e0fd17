package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/internal/browse"
	"github.com/globus-keys/globus-keys/internal/settings"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// wanted is what a login asks for, from flags, settings and the store.
type wanted struct {
	issuer      string
	credentials oauth.Credentials
	flow        string
	scopes      []string
	session     oauth.Session
}

func (l *loggingIn) wanted(ctx context.Context, o opened) (w wanted, err error) {
	s, err := l.settings()
	if err != nil {
		return w, err
	}
	account, err := o.store.Account(ctx)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) && !integrity(err) {
		return w, err
	}
	if w.flow, err = l.chooseFlow(ctx, o); err != nil {
		return w, err
	}
	w.issuer = cmp.Or(l.issuer, chosenIssuer(s, account))
	if err := o.room(ctx, account, w.issuer); err != nil {
		return w, err
	}
	if w.credentials, err = l.credentials(ctx, o, s, account, w.issuer); err != nil {
		return w, err
	}
	if w.flow == "client-credentials" && w.credentials.Secret.IsZero() {
		return w, usageError{fmt.Errorf("--flow client-credentials needs --client-secret-file")}
	}
	return w, l.ask(ctx, &w, o, s)
}

// chosenIssuer is where a login is made without --issuer.
func chosenIssuer(s *settings.Settings, account keystore.Account) string {
	return cmp.Or(s.Issuer, account.Issuer, globusAuth())
}

// globusAuth is who issues logins unless something else is said.
func globusAuth() string {
	issuer, _ := oauth.GlobusIssuer("production")
	return issuer
}

func (l *loggingIn) chooseFlow(ctx context.Context, o opened) (string, error) {
	switch {
	case l.flow != "" && !slices.Contains(loginFlows, l.flow):
		return "", usageError{fmt.Errorf("--flow is one of %s", strings.Join(loginFlows, ", "))}
	case l.flow != "":
		return l.flow, nil
	case l.clientID == "" && o.clientsOwn(ctx):
		return "client-credentials", nil
	case browse.Possible(l.getenv):
		return "loopback", nil
	}
	return "paste", nil
}

func (l *loggingIn) credentials(ctx context.Context, o opened, s *settings.Settings, account keystore.Account, issuer string) (c oauth.Credentials, err error) {
	c.ID = cmp.Or(l.clientID, registered(s, account, issuer))
	if c.ID == "" {
		return c, hinted{usageError{unknownClient(s, issuer)}, registering(issuer)}
	}
	if l.secretFile != "" {
		c.Secret, err = local.ReadSecret(l.secretFile, l.getenv)
	} else {
		c.Secret, err = oauth.KeptSecret(ctx, o.store, issuer, c.ID)
	}
	return c, err
}

// clientsOwn reports whether the namespace has logins, and all are a client's own: the
// next one is too.
func (o opened) clientsOwn(ctx context.Context) bool {
	found := false
	for t, err := range o.store.All(ctx) {
		if err != nil || t.Grant != keystore.GrantClientCredentials {
			return false
		}
		found = true
	}
	return found
}

// registered is the client that is known at an issuer, "" if none is. No issuer gets
// the id of another's client: it could send the person on to that one, whose code
// would come back here and go to the wrong token endpoint (RFC 9700 section 4.4).
func registered(s *settings.Settings, account keystore.Account, issuer string) string {
	if s.ClientID != "" && issuer == settledIssuer(s) {
		return s.ClientID
	}
	if issuer == account.Issuer {
		return account.ClientID
	}
	return ""
}

// settledIssuer is whose client config.toml names.
func settledIssuer(s *settings.Settings) string { return cmp.Or(s.Issuer, globusAuth()) }

func unknownClient(s *settings.Settings, issuer string) error {
	if issuer != settledIssuer(s) {
		return fmt.Errorf("no client is known that could log in at %s: name one with --client-id", issuer)
	}
	return errors.New("no client is known that could log in: name one with --client-id, or as client_id in config.toml")
}

// registering says how one gets a client.
func registering(issuer string) string {
	if issuer == globusAuth() {
		return "register a native app at https://app.globus.org/settings/developers, and use its client id"
	}
	return "register a native app at the issuer, with the redirect URI http://127.0.0.1 and any port, and use its client id"
}

// room reports, before anybody has logged in, whether the namespace takes a login
// of the issuer.
func (o opened) room(ctx context.Context, account keystore.Account, issuer string) error {
	if account.Subject == "" || account.Issuer == "" || account.Issuer == issuer {
		return nil
	}
	servers, err := o.servers(ctx, nil)
	if err != nil || len(servers) == 0 {
		return err
	}
	return fmt.Errorf("namespace %q holds logins of %s: %w", o.store.Namespace(), account.Issuer, keystore.ErrSubjectMismatch)
}

// ask fills in the scopes and the session.
func (l *loggingIn) ask(ctx context.Context, w *wanted, o opened, s *settings.Settings) error {
	required, err := l.requirement()
	if err != nil {
		return err
	}
	w.session = required.Session
	w.scopes = oauth.SplitScopes(l.scopes)
	for _, alias := range l.services {
		scopes, ok := oauth.ServiceScopes(alias)
		if !ok {
			return usageError{fmt.Errorf("there is no service %q: --service takes %s", alias, strings.Join(oauth.Aliases(), ", "))}
		}
		w.scopes = append(w.scopes, scopes...)
	}
	named := len(w.scopes) > 0
	w.scopes = append(w.scopes, required.Scopes...)
	if !named { // a demand comes on top of what there is, and must not cost that
		w.scopes = append(w.scopes, o.held(ctx, w)...)
	}
	if !named && w.issuer == cmp.Or(s.Issuer, globusAuth()) {
		w.scopes = append(w.scopes, s.Scopes...)
	}
	if len(w.scopes) == 0 {
		w.scopes = oauth.DefaultScopes(w.issuer)
	}
	if w.flow != "client-credentials" {
		w.scopes = append([]string{"openid"}, w.scopes...)
	}
	w.scopes = oauth.MergeScopes(w.scopes)
	return nil
}

// held are the scopes that the namespace's logins of this issuer and client have.
func (o opened) held(ctx context.Context, w *wanted) (scopes []string) {
	for t, err := range o.store.All(ctx) {
		if err == nil && t.Issuer == w.issuer && t.ClientID == w.credentials.ID {
			scopes = append(scopes, t.Scopes()...)
		}
	}
	return scopes
}

// maxError is more than a service's error has, in bytes.
const maxError = 64 << 10

// requirement reads what --from-error names.
func (l *loggingIn) requirement() (oauth.Requirement, error) {
	if l.fromError == "" {
		return oauth.Requirement{}, nil
	}
	var from io.Reader = l.in
	name := "standard input"
	if l.fromError != "-" {
		name = l.fromError
		f, err := os.Open(l.fromError)
		if err != nil {
			return oauth.Requirement{}, foreign{err}
		}
		defer f.Close()
		from = f
	}
	body, err := io.ReadAll(io.LimitReader(from, maxError+1))
	if err != nil {
		return oauth.Requirement{}, foreign{fmt.Errorf("read %s: %w", name, err)}
	}
	r, ok := oauth.ParseRequirement(body)
	if !ok {
		err := usageError{fmt.Errorf("%s does not hold an error that says which login would help", name)}
		return r, hinted{err, "--from-error takes the JSON of a service's answer with status 403, as it is"}
	}
	if r.Session.Message != "" {
		l.say("the service says: %s", r.Session.Message)
	}
	return r, nil
}
