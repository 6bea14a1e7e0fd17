package oauth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// silence is a transport that must not be used.
type silence struct{ t *testing.T }

func (s silence) RoundTrip(r *http.Request) (*http.Response, error) {
	s.t.Errorf("a request is sent to %s", r.URL.Host)
	return nil, errors.New("nobody is to be asked")
}

// TestBehindAProcessThatIsStopped: a good token is given at once, one that is about
// to end after a moment, and none is ErrBusy after 30 seconds. Nobody asks
// the issuer in its place, and another namespace's login is no affair of its.
func TestBehindAProcessThatIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := memory.New()
		store := keystore.New(adapter, nil)
		began := time.Now()
		login := keystore.Token{ResourceServer: "rs", AccessToken: keystore.NewSecret("fake-access"), RefreshToken: keystore.NewSecret("fake-refresh"),
			Issuer: "https://issuer.example", ClientID: clientID, Endpoints: keystore.Endpoints{Token: "https://issuer.example/token"},
			Used: began, ExpiresAt: began.Add(time.Hour)}
		for _, ns := range []string{"", "another"} {
			if err := store.In(ns).Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{login}}); err != nil {
				t.Fatal(err)
			}
		}
		key := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindToken, Name: "rs"}
		if _, err := adapter.LockCredential(t.Context(), key); err != nil { // by one who never goes on
			t.Fatal(err)
		}
		requests := &oauth.SourceOptions{Requests: oauth.Through(silence{t})}
		source := oauth.NewSource(store, "rs", requests)
		get := func(wait time.Duration, want error) {
			t.Helper()
			asked := time.Now()
			got, err := source.Get(t.Context())
			if !errors.Is(err, want) || err == nil && !got.AccessToken.Equal(login.AccessToken) || time.Since(asked) != wait {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(asked), want, wait)
			}
		}
		get(0, nil)
		time.Sleep(time.Hour - 45*time.Second)
		get(3*time.Second, nil)
		get(0, nil) // not again at once
		time.Sleep(42 * time.Second)
		get(30*time.Second, keystore.ErrBusy)
		asked := time.Now()
		_, err := oauth.NewSource(store.In("another"), "rs", &oauth.SourceOptions{Requests: oauth.Through(gone{})}).Get(t.Context())
		if !errors.Is(err, keystore.ErrUnavailable) || time.Since(asked) != 0 {
			t.Errorf("another namespace: %v after %v, want the issuer's error at once", err, time.Since(asked))
		}
	})
}

// gone is a transport that reaches nobody.
type gone struct{}

func (gone) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody is there")
}

// TestPersonHasTenMinutes, in both flows, unless told otherwise.
func TestPersonHasTenMinutes(t *testing.T) {
	p := oauth.Provider{Issuer: "https://issuer.example", TokenEndpoint: "https://issuer.example/token",
		AuthorizationEndpoint: "https://issuer.example/authorize"}
	synctest.Test(t, func(t *testing.T) {
		c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, oauth.Through(silence{t}))
		if err != nil {
			t.Fatal(err)
		}
		for wait, want := range map[time.Duration]time.Duration{0: 10 * time.Minute, -1: 10 * time.Minute, time.Hour: time.Hour} {
			opts := oauth.LoginOptions{Scopes: []string{"openid"}, Wait: wait, Visit: nobody,
				Code: func(ctx context.Context) (keystore.Secret, error) { <-ctx.Done(); return keystore.Secret{}, ctx.Err() }}
			began := time.Now()
			if _, err := c.Login(t.Context(), opts); !errors.Is(err, keystore.ErrDeclined) || time.Since(began) != want {
				t.Errorf("paste: %v after %v, want ErrDeclined after %v", err, time.Since(began), want)
			}
			// A listener is waited for by the kernel, and no time passes here.
			opts.Code = nil
			opts.Visit = func(ctx context.Context, _ string) error {
				if end, ok := ctx.Deadline(); !ok || time.Until(end) != want {
					t.Errorf("loopback: it ends after %v, want %v", time.Until(end), want)
				}
				return errHere
			}
			if _, err := c.Login(t.Context(), opts); !errors.Is(err, errHere) {
				t.Errorf("loopback: %v", err)
			}
		}
	})
}
