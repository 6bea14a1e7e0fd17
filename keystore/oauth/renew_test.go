package oauth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// serviceLogin stores a token that a service has got for itself.
func serviceLogin(t *testing.T) *renewed {
	t.Helper()
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.ok(w.store.Delete(t.Context(), transfer))
	a, err := newService(t, w.server, &oauth.Options{Clock: w.now}).ClientCredentials(t.Context(), []string{transferAll})
	w.ok(err)
	w.ok(w.store.In("service").Put(t.Context(), a.Response))
	w.store = w.store.In("service")
	w.token = a.Response.Tokens[0]
	return w
}

// keep stores the secret of a client, as a login with it does.
func (w *renewed) keep(store *keystore.Store, issuer, client, secret string) {
	w.Helper()
	w.ok(store.PutConfig(w.Context(), oauth.ClientConfig, map[string]string{"client_id": client, "client_secret": secret, "issuer": issuer}))
}

func TestClientCredentialsAreRenewed(t *testing.T) {
	for name, c := range map[string]struct{ kept, given bool }{ // under ClientConfig, in the options
		"kept":                        {kept: true},
		"given":                       {given: true},
		"given beside another's kept": {kept: false, given: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := serviceLogin(t)
			w.keep(w.store, w.server.URL, "another", "fake-other")
			if c.kept {
				w.keep(w.store, w.server.URL, serviceID, serviceSecret)
			}
			var opts oauth.SourceOptions
			if c.given {
				opts.Client = newService(t, w.server, nil)
			}
			s := w.source(&opts)
			last := w.token.AccessToken.Reveal()
			for range 3 {
				w.pass(time.Hour)
				got := w.get(s)
				if got == last || w.get(s) != got {
					t.Errorf("got %q after %q", got, last)
				}
				last = got
			}
			if c := w.server.Counts(); c.Posts != 5 || c.Denied != 0 {
				t.Errorf("%+v, want 3 requests beside the logins", c)
			}
		})
	}
}

// TestSecretOfAnotherClient, of another issuer, or of another namespace, goes
// nowhere. The Globus CLI writes no issuer: that is Globus's.
func TestSecretOfAnotherClient(t *testing.T) {
	for name, keep := range map[string]func(w *renewed){
		"client":    func(w *renewed) { w.keep(w.store, w.server.URL, "another", serviceSecret) },
		"issuer":    func(w *renewed) { w.keep(w.store, "https://issuer.example", serviceID, serviceSecret) },
		"no issuer": func(w *renewed) { w.keep(w.store, "", serviceID, serviceSecret) },
		"namespace": func(w *renewed) { w.keep(w.store.In("third"), w.server.URL, serviceID, serviceSecret) },
	} {
		t.Run(name, func(t *testing.T) {
			w := serviceLogin(t)
			keep(w)
			w.pass(time.Hour)
			_, err := w.source(nil).Get(t.Context())
			if !errors.Is(err, keystore.ErrInvalid) || w.server.Counts().Posts != 2 {
				t.Errorf("%v after %d requests, want that there is no secret", err, w.server.Counts().Posts-2)
			}
			noLeak(t, err)
		})
	}
}

// TestGivenClientIsOfOneIssuer: the program's client is not that of an issuer of
// another name, whatever ids they have.
func TestGivenClientIsOfOneIssuer(t *testing.T) {
	w := serviceLogin(t)
	other := newService(t, oauthtest.New(t), nil)
	w.pass(time.Hour)
	_, err := w.source(&oauth.SourceOptions{Client: other}).Get(t.Context())
	if !errors.Is(err, keystore.ErrInvalid) || w.server.Counts().Posts != 2 {
		t.Errorf("%v after %d requests, want that there is no secret", err, w.server.Counts().Posts-2)
	}
}

// TestSecretsGoWhereTheRecordSays, whatever the issuer says of itself by now.
func TestSecretsGoWhereTheRecordSays(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	moved := oauthtest.New(t) // where the endpoints are
	moved.SetRotation(oauthtest.Rotating)
	p := moved.Provider()
	p.Issuer = w.server.URL
	c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, &oauth.Options{Clock: w.now})
	w.ok(err)
	token := oneLogin(t, moved, c)
	put(w, w.store, token)
	w.pass(72 * time.Hour)
	if got := w.get(w.source(nil)); got == token.AccessToken.Reveal() {
		t.Error("nothing was renewed")
	}
	w.ok(oauth.Logout(t.Context(), w.store, transfer, nil))
	if c := moved.Counts(); c.Refreshes != 1 || c.Revokes != 2 || c.Other != 0 || c.Strays != 0 {
		t.Errorf("the endpoints of the record: %+v", c)
	}
	if c := w.server.Counts(); c.Posts != 1 || c.Revokes != 0 || c.Other != 0 || c.Strays != 0 {
		t.Errorf("the issuer: %+v, want nothing but the first login", c)
	}
}

// TestImportedLogin has no endpoints: the issuer is asked once, and they are
// recorded.
func TestImportedLogin(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	imported := w.token
	imported.Endpoints, imported.Used, imported.LoggedIn = keystore.Endpoints{}, time.Time{}, time.Time{}
	w.ok(w.store.Delete(t.Context(), transfer))
	put(w, w.store, imported)
	s := w.source(nil)
	for expiry := 1; expiry <= 3; expiry++ {
		w.pass(time.Hour)
		w.get(s)
		got, err := w.store.Get(t.Context(), transfer)
		w.ok(err)
		if got.Endpoints != w.token.Endpoints {
			t.Errorf("recorded are %+v, want %+v", got.Endpoints, w.token.Endpoints)
		}
		w.counted(expiry, 1+expiry)
		if asked := w.server.Counts().Other; asked != 1 {
			t.Errorf("the issuer was asked for its endpoints %d times", asked)
		}
	}
}

// TestFindKnowsGlobus without asking.
func TestFindKnowsGlobus(t *testing.T) {
	for _, environment := range []string{"production", "preview", "sandbox", "integration", "test", "staging"} {
		want := oauth.Globus(environment)
		if got, err := oauth.Find(t.Context(), want.Issuer, nil); err != nil || got != want {
			t.Errorf("%s: %+v, %v", environment, got, err)
		}
	}
}

// TestLogoutRevokesBoth, the refresh token first: without it the access token
// cannot come back.
func TestLogoutRevokesBoth(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	refresh, access := w.token.RefreshToken.Reveal(), w.token.AccessToken.Reveal()
	var states [][2]bool
	w.server.BeforeAnswer(func(oauthtest.Event) {
		if _, err := w.store.Get(t.Context(), transfer); err != nil {
			t.Errorf("it was removed before it was revoked: %v", err)
		}
		states = append(states, [2]bool{w.server.Dead(refresh), w.server.Active(access)})
	})
	w.ok(oauth.Logout(t.Context(), w.store, transfer, nil))
	if len(states) != 2 || states[0] != [2]bool{true, true} || states[1] != [2]bool{true, false} {
		t.Errorf("dead refresh token and active access token after each request: %v", states)
	}
	if _, err := w.store.Get(t.Context(), transfer); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the login is there: %v", err)
	}
	if err := oauth.Logout(t.Context(), w.store, transfer, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("again: %v, want ErrNotFound", err)
	}
}

func TestLogoutThatCannotRevoke(t *testing.T) {
	for name, spoil := range map[string]func(*renewed){
		"server down": func(w *renewed) { w.server.AnswerBadly("503 without a time") },
		"no revocation endpoint": func(w *renewed) {
			w.token.Endpoints.Revocation = ""
			put(w, w.store, w.token)
		},
		"no client": func(w *renewed) {
			w.token.ClientID = ""
			w.ok(w.store.Delete(w.Context(), transfer))
			put(w, w.store, w.token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, oauthtest.Rotating, 3600)
			spoil(w)
			err := oauth.Logout(t.Context(), w.store, transfer, nil)
			if !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
			noLeak(t, err)
			if _, err := w.store.Get(t.Context(), transfer); err != nil {
				t.Errorf("the login is gone: %v", err)
			}
			w.ok(w.store.Logout(t.Context(), transfer, nil))
		})
	}
}

// TestLogoutOfWhatIsOver asks nobody.
func TestLogoutOfWhatIsOver(t *testing.T) {
	w := serviceLogin(t)
	w.pass(time.Hour)
	w.ok(oauth.Logout(t.Context(), w.store, transfer, nil))
	if n := w.server.Counts().Revokes; n != 0 {
		t.Errorf("%d revocations", n)
	}
}
