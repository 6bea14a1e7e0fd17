package main

import (
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// TestWhatEndsALogin is the first of all that is known, and nothing that is not.
func TestWhatEndsALogin(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	globus, _ := oauth.GlobusIssuer("production")
	const day = 24 * time.Hour
	renewable := keystore.Token{Issuer: "https://issuer.example", ClientID: "client", RefreshToken: keystore.NewSecret("fake-refresh"), ExpiresAt: at}
	with := func(change func(*keystore.Token)) keystore.Token {
		token := renewable
		change(&token)
		return token
	}
	for name, c := range map[string]struct {
		token   keystore.Token
		session time.Duration
		until   time.Time
		reason  string
		refused time.Time
	}{
		"renewable":         {renewable, 0, time.Time{}, "", time.Time{}},
		"no refresh token":  {with(func(t *keystore.Token) { t.RefreshToken = keystore.Secret{} }), 0, at, "cannot be renewed", time.Time{}},
		"whose is not said": {with(func(t *keystore.Token) { t.ClientID = "" }), 0, at, "cannot be renewed", time.Time{}},
		"nor its end": {with(func(t *keystore.Token) { t.ClientID, t.ExpiresAt = "", time.Time{} }), 0,
			time.Unix(0, 0), "cannot be renewed", time.Time{}},
		"of Globus":                   {with(func(t *keystore.Token) { t.Issuer, t.Used = globus, at }), 0, at.Add(180 * day), "not used for 180 days", time.Time{}},
		"of Globus, last use unknown": {with(func(t *keystore.Token) { t.Issuer = globus }), 0, time.Time{}, "", time.Time{}},
		"a client of Globus": {with(func(t *keystore.Token) { // its secret is not forgotten
			t.Issuer, t.Used, t.RefreshToken, t.Grant = globus, at, keystore.Secret{}, keystore.GrantClientCredentials
		}), 0, time.Time{}, "", time.Time{}},
		"a policy":                {with(func(t *keystore.Token) { t.LoggedIn = at }), 11 * time.Hour, at.Add(11 * time.Hour), "session policy", time.Time{}},
		"a policy, login unknown": {renewable, 11 * time.Hour, time.Time{}, "", time.Time{}},
		"the policy first": {with(func(t *keystore.Token) { t.Issuer, t.Used, t.LoggedIn = globus, at, at }), 11 * time.Hour,
			at.Add(11 * time.Hour), "session policy", time.Time{}},
		"the idle limit first": {with(func(t *keystore.Token) { t.Issuer, t.Used, t.LoggedIn = globus, at, at }), 365 * day,
			at.Add(180 * day), "not used for 180 days", time.Time{}},
		"refused": {with(func(t *keystore.Token) {}), 0, at, "refused its refresh token", at.Add(-time.Hour)},
	} {
		until, reason := end(c.token, c.session, c.refused)
		if !until.Equal(c.until) || !strings.Contains(reason, c.reason) || (reason == "") != (c.reason == "") {
			t.Errorf("%s: %v, %q, want %v, %q", name, until, reason, c.until, c.reason)
		}
	}
}
