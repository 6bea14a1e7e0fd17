package oauth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func newAttempt(t testing.TB, p Provider, opts LoginOptions) *attempt {
	t.Helper()
	c, err := NewClient(p, Credentials{ID: "fake-client"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	opts.Visit = func(context.Context, string) error { return nil }
	a, err := c.attempt(opts)
	if err != nil {
		t.Fatal(err)
	}
	a.redirect = "http://127.0.0.1:50000"
	return a
}

func TestAuthorizationRequest(t *testing.T) {
	elsewhere := Provider{Issuer: "https://login.example", TokenEndpoint: "https://login.example/token",
		AuthorizationEndpoint: "https://login.example/go?tenant=a+b&client_id=evil&state=evil"}
	session := Session{Policies: []string{"p", "q"}, SingleDomain: []string{"d"}, MFA: true, Prompt: "login"}
	for _, c := range []struct {
		provider Provider
		session  Session
		want     url.Values
	}{
		{elsewhere, Session{}, url.Values{"tenant": {"a b"}}},
		{elsewhere, session, url.Values{"tenant": {"a b"}, "prompt": {"login"}, "session_required_policies": {"p,q"},
			"session_required_single_domain": {"d"}, "session_required_mfa": {"True"}}},
		{Globus("preview"), Session{}, url.Values{"access_type": {"offline"}}},
		{Globus("production"), session, url.Values{"access_type": {"offline"}, "prompt": {"login"}, "session_required_policies": {"p,q"},
			"session_required_single_domain": {"d"}, "session_required_mfa": {"True"}}},
	} {
		a := newAttempt(t, c.provider, LoginOptions{Scopes: []string{"openid", "x[*y z]"}, Session: c.session})
		text, err := a.url()
		if err != nil {
			t.Fatal(err)
		}
		page, query, _ := strings.Cut(text, "?")
		if endpoint, _, _ := strings.Cut(c.provider.AuthorizationEndpoint, "?"); page != endpoint {
			t.Errorf("the page is %q", page)
		}
		got, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		c.want["response_type"], c.want["client_id"], c.want["scope"] = []string{"code"}, []string{"fake-client"}, []string{"openid x[*y z]"}
		c.want["redirect_uri"], c.want["state"], c.want["nonce"] = []string{a.redirect}, []string{a.state}, []string{a.nonce}
		c.want["code_challenge"], c.want["code_challenge_method"] = got["code_challenge"], []string{"S256"}
		if got.Encode() != c.want.Encode() {
			t.Errorf("the request is\n%v, want\n%v", got, c.want)
		}
		if strings.Contains(text, a.verifier) || len(a.verifier) != 43 || a.state == a.nonce || a.state == a.verifier {
			t.Error("the request shows its verifier, or a secret has two uses")
		}
	}
}

// RFC 7636 appendix B.
func TestChallenge(t *testing.T) {
	a := newAttempt(t, Globus("production"), LoginOptions{Scopes: []string{"x"}})
	a.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	if text, _ := a.url(); !strings.Contains(text, "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&") {
		t.Errorf("the request is %s", text)
	}
}

func TestListenTakesWhatThereIs(t *testing.T) {
	l, err := listen("192.0.2.1:0", "127.0.0.1:0") // the first is nobody's (RFC 5737)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("it listens on %v", l.Addr())
	}
	if _, err := listen("192.0.2.1:0"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("where there is no address: %v", err)
	}
}

// Of too many connections the oldest ends; all end with the login.
func TestOldestCallerIsSentAway(t *testing.T) {
	var c callers
	var ends []net.Conn
	for range maxCallers + 2 {
		ours, theirs := net.Pipe()
		ends = append(ends, theirs)
		c.change(ours, http.StateNew)
		go func() { // as net/http does
			ours.Read(make([]byte, 1))
			c.change(ours, http.StateClosed)
		}()
	}
	for i, end := range ends[:2] {
		if _, err := end.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("caller %d is still there: %v", i, err)
		}
	}
	c.mu.Lock()
	if len(c.open) != maxCallers {
		t.Errorf("there are %d callers, want %d", len(c.open), maxCallers)
	}
	c.mu.Unlock()
	c.end()
	if len(c.open) != 0 {
		t.Errorf("%d callers are left", len(c.open))
	}
}

// An id_token that nobody has asked for is believed no more than another.
func TestUnaskedIDToken(t *testing.T) {
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		io.WriteString(w, `{"keys": []}`)
	}))
	defer keys.Close()
	p := Provider{Issuer: keys.URL, TokenEndpoint: keys.URL + "/token", JWKSURI: keys.URL + "/keys"}
	c, err := NewClient(p, Credentials{ID: "fake-client"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := Answer{Response: keystore.TokenResponse{Tokens: []keystore.Token{{ResourceServer: "r", AccessToken: keystore.NewSecret("fake-access")}}}}
	if known, err := c.identify(t.Context(), a, ""); err != nil || known.Response.Account.Subject != "" {
		t.Errorf("without one: %+v, %v", known, err)
	}
	// {"alg": "RS256"}, {"sub": "fake"}, and a signature of one byte
	a.IDToken = keystore.NewSecret("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJmYWtlIn0.AA")
	known, err := c.identify(t.Context(), a, "")
	if !errors.Is(err, ErrAnswer) || !strings.Contains(err.Error(), "no key that can have signed it") || len(known.Response.Tokens) != 0 {
		t.Errorf("%+v, %v, want that nobody has signed it", known, err)
	}
}

// Of the keys that an issuer shows 64 are tried at most, none that is private, and
// none that cannot have signed.
func TestKeysThatAreTried(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	x := `"kty": "OKP", "crv": "Ed25519", "x": "` + b64(public) + `"`
	for key, want := range map[string]int{
		`{` + x + `}`: maxKeys,
		`{` + x + `, "kid": "one", "use": "sig", "alg": "EdDSA"}`:       maxKeys,
		`{` + x + `, "kid": "other"}`:                                   0,
		`{` + x + `, "kid": "one", "use": "enc"}`:                       0,
		`{` + x + `, "kid": "one", "alg": "RS256"}`:                     0,
		`{` + x + `, "kid": "one", "d": "` + b64(private.Seed()) + `"}`: 0,
		`{"kty": "oct", "kid": "one", "k": "AAAA"}`:                     0,
		`{"kty": "OKP", "crv": "Ed25519", "x": "AA"}`:                   0,
	} {
		s := keySet{}
		for range maxKeys + 1 {
			s.all = append(s.all, json.RawMessage(key))
		}
		id := "one"
		if !strings.Contains(key, `"kid":`) { // x may have these letters
			id = ""
		}
		if got := len(s.fitting(id, "EdDSA")); got != want {
			t.Errorf("of %d keys %s there are tried %d, want %d", len(s.all), key, got, want)
		}
	}
}

// FuzzCallback holds what a browser or a person brings to: no panic, no code
// without the state but a bare one, no error that tells a secret, and what is
// accepted means the same when it is written anew.
func FuzzCallback(f *testing.F) {
	a := newAttempt(f, Provider{Issuer: "https://login.example", TokenEndpoint: "https://login.example/token",
		AuthorizationEndpoint: "https://login.example/go"}, LoginOptions{Scopes: []string{"openid"}})
	a.state, a.nonce, a.verifier = callbackSecrets[0], callbackSecrets[1], callbackSecrets[2]
	for _, text := range []string{
		"code=fake-code&state=fake-state-0123456789",
		"code=fake-code&state=fake-state-0123456789&iss=https%3A%2F%2Flogin.example",
		"error=access_denied&state=fake-state-0123456789", "error=fake-&state=fake-state-0123456789", "error=fake-state-0123456789&state=fake-state-0123456789",
		"state=fake-state-0123456789&state=fake-state-0123456789", "code=%zz", "a;b", "", "fake-code", "  fake-code\n",
	} {
		f.Add(text)
		f.Add("http://127.0.0.1:50000/?" + text)
		f.Add("127.0.0.1:50000?" + text + "#x")
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, err := a.read(text)
		q, _ := url.ParseQuery(text)
		checkRead(t, code, err)
		if err == nil && (q.Get("state") != a.state || q.Get("code") != code.Reveal()) {
			t.Fatalf("%q is accepted as %q", text, code.Reveal())
		}
		if again, err2 := a.read(q.Encode()); err == nil && (err2 != nil || !again.Equal(code)) {
			t.Fatalf("written anew it is not the same: %v", err2)
		}
		if code, err = a.pasted(text); errors.Is(err, errStray) {
			t.Fatalf("what was pasted fails with %v", err)
		}
		checkRead(t, code, err)
		if err == nil && strings.Contains(text, "?") && !strings.Contains(text, "state") && !strings.Contains(text, "%") {
			t.Fatalf("%q is accepted", text)
		}
	})
}

func checkRead(t *testing.T, code keystore.Secret, err error) {
	t.Helper()
	if (err == nil) != visibleText(code.Reveal(), maxToken) || err != nil && !code.IsZero() {
		t.Fatalf("there is the code %q, and %v", code.Reveal(), err)
	}
	if err == nil {
		return
	}
	if !asciiText(err.Error(), 300) {
		t.Fatalf("the error is %q", err)
	}
	const echo = 8 // letters in a row, as Error.Code says
	for _, secret := range callbackSecrets {
		for i := 0; i+echo <= len(secret); i++ {
			if strings.Contains(strings.ToLower(err.Error()), secret[i:i+echo]) {
				t.Fatalf("the error is %q", err)
			}
		}
	}
}

// callbackSecrets are state, nonce and verifier of the login of FuzzCallback.
var callbackSecrets = [3]string{"fake-state-0123456789", "fake-nonce-0123456789", "fake-verifier-0123456789"}
