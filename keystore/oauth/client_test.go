package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

func TestExchangeSplitsByResourceServer(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, options(s))
	a := login(t, s, c, "openid", transferAll, groupsAll)
	want := []keystore.Token{
		{ResourceServer: "auth.globus.org", Scope: "openid"},
		{ResourceServer: transfer, Scope: transferAll},
		{ResourceServer: "groups.api.globus.org", Scope: groupsAll},
	}
	if len(a.Response.Tokens) != len(want) {
		t.Fatalf("there are %d tokens", len(a.Response.Tokens))
	}
	seen := make(map[string]bool)
	for i, got := range a.Response.Tokens {
		if got.ResourceServer != want[i].ResourceServer || got.Scope != want[i].Scope {
			t.Errorf("token %d is %+v", i, got)
		}
		if got.TokenType != "Bearer" || got.Issuer != s.URL || got.ClientID != clientID || got.IdentityID != "" {
			t.Errorf("token %d is %+v", i, got)
		}
		if end := time.Date(2030, 1, 4, 3, 4, 5, 0, time.UTC); !got.ExpiresAt.Equal(end) {
			t.Errorf("token %d ends at %v, want %v", i, got.ExpiresAt, end)
		}
		if !s.Active(got.AccessToken.Reveal()) || s.Dead(got.RefreshToken.Reveal()) {
			t.Errorf("token %d is none of the server's", i)
		}
		seen[got.AccessToken.Reveal()], seen[got.RefreshToken.Reveal()] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("there are %d different tokens, want 6", len(seen))
	}
	if a.Response.Account != (keystore.Account{Issuer: s.URL, ClientID: clientID}) {
		t.Errorf("the account is %+v", a.Response.Account)
	}
	if a.IDToken.IsZero() || a.Narrowed != nil || a.Widened != nil {
		t.Errorf("the answer is %+v", a)
	}
	noLeak(t, a)
	if got := s.Counts(); got != (oauthtest.Counts{Posts: 1, Exchanges: 1}) {
		t.Errorf("the server was asked %+v", got)
	}
}

func TestAnswerFitsAStore(t *testing.T) {
	s := oauthtest.New(t)
	s.SetRotation(oauthtest.Omitted)
	c := newClient(t, s, nil)
	store := keystore.New(memory.New(), nil)
	defer store.Close()
	if err := store.Put(t.Context(), login(t, s, c, transferAll, groupsAll).Response); err != nil {
		t.Fatal(err)
	}
	old, err := store.Get(t.Context(), transfer)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.RefreshToken(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.OnRefresh(t.Context(), a.Response); err != nil {
		t.Fatal(err)
	}
	now, err := store.Get(t.Context(), transfer)
	if err != nil || !now.RefreshToken.Equal(old.RefreshToken) || now.AccessToken.Equal(old.AccessToken) || !now.Renewable() {
		t.Errorf("after a refresh: %+v, %v", now, err)
	}
}

func TestCodeIsGoodOnceAndForItsVerifier(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	code := keystore.NewSecret(s.Code(clientID, redirectURI, verifier, transferAll))
	exchange := func(code keystore.Secret, verifier, redirect string) error {
		_, err := c.Exchange(t.Context(), code, keystore.NewSecret(verifier), redirect)
		noLeak(t, err)
		return err
	}
	if err := exchange(code, verifier, redirectURI); err != nil {
		t.Fatal(err)
	}
	if err := exchange(code, verifier, redirectURI); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("the second use of a code: %v", err)
	}
	code = keystore.NewSecret(s.Code(clientID, redirectURI, verifier, transferAll))
	if err := exchange(code, "other-"+verifier, redirectURI); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("another verifier: %v", err)
	}
	code = keystore.NewSecret(s.Code(clientID, redirectURI, verifier, transferAll))
	if err := exchange(code, verifier, "http://127.0.0.1:2/"); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("another redirect URI: %v", err)
	}
}

func TestRefreshWithEveryRotation(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	old := oneLogin(t, s, c)
	refresh := func(r oauthtest.Rotation) keystore.Token {
		s.SetRotation(r)
		a, err := c.RefreshToken(t.Context(), old)
		if err != nil {
			t.Fatal(err)
		}
		got := a.Response.Tokens[0]
		if len(a.Response.Tokens) != 1 || got.ResourceServer != transfer || got.Scope != old.Scope ||
			got.Issuer != s.URL || got.ClientID != clientID || !s.Active(got.AccessToken.Reveal()) {
			t.Errorf("refreshed to %+v", a)
		}
		if a.Response.Account != (keystore.Account{}) || a.Narrowed != nil || a.Widened != nil {
			t.Errorf("refreshed to %+v", a)
		}
		noLeak(t, a)
		return got
	}
	if got := refresh(oauthtest.Static); !got.RefreshToken.Equal(old.RefreshToken) {
		t.Error("static: another refresh token")
	}
	if got := refresh(oauthtest.Omitted); !got.RefreshToken.IsZero() {
		t.Error("omitted: there is a refresh token")
	}
	next := refresh(oauthtest.Rotating)
	if next.RefreshToken.IsZero() || next.RefreshToken.Equal(old.RefreshToken) {
		t.Error("rotating: no other refresh token")
	}
	// The spent one comes back: that is reuse, and ends the whole family.
	for _, spent := range []keystore.Token{old, next} {
		_, err := c.RefreshToken(t.Context(), spent)
		if !errors.Is(err, keystore.ErrLoginRequired) {
			t.Errorf("a dead refresh token: %v", err)
		}
		noLeak(t, err)
	}
	want := oauthtest.Counts{Posts: 6, Exchanges: 1, Refreshes: 3, Reuse: 1, Denied: 2}
	if got := s.Counts(); got != want {
		t.Errorf("the server was asked %+v, want %+v", got, want)
	}
}

func TestRefreshGoesOnlyWhereTheTokenCameFrom(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	good := oneLogin(t, s, c)
	before := s.Counts().Posts
	for name, change := range map[string]func(*keystore.Token){
		"another issuer":     func(t *keystore.Token) { t.Issuer += "/" },
		"no issuer":          func(t *keystore.Token) { t.Issuer = "" },
		"another client":     func(t *keystore.Token) { t.ClientID += "x" },
		"no client":          func(t *keystore.Token) { t.ClientID = "" },
		"no resource server": func(t *keystore.Token) { t.ResourceServer = "" },
		"no refresh token":   func(t *keystore.Token) { t.RefreshToken = keystore.Secret{} },
	} {
		old := good
		change(&old)
		_, err := c.RefreshToken(t.Context(), old)
		want := keystore.ErrInvalid
		if name == "no refresh token" {
			want = keystore.ErrLoginRequired
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		noLeak(t, err)
	}
	if posts := s.Counts().Posts - before; posts != 0 {
		t.Errorf("%d requests were sent", posts)
	}
}

// A confidential client says who it is by HTTP Basic, whatever is in its id and
// secret: the helper's have what Basic and forms would trip over.
func TestClientCredentials(t *testing.T) {
	s := oauthtest.New(t)
	c := newService(t, s, nil)
	a, err := c.ClientCredentials(t.Context(), []string{transferAll, groupsAll})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Response.Tokens) != 2 || !a.Response.Tokens[0].RefreshToken.IsZero() || a.Narrowed != nil {
		t.Errorf("the answer is %+v", a)
	}
	noLeak(t, a)
	if _, err = newClient(t, s, nil).ClientCredentials(t.Context(), []string{transferAll}); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("a public client: %v", err)
	}
	_, err = c.ClientCredentials(t.Context(), []string{"nonsense"})
	if e := asError(t, err); e.Code != "invalid_scope" || e.Status != 400 || !errors.Is(err, oauth.ErrRefused) {
		t.Errorf("a scope that nobody has: %v", err)
	}
}

func TestWrongClientSecret(t *testing.T) {
	s := oauthtest.New(t)
	s.AddClient(serviceID, serviceSecret)
	for _, secret := range []string{"", "fake-secret-wrong"} {
		c, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: serviceID, Secret: keystore.NewSecret(secret)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Revoke(t.Context(), keystore.NewSecret("fake-access"))
		if e := asError(t, err); e.Code != "invalid_client" || e.Status != 401 || !errors.Is(err, oauth.ErrRefused) {
			t.Errorf("with the secret %q: %v", secret, err)
		}
		noLeak(t, err)
	}
}

func TestDependentTokens(t *testing.T) {
	s := oauthtest.New(t)
	user := oneLogin(t, s, newClient(t, s, nil))
	c := newService(t, s, nil)
	a, err := c.DependentTokens(t.Context(), user.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	var servers []string
	for _, token := range a.Response.Tokens {
		servers = append(servers, token.ResourceServer)
	}
	if !slices.Equal(servers, []string{transfer, "groups.api.globus.org"}) {
		t.Errorf("the tokens are of %q", servers)
	}
	noLeak(t, a)
	if _, err := newClient(t, s, nil).DependentTokens(t.Context(), user.AccessToken); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("a public client: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	token := oneLogin(t, s, c)
	for range 2 { // the second time it is dead already, which is no error
		for _, secret := range []keystore.Secret{token.AccessToken, token.RefreshToken} {
			if err := c.Revoke(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.Active(token.AccessToken.Reveal()) || !s.Dead(token.RefreshToken.Reveal()) || s.Counts().Revokes != 4 {
		t.Errorf("the tokens live on; %+v", s.Counts())
	}
	p := s.Provider()
	p.RevocationEndpoint = ""
	c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Revoke(t.Context(), token.AccessToken)
	if e := asError(t, err); e.Sent || !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("without an endpoint: %v", err)
	}
}

func TestMalformedArgumentsAreNotSent(t *testing.T) {
	s := oauthtest.New(t)
	c, service := newClient(t, s, nil), newService(t, s, nil)
	for _, bad := range []string{"", "fake-a b", "fake-a\r\nb", "fake-\u00e4"} {
		secret := keystore.NewSecret(bad)
		good := keystore.NewSecret(verifier)
		_, err1 := c.Exchange(t.Context(), secret, good, redirectURI)
		_, err2 := c.Exchange(t.Context(), good, secret, redirectURI)
		_, err3 := c.Exchange(t.Context(), good, good, "")
		_, err4 := service.DependentTokens(t.Context(), secret)
		err5 := c.Revoke(t.Context(), secret)
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, keystore.ErrInvalid) {
				t.Errorf("call %d with %q: %v", i+1, bad, err)
			}
			noLeak(t, err)
		}
	}
	if got := s.Counts(); got != (oauthtest.Counts{}) {
		t.Errorf("the server was asked %+v", got)
	}
}

func TestDiscover(t *testing.T) {
	for name, s := range map[string]*oauthtest.Server{"http": oauthtest.New(t), "https": oauthtest.NewTLS(t, oauthtest.GoodTLS)} {
		got, err := oauth.Discover(t.Context(), s.URL, options(s))
		if err != nil || got != s.Provider() {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		_, err = oauth.Discover(t.Context(), s.URL+"/", options(s))
		if e := asError(t, err); !errors.Is(err, oauth.ErrAnswer) || !e.Sent {
			t.Errorf("%s: an issuer that is not spelled as it spells itself: %v", name, err)
		}
	}
}

// A caller that gives up gets away at once; the server may have been reached.
func TestCancel(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	old := oneLogin(t, s, c)
	ctx, cancel := context.WithCancel(t.Context())
	s.BeforeAnswer(func(oauthtest.Event) { cancel() })
	s.AnswerBadly("never answers")
	_, err := c.RefreshToken(ctx, old)
	if e := asError(t, err); !errors.Is(err, context.Canceled) || errors.Is(err, keystore.ErrUnavailable) || !e.Sent {
		t.Errorf("%v, sent %v", err, e.Sent)
	}
	posts := s.Counts().Posts
	_, err = c.RefreshToken(ctx, old)
	if e := asError(t, err); !errors.Is(err, context.Canceled) || e.Sent || s.Counts().Posts != posts {
		t.Errorf("with a context that has ended: %v, sent %v", err, e.Sent)
	}
}

func TestHooksSeeEveryAnswer(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	seen := make(chan oauthtest.Event, 2)
	s.BeforeAnswer(func(e oauthtest.Event) { seen <- e })
	old := oneLogin(t, s, c)
	if _, err := c.RefreshToken(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	for _, grant := range []string{"authorization_code", "refresh_token"} {
		if e := <-seen; e != (oauthtest.Event{Path: "/v2/oauth2/token", Grant: grant}) {
			t.Errorf("the hook saw %+v", e)
		}
	}
	resp, err := http.Get(s.URL + oauthtest.CountsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var counts oauthtest.Counts
	want := oauthtest.Counts{Posts: 2, Exchanges: 1, Refreshes: 1}
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil || counts != want {
		t.Errorf("the counters are %+v, %v", counts, err)
	}
}
