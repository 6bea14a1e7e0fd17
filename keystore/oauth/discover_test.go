package oauth

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// metadata answers every request with doc, and keeps the URLs.
func metadata(doc string, urls *[]string) *Options {
	return &Options{transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		*urls = append(*urls, r.Method+" "+r.URL.String())
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(doc)),
			Header: http.Header{"Content-Type": {"application/json"}}}, nil
	})}
}

func TestDiscoverAsksNobodyForABadIssuer(t *testing.T) {
	for _, issuer := range []string{"", "login.example", "http://login.example", "https://user@login.example",
		"https://login.example/?x", "https://login.example#x"} {
		var urls []string
		_, err := Discover(t.Context(), issuer, metadata("{}", &urls))
		if !errors.Is(err, keystore.ErrInvalid) || urls != nil {
			t.Errorf("%q: %v, asked %q", issuer, err, urls)
		}
	}
}

func TestDiscoveredEndpointsAreChecked(t *testing.T) {
	const issuer = "https://login.example/realm/"
	for doc, ok := range map[string]bool{
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://tokens.example/t"}`:                                                           true,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://tokens.example/t", "unknown": [1]}`:                                           true,
		`{"issuer": "https://login.example/realm", "token_endpoint": "https://tokens.example/t"}`:                                                            false,
		`{"issuer": "https://login.example/realm/"}`:                                                                                                         false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "http://tokens.example/t"}`:                                                            false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "http://localhost/t"}`:                                                                 false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://u:p@tokens.example/t"}`:                                                       false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://tokens.example/t", "revocation_endpoint": "http://login.example"}`:            false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://tokens.example/t", "jwks_uri": "ftp://login.example"}`:                        false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://a.example", "token_endpoint": "https://b.example"}`:                           false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://a.example", "Token_Endpoint": "https://b.example"}`:                           false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": ["https://a.example"]}`:                                                                false,
		`{"issuer": "https://login.example/realm/", "token_endpoint": "https://tokens.example/t", "authorization_response_iss_parameter_supported": "true"}`: false,
		`[]`: false,
		``:   false,
	} {
		var urls []string
		p, err := Discover(t.Context(), issuer, metadata(doc, &urls))
		if (err == nil) != ok || ok && p.TokenEndpoint != "https://tokens.example/t" {
			t.Errorf("%s: %+v, %v", doc, p, err)
		}
		if !ok && !errors.Is(err, ErrAnswer) || !ok && p != (Provider{}) {
			t.Errorf("%s: %+v, %v", doc, p, err)
		}
		if len(urls) != 1 || urls[0] != "GET https://login.example/realm/.well-known/openid-configuration" {
			t.Errorf("asked %q", urls)
		}
	}
}

func TestIssuerThatNamesItself(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "null": false} {
		var urls []string
		doc := `{"issuer": "https://login.example", "token_endpoint": "https://login.example/t", "authorization_response_iss_parameter_supported": ` + value + `}`
		if p, err := Discover(t.Context(), "https://login.example", metadata(doc, &urls)); err != nil || p.NamesItself != want {
			t.Errorf("%s: %v, %v", value, p.NamesItself, err)
		}
	}
}

func TestMetadataSaysThatItIsJSON(t *testing.T) {
	var urls []string
	opts := metadata(`{"issuer": "https://login.example", "token_endpoint": "https://login.example/t"}`, &urls)
	if _, err := Discover(t.Context(), "https://login.example", opts); err != nil {
		t.Fatal(err)
	}
	inner := opts.transport
	opts.transport = transportFunc(func(r *http.Request) (*http.Response, error) {
		resp, err := inner.RoundTrip(r)
		resp.Header.Set("Content-Type", "text/html")
		return resp, err
	})
	if _, err := Discover(t.Context(), "https://login.example", opts); !errors.Is(err, ErrAnswer) {
		t.Errorf("HTML: %v", err)
	}
}
