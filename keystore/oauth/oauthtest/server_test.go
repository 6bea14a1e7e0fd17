package oauthtest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	client      = "00000000-fake-4000-8000-00000000c11e"
	redirectURI = "http://127.0.0.1:1/"
	transferAll = "urn:globus:auth:scope:transfer.api.globus.org:all"
	collection  = "https://auth.globus.org/scopes/ddb59aef-6d04-11e5-ba46-22000b92c6ec/https"
)

func post(t *testing.T, s *Server, form url.Values) (int, map[string]any) {
	t.Helper()
	form.Set("client_id", client)
	resp, err := http.PostForm(s.Provider().TokenEndpoint, form)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	var doc map[string]any
	json.NewDecoder(resp.Body).Decode(&doc)
	return resp.StatusCode, doc
}

func logIn(t *testing.T, s *Server, scopes ...string) map[string]any {
	t.Helper()
	code := s.Code(client, redirectURI, "v", scopes...)
	status, doc := post(t, s, url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"code_verifier": {"v"}, "redirect_uri": {redirectURI}})
	if status != http.StatusOK {
		t.Fatalf("the login answers %d, %v", status, doc)
	}
	return doc
}

func renew(t *testing.T, s *Server, token any) (int, map[string]any) {
	t.Helper()
	return post(t, s, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.(string)}})
}

func TestTokensAreSortedByService(t *testing.T) {
	doc := logIn(t, New(t), "openid", transferAll, collection)
	servers := []string{doc["resource_server"].(string)}
	for _, other := range doc["other_tokens"].([]any) {
		servers = append(servers, other.(map[string]any)["resource_server"].(string))
	}
	want := []string{"auth.globus.org", "transfer.api.globus.org", "ddb59aef-6d04-11e5-ba46-22000b92c6ec"}
	if !slices.Equal(servers, want) || doc["id_token"] == nil {
		t.Errorf("the answer is %v", doc)
	}
}

// Of many who spend one refresh token, one wins and the family is revoked.
func TestReuseEndsTheFamily(t *testing.T) {
	s := New(t)
	s.SetRotation(Rotating)
	spent := logIn(t, s, transferAll)["refresh_token"]
	other := logIn(t, s, transferAll)["refresh_token"]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { renew(t, s, spent) })
	}
	wg.Wait()
	c := s.Counts()
	if c.Refreshes != 1 || c.Reuse != 1 || c.Denied != 15 || c.Posts != 18 {
		t.Errorf("the counters are %+v", c)
	}
	if status, _ := renew(t, s, other); status != http.StatusOK {
		t.Errorf("another family answers %d", status)
	}
	if status, doc := renew(t, s, spent); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		t.Errorf("the dead family answers %d, %v", status, doc)
	}
}

func TestRotations(t *testing.T) {
	s := New(t)
	token := logIn(t, s, transferAll)["refresh_token"]
	if _, doc := renew(t, s, token); doc["refresh_token"] != token {
		t.Error("static: another refresh token")
	}
	s.SetRotation(Omitted)
	if _, doc := renew(t, s, token); doc["refresh_token"] != nil {
		t.Error("omitted: a refresh token")
	}
	s.KillLogins()
	if status, _ := renew(t, s, token); status != http.StatusBadRequest || !s.Dead(token.(string)) {
		t.Error("a killed login lives on")
	}
}

func TestTokensExpire(t *testing.T) {
	s := New(t)
	if token := logIn(t, s, transferAll)["access_token"].(string); !s.Active(token) {
		t.Error("a new token is not active")
	}
	s.SetLifetime(-1)
	if token := logIn(t, s, transferAll)["access_token"].(string); s.Active(token) {
		t.Error("an expired token is active")
	}
}

func TestAuthorizeSendsTheBrowserBack(t *testing.T) {
	s := New(t)
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirectURI}, "state": {"st"},
		"scope": {transferAll}, "code_challenge_method": {"S256"}, "code_challenge": {"x"}}
	resp, err := c.Get(s.Provider().AuthorizationEndpoint + "?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("state") != "st" || back.Query().Get("iss") != s.URL || back.Query().Get("code") == "" {
		t.Errorf("the browser is sent to %v, %v", back, err)
	}
}

func TestAuthorizeAsTold(t *testing.T) {
	s := New(t)
	s.RequireSession("session_required_mfa")
	ask := url.Values{"redirect_uri": {redirectURI}, "state": {"st"}, "response_type": {"code"}}
	if back := s.authorize(ask); back.Get("error") != "interaction_required" || back.Has("code") {
		t.Errorf("without what is demanded: %v", back)
	}
	ask.Set("session_required_mfa", "True")
	if back := s.authorize(ask); !back.Has("code") || s.LastAuthorize().Get("session_required_mfa") != "True" {
		t.Errorf("with it: %v", back)
	}
	s.SetCallback(Deny)
	if back := s.authorize(ask); back.Get("error") != "access_denied" || back.Has("code") || back.Get("state") != "st" {
		t.Errorf("denied: %v", back)
	}
}

func TestCodePageShowsTheCode(t *testing.T) {
	s := New(t)
	resp, err := http.Get(s.URL + "/v2/web/auth-code?code=" + url.QueryEscape("fake-<code>"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if page, _ := io.ReadAll(resp.Body); !strings.Contains(string(page), ">fake-&lt;code&gt;<") {
		t.Errorf("the page is %s", page)
	}
}

func TestIDTokenIsOfTheUser(t *testing.T) {
	s := New(t)
	s.SetUser("fake-someone", "fake-name")
	s.SetClock(func() time.Time { return time.Unix(1_900_000_000, 0) })
	token, _ := logIn(t, s, "openid")["id_token"].(string)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the id_token is %q", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(text, &claims) != nil {
		t.Fatalf("its claims are %s", text)
	}
	if claims["sub"] != "fake-someone" || claims["preferred_username"] != "fake-name" || claims["iss"] != s.URL ||
		claims["aud"] != client || claims["iat"] != 1.9e9 || claims["nonce"] != nil {
		t.Errorf("its claims are %s", text)
	}
}

func TestCountsOverHTTP(t *testing.T) {
	s := New(t)
	logIn(t, s, transferAll)
	resp, err := http.Get(s.URL + CountsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	var c Counts
	if json.Unmarshal(body, &c) != nil || c != s.Counts() || c.Exchanges != 1 {
		t.Errorf("the counters are %s", body)
	}
}

func TestBadAnswersHaveNamesOfTheirOwn(t *testing.T) {
	for kind, names := range map[string][]string{"answers": BadAnswers(), "id_tokens": BadIDTokens()} {
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("a name stands twice in %q", names)
		}
		t.Logf("%d bad %s", len(names), kind)
	}
}
