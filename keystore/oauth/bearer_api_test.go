package oauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// groupsClient is the client of an API with a login that is two minutes old.
func groupsClient(t testing.TB, s *oauthtest.Server, opts oauth.TransportOptions) (*http.Client, keystore.Token) {
	t.Helper()
	store := keystore.New(memory.New(), &keystore.Options{Clock: func() time.Time { return clock.Add(2 * time.Minute) }})
	t.Cleanup(func() { store.Close() })
	response := login(t, s, newClient(t, s, options(s)), groupsAll).Response
	if err := store.Put(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	requests := &oauth.Options{RootCAs: s.Roots(), Clock: func() time.Time { return clock.Add(2 * time.Minute) }}
	return oauth.NewHTTPClient(oauth.NewSource(store, oauthtest.Groups, &oauth.SourceOptions{Requests: requests}), &opts), response.Tokens[0]
}

// ask returns the status and the text of an answer.
func ask(t testing.TB, c *http.Client, method, url string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func bearers(tokens ...string) []string {
	for i, t := range tokens {
		if t != "" {
			tokens[i] = "Bearer " + t
		}
	}
	return tokens
}

// A service refuses a token that has not expired: it is renewed, once, and the
// request is made again. A new token that is refused too is not renewed.
func TestRevokedTokenIsRenewed(t *testing.T) {
	for name, s := range map[string]*oauthtest.Server{"http": oauthtest.New(t), "https": oauthtest.NewTLS(t, oauthtest.GoodTLS)} {
		t.Run(name, func(t *testing.T) {
			api := s.API(t)
			base := &http.Transport{TLSClientConfig: s.ClientTLS()}
			defer base.CloseIdleConnections()
			c, old := groupsClient(t, s, oauth.TransportOptions{Hosts: []string{api.Host()}, Base: base})
			if err := newClient(t, s, options(s)).Revoke(t.Context(), old.AccessToken); err != nil {
				t.Fatal(err)
			}
			if status, text := ask(t, c, "POST", api.URL+oauthtest.MyGroups, strings.NewReader("body")); status != http.StatusOK || text != "body" {
				t.Errorf("the answer is %d, %q", status, text)
			}
			all := api.Authorizations()
			if len(all) != 2 || all[0] != "Bearer "+old.AccessToken.Reveal() || all[1] == all[0] {
				t.Fatalf("the headers are %q", all)
			}
			api.RefuseNext()
			if status, _ := ask(t, c, "GET", api.URL+oauthtest.MyGroups, nil); status != http.StatusUnauthorized {
				t.Errorf("the answer to a new token is %d", status)
			}
			if status, text := ask(t, c, "GET", api.URL+oauthtest.MyGroups, nil); status != http.StatusOK || !strings.Contains(text, "Fake Astronomers") {
				t.Errorf("the last answer is %d, %q", status, text)
			}
			if got := len(api.Authorizations()); got != 4 || s.Counts().Refreshes != 1 {
				t.Errorf("there were %d requests and %d refreshes, want 4 and 1", got, s.Counts().Refreshes)
			}
		})
	}
}

// A body that is gone with the first request makes the next one succeed.
func TestRevokedTokenIsRenewedForTheNextRequest(t *testing.T) {
	s := oauthtest.New(t)
	api := s.API(t)
	c, _ := groupsClient(t, s, oauth.TransportOptions{Hosts: []string{api.Host()}})
	defer c.CloseIdleConnections()
	api.RefuseNext()
	if status, _ := ask(t, c, "POST", api.URL+oauthtest.MyGroups, io.MultiReader(strings.NewReader("body"))); status != http.StatusUnauthorized {
		t.Errorf("the answer is %d", status)
	}
	if status, text := ask(t, c, "POST", api.URL+oauthtest.MyGroups, io.MultiReader(strings.NewReader("body"))); status != http.StatusOK || text != "body" {
		t.Errorf("the next answer is %d, %q", status, text)
	}
	if all := api.Authorizations(); len(all) != 2 || all[0] == all[1] || s.Counts().Refreshes != 1 {
		t.Errorf("the headers are %q, with %d refreshes", all, s.Counts().Refreshes)
	}
}

// A dead login leaves the caller with what the service has said.
func TestDeadLoginLeavesTheAnswer(t *testing.T) {
	s := oauthtest.New(t)
	api := s.API(t)
	c, _ := groupsClient(t, s, oauth.TransportOptions{Hosts: []string{api.Host()}})
	defer c.CloseIdleConnections()
	s.KillLogins()
	api.RefuseNext()
	status, text := ask(t, c, "GET", api.URL+oauthtest.MyGroups, nil)
	if status != http.StatusUnauthorized || !strings.Contains(text, "AUTHENTICATION_ERROR") {
		t.Errorf("the answer is %d, %q", status, text)
	}
	if got := s.Counts(); got.Denied != 1 || len(api.Authorizations()) != 1 {
		t.Errorf("the server counts %+v, the API %d", got, len(api.Authorizations()))
	}
}

// Two APIs: what one of them sends to the other goes there without the token.
func TestRedirectToAnotherAPI(t *testing.T) {
	s := oauthtest.New(t)
	api, other := s.API(t), s.API(t)
	c, token := groupsClient(t, s, oauth.TransportOptions{Hosts: []string{api.Host()}})
	defer c.CloseIdleConnections()
	api.RedirectNext(http.StatusTemporaryRedirect, other.URL+oauthtest.MyGroups)
	if status, _ := ask(t, c, "GET", api.URL+oauthtest.MyGroups, nil); status != http.StatusUnauthorized {
		t.Errorf("the answer is %d", status)
	}
	access := token.AccessToken.Reveal()
	if got, want := api.Authorizations(), bearers(access); !slices.Equal(got, want) {
		t.Errorf("the API has seen %q, want %q", got, want)
	}
	if got, want := other.Authorizations(), bearers(""); !slices.Equal(got, want) {
		t.Errorf("the other has seen %q, want %q", got, want)
	}
	if got := s.Counts().Refreshes; got != 0 {
		t.Errorf("the token was renewed %d times for a host that must not see it", got)
	}
	_, err := c.Get(other.URL + oauthtest.MyGroups)
	if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), other.Host()) || len(other.Authorizations()) != 1 {
		t.Errorf("a request for the other: %v, after %d", err, len(other.Authorizations()))
	}
}

// What an API demands is what the next login asks for.
func TestDemandOfAnAPI(t *testing.T) {
	s := oauthtest.New(t)
	api := s.API(t)
	c, _ := groupsClient(t, s, oauth.TransportOptions{Hosts: []string{api.Host()}})
	defer c.CloseIdleConnections()
	api.DemandNext(`{"code": "AuthorizationRequired", "authorization_parameters": {"session_required_mfa": true, "required_scopes": ["` + groupsAll + `"]}}`)
	status, text := ask(t, c, "GET", api.URL+oauthtest.MyGroups, nil)
	demand, ok := oauth.ParseRequirement([]byte(text))
	if status != http.StatusForbidden || !ok {
		t.Fatalf("the answer is %d, %q", status, text)
	}
	s.RequireSession("session_required_mfa")
	var page sync.WaitGroup
	answer, err := newClient(t, s, options(s)).Login(t.Context(), oauth.LoginOptions{Scopes: demand.Scopes, Session: demand.Session,
		Visit: func(_ context.Context, url string) error {
			page.Go(func() {
				if resp, err := http.Get(url); err == nil {
					resp.Body.Close()
				}
			})
			return nil
		}})
	page.Wait()
	if err != nil || answer.Response.Tokens[0].Scope != groupsAll {
		t.Errorf("the login gives %+v, %v", answer, err)
	}
}
