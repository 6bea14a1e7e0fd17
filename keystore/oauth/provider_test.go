package oauth

import (
	"errors"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestProviderURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://auth.globus.org":                     true,
		"https://login.example:8443/realm/x":          true,
		"https://192.0.2.1":                           true,
		"https://[2001:db8::1]:443/":                  true,
		"HTTPS://login.example":                       true,
		"http://localhost:8080":                       true,
		"http://127.0.0.1":                            true,
		"http://127.9.8.7:1/x":                        true,
		"http://[::1]:80":                             true,
		"":                                            false,
		"auth.globus.org":                             false,
		"//auth.globus.org":                           false,
		"https:":                                      false,
		"https:auth.globus.org":                       false,
		"https:///token":                              false,
		"https://:443/":                               false,
		"https://login.example:/":                     false,
		"https://login.example:x/":                    false,
		"ftp://login.example":                         false,
		"file:///etc/passwd":                          false,
		"http://login.example":                        false,
		"http://localhost.":                           false,
		"http://LOCALHOST":                            false,
		"http://localhost.example":                    false,
		"http://127.0.0.1.example":                    false,
		"http://127.1":                                false,
		"http://2130706433":                           false,
		"http://0.0.0.0":                              false,
		"http://128.0.0.1":                            false,
		"http://[::]":                                 false,
		"http://[::ffff:127.0.0.1]":                   false,
		"http://[::1%25lo]":                           false,
		"https://[fe80::1%25eth0]":                    false,
		"https://fake-user@login.example":             false,
		"https://fake-user:fake-secret@login.example": false,
		"https://@login.example":                      false,
		"https://login.example#fake-fragment":         false,
		"https://login.example#":                      false,
		"https://login.example\\@evil.example":        false,
		"https://login.example/\r\nX: y":              false,
		"https://log in.example":                      false,
		"https://login%2eexample":                     false,
		"https://l\u00f6gin.example":                  false,
		"https://\uff4cocalhost":                      false,
		"https://login\u3002example":                  false,
		"https://login.example/" + strings.Repeat("a", maxURL): false,
	} {
		for field, p := range map[string]Provider{
			"issuer":                 {Issuer: url, TokenEndpoint: "https://login.example"},
			"token endpoint":         {Issuer: "http://localhost", TokenEndpoint: url},
			"authorization endpoint": {Issuer: "http://localhost", TokenEndpoint: "http://localhost", AuthorizationEndpoint: url},
			"revocation endpoint":    {Issuer: "http://localhost", TokenEndpoint: "http://localhost", RevocationEndpoint: url},
			"JWKS":                   {Issuer: "http://localhost", TokenEndpoint: "http://localhost", JWKSURI: url},
		} {
			required := field == "issuer" || field == "token endpoint"
			err := p.Check()
			if want := ok || url == "" && !required; (err == nil) != want {
				t.Errorf("%s %q: %v", field, url, err)
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), "the "+field+"'s URL") ||
				strings.Contains(err.Error(), "fake") || strings.Contains(err.Error(), "example") {
				t.Errorf("%s %q: the error reads %q", field, url, err)
			}
			if _, err := NewClient(p, Credentials{ID: "c"}, nil); err == nil {
				t.Errorf("%s %q: there is a client for it", field, url)
			}
		}
	}
}

func TestProviderIsOfOnePiece(t *testing.T) {
	good := Globus("production")
	for name, change := range map[string]func(*Provider){
		"query in the issuer":         func(p *Provider) { p.Issuer += "?x=y" },
		"empty query in the issuer":   func(p *Provider) { p.Issuer += "?" },
		"http beside https":           func(p *Provider) { p.RevocationEndpoint = "http://localhost/revoke" },
		"http token endpoint":         func(p *Provider) { p.TokenEndpoint = "http://127.0.0.1/token" },
		"http authorization endpoint": func(p *Provider) { p.AuthorizationEndpoint = "http://127.0.0.1/" },
	} {
		p := good
		if change(&p); p.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	good.TokenEndpoint += "?tenant=x" // RFC 6749 section 3.2 allows a query here
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestGlobusEnvironments(t *testing.T) {
	for _, environment := range globusEnvironments {
		p := Globus(environment)
		if err := p.Check(); err != nil || !isGlobus(p.Issuer) {
			t.Errorf("%s: %+v, %v", environment, p, err)
		}
	}
	want := Provider{
		Issuer:                "https://auth.preview.globus.org",
		AuthorizationEndpoint: "https://auth.preview.globus.org/v2/oauth2/authorize",
		TokenEndpoint:         "https://auth.preview.globus.org/v2/oauth2/token",
		RevocationEndpoint:    "https://auth.preview.globus.org/v2/oauth2/token/revoke",
		JWKSURI:               "https://auth.preview.globus.org/jwk.json",
	}
	if got := Globus("preview"); got != want {
		t.Errorf("preview is %+v", got)
	}
	for _, environment := range []string{"", "Production", "x.example/"} {
		if p := Globus(environment); p != (Provider{}) || p.Check() == nil || isGlobus(p.Issuer) {
			t.Errorf("%q is %+v", environment, p)
		}
	}
}

func TestCredentials(t *testing.T) {
	for _, c := range []Credentials{
		{},
		{ID: "a b"},
		{ID: "a\r\nX: y"},
		{ID: strings.Repeat("a", maxClientText+1)},
		{ID: "a", Secret: keystore.NewSecret(strings.Repeat("b", maxClientText+1))},
	} {
		if _, err := NewClient(Globus("production"), c, nil); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%q: %v", c.ID, err)
		}
	}
}
