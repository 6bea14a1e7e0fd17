package oauth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

func openID(s *oauthtest.Server) oauth.LoginOptions {
	return oauth.LoginOptions{Scopes: []string{"openid", transferAll}, Visit: newBrowser(s).visit}
}

// fixed are two clocks that agree.
func fixed(s *oauthtest.Server) *oauth.Options {
	s.SetClock(func() time.Time { return clock })
	return options(s)
}

// A login whose id_token is not believed is none, and its tokens are revoked.
func TestBadIDTokens(t *testing.T) {
	names := oauthtest.BadIDTokens()
	if len(names) < 60 {
		t.Errorf("there are %d bad id_tokens only", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			s.BadIDToken(name)
			_, err := logIn(t, t.Context(), newClient(t, s, fixed(s)), openID(s))
			if !errors.Is(err, oauth.ErrAnswer) {
				t.Fatalf("the error is %v", err)
			}
			e := asError(t, err)
			if !strings.Contains(e.Detail, faultOf(name)) {
				t.Errorf("the error is %v, not %q", err, faultOf(name))
			}
			if e.Host != strings.TrimPrefix(s.URL, "http://") || !e.Sent {
				t.Errorf("the error is %#v", e)
			}
			revokes := 4 // two access tokens and two refresh tokens
			if e.Op == "exchange" {
				revokes = 0 // it never got as far as tokens
			} else if e.Op != "verify" {
				t.Errorf("the error is of %q", e.Op)
			}
			if got := s.Counts(); got.Exchanges != 1 || got.Revokes != revokes || got.Other > 2 {
				t.Errorf("the server was asked %+v", got)
			}
		})
	}
}

// faults are what is found in bad id_tokens, by how their names begin, so that
// each is held against the check that it is meant for.
var faults = []struct{ prefix, detail string }{
	{"aud is", "made as it should be"},
	{"azp", "made for this client"},
	{"two auds", "made for this client"},
	{"another azp", "made for this client"},
	{"iss", "another issuer"},
	{"aud", "another client"},
	{"exp in", "made as it should be"},
	{"exp of", "made as it should be"},
	{"exp missing", "when it ends"},
	{"exp null", "when it ends"},
	{"exp", "expired"},
	{"iat missing", "when it was made"},
	{"iat", "not valid yet"},
	{"nbf", "not valid yet"},
	{"nonce", "another login"},
	{"at_hash", "this access token"},
	{"sub is", "made as it should be"},
	{"sub twice", "claim twice"},
	{"sub wrongly cased", "wrongly cased"},
	{"sub", "subject"},
	{"claims not", "not JSON"},
	{"claims twice", "not JSON"},
	{"claims in", "made as it should be"},
	{"claims null", "another issuer"},
	{"claims empty", "another issuer"},
	{"claims from", "subject"},
	{"claims changed", "signed as it should be"},
	{"kid is", "signed as it should be"},
	{"kid", "no key"},
	{"signed by a key for", "no key"},
	{"signed by a key of", "no key"},
	{"of 65 KiB", "malformed"},
	{"", "signed as it should be"},
}

func faultOf(name string) string {
	for _, f := range faults {
		if strings.HasPrefix(name, f.prefix) {
			return f.detail
		}
	}
	return ""
}

func TestGoodIDTokens(t *testing.T) {
	header := func(alg, kid string) func(*oauthtest.IDToken) {
		return func(i *oauthtest.IDToken) { i.Header["alg"], i.Header["kid"] = alg, kid }
	}
	claim := func(name string, change func(any) any) func(*oauthtest.IDToken) {
		return func(i *oauthtest.IDToken) { i.Claims[name] = change(i.Claims[name]) }
	}
	to := func(v any) func(any) any { return func(any) any { return v } }
	plus := func(n int64) func(any) any { return func(any) any { return clock.Unix() + n } }
	for name, change := range map[string]func(*oauthtest.IDToken){
		"RS256": header("RS256", "rsa"),
		"RS384": header("RS384", "rsa"),
		"RS512": header("RS512", "rsa"),
		"PS256": header("PS256", "rsa"),
		"PS384": header("PS384", "rsa"),
		"PS512": header("PS512", "rsa"),
		"ES256": header("ES256", "ec"),
		"EdDSA": header("EdDSA", "ed"),

		"a key for RS256": header("RS256", "rs256"),

		"no kid":                   func(i *oauthtest.IDToken) { delete(i.Header, "kid") },
		"no at_hash":               func(i *oauthtest.IDToken) { delete(i.Claims, "at_hash") },
		"no typ":                   func(i *oauthtest.IDToken) { delete(i.Header, "typ") },
		"auds and azp":             func(i *oauthtest.IDToken) { i.Claims["aud"], i.Claims["azp"] = []any{"fake-x", clientID}, clientID },
		"aud in an array":          claim("aud", to([]any{clientID})),
		"azp":                      claim("azp", to(clientID)),
		"ended 300 s ago":          claim("exp", plus(-300)),
		"made in 300 s":            claim("iat", plus(300)),
		"valid in 300 s":           claim("nbf", plus(300)),
		"valid since a year":       claim("nbf", plus(-365*24*3600)),
		"made with fractions":      claim("iat", to(float64(clock.Unix())+0.25)),
		"unknown claims":           claim("x", to(map[string]any{"y": []any{1}})),
		"subject of 255 bytes":     claim("sub", to(strings.Repeat("s", 255))),
		"subject with punctuation": claim("sub", to("auth0|a b@c/d")),
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			s.SetIDToken(change)
			a, err := logIn(t, t.Context(), newClient(t, s, fixed(s)), openID(s))
			if err != nil || a.Response.Account.Subject == "" || a.Response.Account.Username != oauthtest.Username {
				t.Fatalf("%+v, %v", a, err)
			}
			for _, token := range a.Response.Tokens {
				if token.IdentityID != a.Response.Account.Subject {
					t.Errorf("a token is of %q", token.IdentityID)
				}
			}
		})
	}
}

// A name that cannot be shown is none; the login is good all the same.
func TestUsernames(t *testing.T) {
	for name, want := range map[any]string{
		"fake@example.org":       "fake@example.org",
		"Zo\u00eb of \u6771":     "Zo\u00eb of \u6771",
		strings.Repeat("n", 512): strings.Repeat("n", 512),
		strings.Repeat("n", 513): "",
		"a\x1b[2Jb":              "",
		"a\nb":                   "",
		"a\u202eb":               "",
		"a\u00a0b":               "",
		"":                       "",
		7:                        "",
		nil:                      "",
	} {
		s := oauthtest.New(t)
		s.SetIDToken(func(i *oauthtest.IDToken) { i.Claims["preferred_username"] = name })
		a, err := logIn(t, t.Context(), newClient(t, s, nil), openID(s))
		if err != nil || a.Response.Account.Username != want || a.Response.Account.Subject != oauthtest.Subject {
			t.Errorf("%q: %+v, %v", name, a.Response.Account, err)
		}
	}
}

// What the issuer does not sign for us is not believed, nor missed.
func TestIDTokenWithoutKeys(t *testing.T) {
	s := oauthtest.New(t)
	p := s.Provider()
	p.JWKSURI = ""
	c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := logIn(t, t.Context(), c, openID(s))
	if err != nil || a.Response.Account != (keystore.Account{Issuer: s.URL, ClientID: clientID}) ||
		a.Response.Tokens[0].IdentityID != "" || a.IDToken.IsZero() {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestIDTokenMustComeIfAskedFor(t *testing.T) {
	s := oauthtest.New(t)
	s.SetIDToken(func(i *oauthtest.IDToken) { i.After = func(string) string { return "" } })
	_, err := logIn(t, t.Context(), newClient(t, s, nil), openID(s))
	if e := asError(t, err); !errors.Is(err, oauth.ErrAnswer) || e.Op != "verify" {
		t.Errorf("the error is %v", err)
	}
	if got := s.Counts(); got.Other != 1 || got.Revokes != 4 {
		t.Errorf("the server was asked %+v", got)
	}
}

// Whatever the endpoint of the keys answers is bounded and tells nothing; the
// login is good or it is none.
func TestBadAnswersOfTheKeys(t *testing.T) {
	refused := 0
	for _, name := range oauthtest.BadAnswers() {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			opts := &oauth.Options{}
			if outcomes[name].deadline {
				opts.Timeout = 300 * time.Millisecond
			}
			p := s.Provider()
			p.RevocationEndpoint = "" // it would answer badly too
			c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, opts)
			if err != nil {
				t.Fatal(err)
			}
			s.BeforeAnswer(func(e oauthtest.Event) {
				if e.Grant != "" {
					s.AnswerBadly(name) // from the next answer on
				}
			})
			start := allocated()
			a, err := logIn(t, t.Context(), c, openID(s))
			if used := allocated() - start; used > 32<<20 {
				t.Errorf("the login took %d MB of memory", used>>20)
			}
			if got := s.Counts(); got.Posts != 1 || got.Other != 2 || got.Strays != 0 || got.Bytes > 32<<20 {
				t.Errorf("the server was asked %+v", got)
			}
			if err == nil {
				whole(t, s, a)
				return
			}
			refused++
			if e := asError(t, err); e.Op != "verify" || !e.Sent || errors.Is(err, keystore.ErrLoginRequired) && e.Code != "invalid_grant" {
				t.Errorf("the error is %#v", e)
			}
		})
	}
	if refused < 60 {
		t.Errorf("only %d were refused", refused)
	}
}
