package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

func TestLoginRefreshLogout(t *testing.T) {
	for name, k := range map[string]kind{
		"as it comes": {},
		"with JWTs":   {rewritten: true, jwt: true, claims: true},
	} {
		t.Run(name, func(t *testing.T) { loginRefreshLogout(t, newServer(t, k)) })
	}
}

func loginRefreshLogout(t *testing.T, s *server) {
	u := newUser(t)
	rs := s.resourceServer()

	u.login(t, plain, s.login()...)
	first := s.granted(t, 1)[0]
	old := u.run(t, 0, "token", rs)
	if !s.accepts(t, old) {
		t.Error("the server does not accept the access token of the login")
	}
	u.run(t, 0, "preflight", "--for", "1h")
	who := u.run(t, 0, "whoami")
	if !strings.Contains(who, subject) || strings.Contains(who, username) != s.kind.claims {
		t.Errorf("whoami says %s", who)
	}

	s.granted(t, 1) // a token that is good for a while is not renewed
	u.run(t, 0, "refresh", rs)
	second := s.granted(t, 2)[1]
	if second.spent != first.refresh || s.refreshable(t, first.refresh) || !s.refreshable(t, second.refresh) {
		t.Error("the refresh token was not rotated")
	}
	renewed := u.run(t, 0, "token", rs)
	if renewed == old || s.accepts(t, old) || !s.accepts(t, renewed) {
		t.Error("the refresh did not bring a new access token")
	}

	u.run(t, 0, "logout", rs)
	if s.refreshable(t, second.refresh) || s.accepts(t, renewed) {
		t.Error("the tokens are still good after the logout")
	}
	if n := s.posted("/revoke"); n != 2 {
		t.Errorf("%d revocations, not one for each token", n)
	}
	u.run(t, 3, "token", rs)
	s.granted(t, 2)
}

// The browser is a real one, with its requests for an icon, connections that it
// opens in advance, and what else no test would think of.
func TestLoginInChromium(t *testing.T) {
	testenv.Need(t, chromiumProgram)
	s, u := newServer(t, kind{}), newUser(t)
	page := u.login(t, chromium, s.login()...)
	t.Logf("the result page says: %s", page)
	if !strings.Contains(page, "login was received") {
		t.Error("the result page is another one")
	}
	s.granted(t, 1)
	if !s.accepts(t, u.run(t, 0, "token", s.resourceServer())) {
		t.Error("the server does not accept the access token of the login")
	}
}

// A login that the server has ended is named, and a new one takes its place.
func TestDeadLogin(t *testing.T) {
	s, u := newServer(t, kind{}), newUser(t)
	u.login(t, plain, s.login()...)
	if err := s.RevokeToken(t.Context(), s.granted(t, 1)[0].refresh, subject, clientID); err != nil {
		t.Fatal(err)
	}
	u.run(t, 4, "refresh", s.resourceServer())
	s.granted(t, 1)
	u.login(t, plain, "login") // as the hint says: issuer, client and scopes are known
	u.run(t, 0, "refresh", s.resourceServer())
	s.granted(t, 3)
}

// Processes that find the access token expired spend the refresh token once, also
// if that takes longer than it takes them to come.
func TestOneRefreshForAll(t *testing.T) {
	s, u := newServer(t, kind{hard: true}), newUser(t)
	u.login(t, plain, s.login()...)
	time.Sleep(time.Until(s.granted(t, 1)[0].expiry)) // the command has no other clock
	var all []*process
	for range 4 {
		all = append(all, u.start(t, "token", s.resourceServer()))
	}
	tokens := make(map[string]bool)
	for _, p := range all {
		tokens[p.ends(t, 0)] = true
	}
	if len(tokens) != 1 {
		t.Errorf("the processes have got %d access tokens", len(tokens))
	}
	s.granted(t, 2)
	if n := s.posted("/oauth/token"); n != 2 {
		t.Errorf("%d requests came to the token endpoint, not one for the login and one for all", n)
	}
}
