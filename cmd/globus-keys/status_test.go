package main

import (
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestIdleNote is of refresh tokens: what a client renews with its secret is not
// forgotten.
func TestIdleNote(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	refresh := keystore.NewSecret("fake-refresh")
	for name, c := range map[string]struct {
		token keystore.Token
		idle  time.Duration
		note  string
	}{
		"used lately":   {keystore.Token{RefreshToken: refresh}, 24 * time.Hour, ""},
		"unused":        {keystore.Token{RefreshToken: refresh}, 170 * 24 * time.Hour, "the issuer forgets it in 10 days"},
		"forgotten":     {keystore.Token{RefreshToken: refresh}, 181 * 24 * time.Hour, "may have forgotten it"},
		"of the client": {keystore.Token{Grant: keystore.GrantClientCredentials}, 170 * 24 * time.Hour, ""},
	} {
		c.token.Issuer, c.token.ClientID = globusAuth(), "fake-client"
		c.token.Used, c.token.ExpiresAt = now.Add(-c.idle), now.Add(time.Hour)
		if got := describe(loginStatus{}, c.token, now); !strings.Contains(got.Note, c.note) || c.note == "" && got.Note != "" || (got.UsedAt != 0) == c.token.RefreshToken.IsZero() {
			t.Errorf("%s: %+v, want the note %q", name, got, c.note)
		}
	}
}
