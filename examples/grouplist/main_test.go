package main

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

const listed = `00000000-fake-4000-8000-0000000000a1 "Fake Astronomers"
00000000-fake-4000-8000-0000000000b2 "Fake Biologists"
`

// The first run logs in, the next ones do not, until the login is over.
func TestSecondRunNeedsNoLogin(t *testing.T) {
	issuer := oauthtest.New(t)
	api := issuer.API(t)
	var pages sync.WaitGroup
	defer pages.Wait()
	logins := 0
	l := lister{
		store:    storeIn(t.TempDir()),
		provider: issuer.Provider(),
		api:      api.URL,
		hosts:    []string{api.Host()},
		visit: func(_ context.Context, url string) error {
			logins++
			pages.Go(func() {
				if resp, err := http.Get(url); err == nil { // the browser
					resp.Body.Close()
				}
			})
			return nil
		},
	}
	for run, want := range []int{1, 1, 1, 2} {
		switch run {
		case 2:
			expire(t, l.store) // renewed without anybody
		case 3:
			expire(t, l.store)
			issuer.KillLogins()
		}
		var out bytes.Buffer
		if err := l.list(t.Context(), &out); err != nil || out.String() != listed {
			t.Fatalf("run %d: %v, %q", run, err, &out)
		}
		if logins != want {
			t.Errorf("run %d: %d logins so far, want %d", run, logins, want)
		}
	}
	counts := issuer.Counts()
	if counts.Exchanges != 2 || counts.Refreshes != 1 || counts.Denied != 1 || len(api.Authorizations()) != 4 {
		t.Errorf("the issuer counts %+v, the API %d requests", counts, len(api.Authorizations()))
	}
}

func storeIn(dir string) local.Options {
	return local.Options{
		Namespace: "grouplist",
		Store:     "file:" + filepath.Join(dir, "tokens.json"),
		Key:       keystore.SlotPassphrase,
		Prompt: func(context.Context, local.Question) (keystore.Secret, error) {
			return keystore.NewSecret("fake-passphrase"), nil
		},
		WorkFactor: 10,
	}
}

// expire makes the access token one that was over an hour ago.
func expire(t *testing.T, opts local.Options) {
	t.Helper()
	store, err := local.Open(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	token, err := store.Get(t.Context(), groups)
	if err != nil {
		t.Fatal(err)
	}
	token.ExpiresAt = time.Now().Add(-time.Hour)
	if err := store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{token}}); err != nil {
		t.Fatal(err)
	}
}
