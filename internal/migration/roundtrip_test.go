package migration

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// fill puts into a store what is hard to carry.
func fill(t *testing.T, store *keystore.Store) {
	t.Helper()
	for _, namespace := range []string{"DEFAULT", "Ümlaut e\u0301 é 漢字 🜛", strings.Repeat("n", keystore.MaxName), "'; DROP TABLE x -- %_*?"} {
		s := store.In(namespace)
		account := keystore.Account{Subject: "subject of " + namespace, Issuer: "https://auth.example", ClientID: "client", Username: "me@\u202eexample"}
		var tokens []keystore.Token
		for _, name := range []string{"ünicode \u2028 <&>", strings.Repeat("s", keystore.MaxName), "a'b\"c\\d"} {
			tokens = append(tokens, keystore.Token{
				ResourceServer: name, Scope: "openid urn:x", TokenType: "bearer", IdentityID: account.Subject,
				AccessToken: keystore.NewSecret("access " + name), RefreshToken: keystore.NewSecret("refresh \u00e9\u2028 " + name),
				ExpiresAt: time.Unix(1e9, 0), LoggedIn: time.Unix(1, 0), Used: time.Unix(2, 0),
				Endpoints: keystore.Endpoints{Token: "https://auth.example/t", Revocation: "https://auth.example/r"},
				Extra: map[string]keystore.Secret{
					"id_token": keystore.NewSecret(`"ey.x.y"`), "ünknown": keystore.NewSecret(`{"a":[1e400,-0.0,null,"\ud83d\ude00"]}`),
					"long": keystore.NewSecret(`"` + strings.Repeat("x", 20_000) + `"`),
				},
			})
		}
		err := errors.Join(
			s.Put(t.Context(), keystore.TokenResponse{Tokens: tokens, Account: account}),
			s.PutConfig(t.Context(), "ünicode", map[string]any{"a": nil, "<&>": "\u2028", "n": 1e300}),
			s.PutConfig(t.Context(), "empty", ""),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoundTrip from file to keychain to database to file: every payload is the same
// bytes, and each store is empty when the next one has it.
func TestRoundTrip(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, last := newDir(t), newDir(t)
	first := file.mustOpen(t, dir)
	fill(t, first)
	want := mustHold(t, first)
	from := first
	for _, step := range []struct {
		to  sort
		dir string
	}{{items, dir}, {database, dir}, {file, last}} {
		if step.to == database {
			needDatabase(t)
		}
		to := step.to.mustOpen(t, step.dir)
		err := migrate(t.Context(), from, to, &keystore.MigrateOptions{DeleteSource: true})
		if err != nil {
			t.Fatalf("to %s: %v", step.to, err)
		}
		if !mustHold(t, to).equal(want) || len(mustHold(t, from)) > 0 {
			t.Fatalf("to %s: something has changed, or was left", step.to)
		}
		from = to
	}
}
