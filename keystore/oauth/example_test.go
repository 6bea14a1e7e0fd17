package oauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// A program of ten lines: it calls an API with the login that is stored, whose
// access token has expired, and never thinks of tokens. Here the store is in
// memory; local.Open gives the user's own.
func ExampleNewSource() {
	issuer, api := fakeIssuer(), fakeAPI()
	defer issuer.Close()
	defer api.Close()
	ctx := context.Background()
	store := keystore.New(memory.New(), nil)
	if err := store.Put(ctx, expiredResponse(issuer.URL)); err != nil {
		fmt.Println(err)
		return
	}

	source := oauth.NewSource(store, "api.example", &oauth.SourceOptions{
		OnRefresh: func(_ context.Context, r oauth.Refreshed) { fmt.Println("renewed:", r.Token.ResourceServer) },
	})
	client := oauth2.NewClient(ctx, source)
	for range 2 {
		response, err := client.Get(api.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Println("the API says:", string(body))
	}
	// Output:
	// renewed: api.example
	// the API says: hello, Bearer fake-access-2
	// the API says: hello, Bearer fake-access-2
}

// A login that only a new one can replace is an error that says so.
func ExampleSource_Get() {
	store := keystore.New(memory.New(), nil)
	response := expiredResponse("https://issuer.example")
	response.Tokens[0].RefreshToken = keystore.Secret{}
	ctx := context.Background()
	if err := store.Put(ctx, response); err != nil {
		fmt.Println(err)
		return
	}
	_, err := oauth.NewSource(store, "api.example", nil).Get(ctx)
	fmt.Println(err)
	// Output:
	// token "api.example" in namespace "DEFAULT": login required: the access token has expired, and there is no refresh token
}

func expiredResponse(issuer string) keystore.TokenResponse {
	return keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "api.example", Scope: "read", TokenType: "Bearer",
		AccessToken: keystore.NewSecret("fake-access-1"), RefreshToken: keystore.NewSecret("fake-refresh-1"),
		ExpiresAt: time.Now().Add(-time.Hour), Issuer: issuer, ClientID: "fake-client",
		Endpoints: keystore.Endpoints{Token: issuer + "/token"},
	}}}
}

// fakeIssuer takes the first refresh token once.
func fakeIssuer() *httptest.Server {
	spent := false
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if spent || r.FormValue("refresh_token") != "fake-refresh-1" {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error": "invalid_grant"}`)
			return
		}
		spent = true
		io.WriteString(w, `{"access_token": "fake-access-2", "refresh_token": "fake-refresh-2", "token_type": "Bearer", "expires_in": 3600, "scope": "read"}`)
	}))
}

func fakeAPI() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello, ", r.Header.Get("Authorization"))
	}))
}
