package oauth

import (
	"errors"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		"refresh at auth.globus.org: login required: HTTP 400, invalid_grant": {
			Op: "refresh", Host: "auth.globus.org", Status: 400, Code: "invalid_grant", Err: keystore.ErrLoginRequired},
		"revoke at h:1: unavailable: it took too long": {
			Op: "revoke", Host: "h:1", Detail: "it took too long", Err: keystore.ErrUnavailable},
		"exchange at h: the server refused the request": {Op: "exchange", Host: "h", Err: ErrRefused},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !errors.Is(e, e.Err) {
			t.Errorf("%q wraps nothing", want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"120":                           2 * time.Minute,
		"86400":                         24 * time.Hour,
		"86401":                         24 * time.Hour,
		"18446744073709551615":          24 * time.Hour,
		"18446744073709551616":          24 * time.Hour,
		"-1":                            0,
		"1.5":                           0,
		"soon":                          0,
		"Wed, 02 Jan 2030 03:05:05 GMT": time.Minute,
		"Wed, 02 Jan 2030 03:03:05 GMT": 0,
		"Fri, 31 Dec 9999 23:59:59 GMT": 24 * time.Hour,
		"Mon, 01 Jan 0001 00:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestShownCode(t *testing.T) {
	secrets := []string{"", "fake-refresh-ABCDEFGHIJ", "short"}
	for code, want := range map[string]string{
		"invalid_grant":           "invalid_grant",
		"AuthenticationFailed":    "AuthenticationFailed",
		"a.b-c_d":                 "a.b-c_d",
		"":                        "",
		"a b":                     "",
		"a\x1b":                   "",
		"caf\u00e9":               "",
		"fake-refresh-ABCDEFGHIJ": "",
		"x_refresh-A_y":           "",
		"cdefghij":                "", // whatever the case
		"cdefghi":                 "cdefghi",
		"is_short":                "", // the whole of a secret
	} {
		if got := shownCode(code, secrets); got != want {
			t.Errorf("shownCode(%q) = %q, want %q", code, got, want)
		}
	}
}
