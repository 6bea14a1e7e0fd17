package oauth

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// maxURL is how long a URL of a Provider may be, in bytes.
const maxURL = 2048

// Provider says where an issuer is to be found. It is stored with a login:
// refresh tokens go to no other place than the one they came from.
type Provider struct {
	Issuer                string // compared byte by byte (RFC 8414 section 3.3)
	AuthorizationEndpoint string // "": no login with a browser
	TokenEndpoint         string
	RevocationEndpoint    string // "": tokens cannot be revoked (RFC 7009)
	JWKSURI               string // keys of id_tokens; "": none can be verified

	// NamesItself: every answer of the authorization endpoint names the issuer
	// (RFC 9207), and one that does not is refused.
	NamesItself bool
}

// Check reports whether a secret may be sent to p: every URL is https, or http
// on a loopback address (127.0.0.0/8, ::1, localhost; RFC 8252 section 7.3),
// names a host, and has neither user information nor a fragment (RFC 6749
// sections 3.1 and 3.2); an issuer has no query either (RFC 8414 section 2). An
// https issuer has no http endpoint. Issuer and TokenEndpoint are required.
// Errors wrap keystore.ErrInvalid, name the field and never quote the URL.
func (p Provider) Check() error {
	issuer, err := checkURL("issuer", p.Issuer)
	if err != nil {
		return err
	}
	if issuer.RawQuery != "" || issuer.ForceQuery {
		return invalid("the issuer's URL has a query")
	}
	for _, f := range []struct {
		name, url string
		required  bool
	}{
		{"token endpoint", p.TokenEndpoint, true},
		{"authorization endpoint", p.AuthorizationEndpoint, false},
		{"revocation endpoint", p.RevocationEndpoint, false},
		{"JWKS", p.JWKSURI, false},
	} {
		if f.url == "" && !f.required {
			continue
		}
		u, err := checkURL(f.name, f.url)
		if err != nil {
			return err
		}
		if issuer.Scheme == "https" && u.Scheme != "https" {
			return invalid("the " + f.name + "'s URL is not https, the issuer's is")
		}
	}
	return nil
}

// checkURL parses the URL of a field and applies the rules for one URL.
func checkURL(field, text string) (*url.URL, error) {
	bad := func(why string) (*url.URL, error) { return nil, invalid("the " + field + "'s URL " + why) }
	if text == "" {
		return nil, invalid("the " + field + "'s URL is missing")
	}
	if len(text) > maxURL {
		return bad("is too long")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("cannot be read")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("is not https")
	case u.User != nil:
		return bad("has user information")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return bad("has a fragment")
	case !plainHost(u):
		return bad("has no proper host")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return bad("is not https; http is for loopback addresses only")
	}
	return u, nil
}

// plainHost reports whether everybody who reads the host sees the same one: an
// IP address, or a name in ASCII. net/http would map other letters to ASCII,
// some of them to a host that looks quite different.
func plainHost(u *url.URL) bool {
	host := u.Hostname()
	if host == "" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	if strings.HasPrefix(u.Host, "[") {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Is6() && ip.Zone() == ""
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
	})
}

// loopback reports whether host is this machine by its spelling alone. Other
// spellings of the same, such as "LOCALHOST", "localhost." and "127.1", are
// refused: to the rules for proxies of net/http they are hosts out there.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() && !ip.Is4In6()
}

// maxClientText is how long a client's id and secret may be, in bytes.
const maxClientText = 4096

// Credentials say which client asks. A client without a Secret is a public one
// and is named in the form (RFC 6749 section 3.2.1); one with a Secret uses
// HTTP Basic (section 2.3.1).
type Credentials struct {
	ID     string
	Secret keystore.Secret
}

func (c Credentials) check() error {
	switch {
	case c.ID == "":
		return invalid("the client id is missing")
	case !visibleText(c.ID, maxClientText):
		return invalid("the client id is too long or has characters that none has")
	case len(c.Secret.Reveal()) > maxClientText:
		return invalid("the client secret is too long")
	}
	return nil
}

// visibleText reports whether s is of 1 to max printable ASCII characters
// without a space, as tokens, codes and client ids are (RFC 6749 appendix A; it
// allows spaces, which no header could carry unharmed).
func visibleText(s string, max int) bool {
	return s != "" && len(s) <= max &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func invalid(detail string) error {
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: detail}
}
