package oauth_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// thief is an issuer that keeps all that it is sent, and grants anything.
type thief struct {
	*httptest.Server
	mu    sync.Mutex
	sent  []string       // forms and Basic credentials, decoded; guarded by mu
	grant map[string]any // its answer, beside access_token and so on; guarded by mu
}

func newThief(t *testing.T, grant map[string]any) *thief {
	t.Helper()
	e := &thief{grant: grant}
	e.Server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.Close)
	return e
}

func (e *thief) serve(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, values := range r.PostForm {
		e.sent = append(e.sent, values...)
	}
	_, password, _ := r.BasicAuth()
	password, _ = url.QueryUnescape(password)
	e.sent = append(e.sent, password)
	doc := map[string]any{"access_token": "fake-thief", "token_type": "Bearer", "expires_in": 3600, "scope": "all"}
	maps.Copy(doc, e.grant)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(doc)
}

func (e *thief) grants(name string, value any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grant[name] = value
}

// has reports whether the thief was sent a text, in whatever field.
func (e *thief) has(secret string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.sent, secret)
}

func (e *thief) provider(issuer string) oauth.Provider {
	return oauth.Provider{Issuer: issuer, TokenEndpoint: e.URL + "/token", RevocationEndpoint: e.URL + "/revoke"}
}

// server is the resource server of its logins that name none.
func (e *thief) server() string { return strings.TrimPrefix(e.URL, "http://") }

// logInAt keeps what a login at p as client comes to.
func logInAt(t *testing.T, store *keystore.Store, p oauth.Provider, client string) error {
	t.Helper()
	c, err := oauth.NewClient(p, oauth.Credentials{ID: client}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Exchange(t.Context(), keystore.NewSecret("fake-code"), keystore.NewSecret(verifier), redirectURI, "all")
	if err != nil {
		t.Fatal(err)
	}
	return c.Keep(t.Context(), store, a)
}

func newStore(t *testing.T) *keystore.Store {
	t.Helper()
	s := keystore.New(memory.New(), nil)
	t.Cleanup(func() { s.Close() })
	return s
}

// honest stores a login of Globus whose person is not known, changed.
func honest(t *testing.T, store *keystore.Store, change func(*keystore.Token)) {
	t.Helper()
	tok := keystore.Token{ResourceServer: transfer, Scope: "all", TokenType: "Bearer",
		AccessToken: keystore.NewSecret("fake-honest-access"), RefreshToken: keystore.NewSecret("fake-honest-refresh"),
		Issuer: "https://auth.globus.org", ClientID: clientID,
		Endpoints: keystore.Endpoints{Token: "https://auth.globus.org/v2/oauth2/token"}}
	change(&tok)
	if err := store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{tok}}); err != nil {
		t.Fatal(err)
	}
}

func asItIs(*keystore.Token) {}

// TestClientSecretStaysWithItsIssuer: a client id is no secret, and may be another
// client's at another issuer.
func TestClientSecretStaysWithItsIssuer(t *testing.T) {
	s, store := oauthtest.New(t), newStore(t)
	service := newService(t, s, nil)
	a, err := service.ClientCredentials(t.Context(), []string{transferAll})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Keep(t.Context(), store, a); err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{serviceID, "another"} {
		e := newThief(t, map[string]any{"refresh_token": "fake-thief-refresh"})
		if err := logInAt(t, store, e.provider(e.URL), client); err != nil {
			t.Fatal(err)
		}
		for _, opts := range []*oauth.SourceOptions{nil, {Client: service}} {
			oauth.NewSource(store, e.server(), opts).Renew(t.Context())
		}
		oauth.Logout(t.Context(), store, e.server(), nil)
		if e.has(serviceSecret) || !e.has("fake-thief-refresh") {
			t.Errorf("client %s: the secret has gone to another issuer, or nothing has", client)
		}
	}
}

// TestNewLoginSpendsNoOtherRefreshToken: an answer may name any resource server, and
// no refresh token.
func TestNewLoginSpendsNoOtherRefreshToken(t *testing.T) {
	const dead = "http://127.0.0.1:1"
	for name, c := range map[string]struct {
		issuer string // "": the thief's own
		stored func(*keystore.Token, oauth.Provider)
	}{
		"of an issuer that is not known": {"", func(tok *keystore.Token, _ oauth.Provider) {
			tok.Issuer, tok.ClientID, tok.Endpoints = "", "", keystore.Endpoints{} // as import leaves it
		}},
		"of an issuer that has moved": {dead, func(tok *keystore.Token, _ oauth.Provider) {
			tok.Issuer, tok.Endpoints = dead, keystore.Endpoints{Token: dead + "/token"}
		}},
		"of a person, and nobody is known now": {"", func(tok *keystore.Token, p oauth.Provider) {
			tok.Issuer, tok.IdentityID, tok.Endpoints = p.Issuer, oauthtest.Subject, keystore.Endpoints{Token: p.TokenEndpoint}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e, store := newThief(t, map[string]any{"resource_server": transfer}), newStore(t)
			p := e.provider(e.URL)
			if c.issuer != "" {
				p.Issuer = c.issuer
			}
			honest(t, store, func(tok *keystore.Token) { c.stored(tok, p) })
			if err := logInAt(t, store, p, clientID); err != nil {
				t.Fatal(err)
			}
			oauth.NewSource(store, transfer, nil).Renew(t.Context())
			got, err := store.Get(t.Context(), transfer)
			if err != nil || !got.RefreshToken.IsZero() || got.IdentityID != "" || e.has("fake-honest-refresh") {
				t.Errorf("%v; the login has refresh token %q and identity %q of another", err, got.RefreshToken.Reveal(), got.IdentityID)
			}
		})
	}
}

// TestLoginReplacesNoOtherIssuers: the answer names a resource server of another
// issuer, and the login there stays.
func TestLoginReplacesNoOtherIssuers(t *testing.T) {
	store := newStore(t)
	honest(t, store, asItIs)
	e := newThief(t, map[string]any{"resource_server": transfer, "refresh_token": "fake-thief-refresh"})
	if err := logInAt(t, store, e.provider(e.URL), "another"); !errors.Is(err, keystore.ErrSubjectMismatch) {
		t.Errorf("%v, want ErrSubjectMismatch", err)
	}
	got, err := store.Get(t.Context(), transfer)
	if err != nil || got.RefreshToken.Reveal() != "fake-honest-refresh" || !e.has("fake-thief-refresh") {
		t.Errorf("%v; the login is of %s now, or the new one was not revoked", err, got.Issuer)
	}
}

// TestTokenChangeGuessesNoIssuer: what a program's own refresher tells is not of the
// issuer that the namespace's account happens to be of.
func TestTokenChangeGuessesNoIssuer(t *testing.T) {
	e, store := newThief(t, map[string]any{"refresh_token": "fake-thief-refresh"}), newStore(t)
	if err := logInAt(t, store, e.provider(e.URL), clientID); err != nil {
		t.Fatal(err)
	}
	tell := oauth.OnTokenChange(t.Context(), store, transfer, func(err error) { t.Error(err) })
	tell(&oauth2.Token{AccessToken: "fake-honest-access", RefreshToken: "fake-honest-refresh", TokenType: "Bearer"})
	got, err := store.Get(t.Context(), transfer)
	if err != nil || got.Issuer != "" || got.ClientID != "" {
		t.Errorf("%v; a refresh token of nobody knows whom is taken to be %s's, client %s", err, got.Issuer, got.ClientID)
	}
}

// TestRenewalTouchesOneLogin: the issuer answers with tokens of other resource servers
// besides, and has no say in whose the namespace is.
func TestRenewalTouchesOneLogin(t *testing.T) {
	e, store := newThief(t, map[string]any{}), newStore(t)
	c, err := oauth.NewClient(e.provider(e.URL), oauth.Credentials{ID: serviceID, Secret: keystore.NewSecret(serviceSecret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.ClientCredentials(t.Context(), []string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Keep(t.Context(), store, a); err != nil {
		t.Fatal(err)
	}
	a.Response.Account.ClientID = "the last one"
	if err := store.Put(t.Context(), keystore.TokenResponse{Account: a.Response.Account}); err != nil {
		t.Fatal(err)
	}
	e.grants("access_token", "fake-renewed")
	e.grants("other_tokens", []any{map[string]any{"access_token": "fake-planted", "token_type": "Bearer", "scope": "all", "resource_server": transfer}})
	got, err := oauth.NewSource(store, e.server(), nil).Renew(t.Context())
	if err != nil || got.AccessToken.Reveal() != "fake-renewed" {
		t.Errorf("renewed to %q, %v", got.AccessToken.Reveal(), err)
	}
	account, err := store.Account(t.Context())
	if servers := stored(t, store); err != nil || len(servers) != 1 || account != a.Response.Account {
		t.Errorf("%v; stored are %q of %+v, want one login and the account as it was", err, servers, account)
	}
}
