package oauth_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

const (
	clientID      = "00000000-fake-4000-8000-00000000c11e"
	serviceID     = "service:with+a%20colon"
	serviceSecret = "fake-secret:+& %é"
	redirectURI   = "http://127.0.0.1:1/"
	verifier      = "fake-verifier-0123456789-0123456789-0123456789"
	transfer      = "transfer.api.globus.org"
	transferAll   = "urn:globus:auth:scope:transfer.api.globus.org:all"
	transferMore  = "urn:globus:auth:scope:transfer.api.globus.org:gcp_install"
	groupsAll     = "urn:globus:auth:scope:groups.api.globus.org:all"
)

var clock = time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

func options(s *oauthtest.Server) *oauth.Options {
	return &oauth.Options{RootCAs: s.Roots(), Clock: func() time.Time { return clock }}
}

func newClient(t testing.TB, s *oauthtest.Server, opts *oauth.Options) *oauth.Client {
	t.Helper()
	c, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: clientID}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newService(t testing.TB, s *oauthtest.Server, opts *oauth.Options) *oauth.Client {
	t.Helper()
	s.AddClient(serviceID, serviceSecret)
	c, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: serviceID, Secret: keystore.NewSecret(serviceSecret)}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// login returns the answer of a login for the scopes.
func login(t testing.TB, s *oauthtest.Server, c *oauth.Client, scopes ...string) oauth.Answer {
	t.Helper()
	code := s.Code(clientID, redirectURI, verifier, scopes...)
	a, err := c.Exchange(t.Context(), keystore.NewSecret(code), keystore.NewSecret(verifier), redirectURI, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// oneLogin returns a token of Transfer with two scopes.
func oneLogin(t testing.TB, s *oauthtest.Server, c *oauth.Client) keystore.Token {
	t.Helper()
	return login(t, s, c, transferAll, transferMore).Response.Tokens[0]
}

// put stores tokens.
func put(t testing.TB, store *keystore.Store, tokens ...keystore.Token) {
	t.Helper()
	if err := store.Put(t.Context(), keystore.TokenResponse{Tokens: tokens}); err != nil {
		t.Fatal(err)
	}
}

// noLeak fails if anything that v prints, or the errors inside it, shows a code,
// a token or a secret, or has a character that a terminal would act upon.
func noLeak(t testing.TB, v any) {
	t.Helper()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text := fmt.Sprintf(format, v)
		for _, canary := range []string{oauthtest.Fake + "access", oauthtest.Fake + "refresh", oauthtest.Fake + "code",
			oauthtest.Fake + "secret", oauthtest.Fake + "verifier", oauthtest.Fake + "a", oauthtest.Fake + "o",
			oauthtest.Fake + "t", "Please", "html"} {
			if strings.Contains(strings.ToLower(text), canary) {
				t.Errorf("%s shows %q", format, canary)
			}
		}
	}
	err, ok := v.(error)
	if !ok {
		return
	}
	if i := strings.IndexFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		t.Errorf("the error's text has the character %q", err.Error()[i])
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			noLeak(t, inner)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			noLeak(t, inner)
		}
	}
}

// asError returns err as the *Error that it has to be.
func asError(t testing.TB, err error) *oauth.Error {
	t.Helper()
	var e *oauth.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v, not an *oauth.Error", err)
	}
	return e
}

// duringRefresh calls do once, when a refresh token is spent and the answer is not
// sent yet.
func duringRefresh(s *oauthtest.Server, do func()) {
	var once sync.Once
	s.BeforeAnswer(func(e oauthtest.Event) {
		if e.Grant == "refresh_token" {
			once.Do(do)
		}
	})
}
