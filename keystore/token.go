package keystore

import (
	"slices"
	"strings"
	"time"
)

// Token is the login at one resource server: what a token endpoint answered,
// and what is needed to renew it.
type Token struct {
	ResourceServer string // its name in the store, at most MaxName bytes
	Scope          string // space separated (RFC 6749 section 3.3)
	AccessToken    Secret
	RefreshToken   Secret    // zero: the login ends when the access token does
	TokenType      string    // "Bearer"; kept as the server wrote it
	ExpiresAt      time.Time // of the access token, whole seconds; zero: not known, taken as over
	IdentityID     string    // the subject (OpenID Connect "sub"), "" if not known

	// Issuer and ClientID say who can renew the token. Without them it is
	// usable until it expires.
	Issuer   string
	ClientID string

	// Endpoints are where the issuer takes secrets of this login, as they were
	// when it was made: a refresh token goes nowhere else. Zero: not known.
	Endpoints Endpoints

	// Grant is how the token is renewed without a refresh token. "": it is not.
	Grant string

	// LoggedIn is when somebody logged in, and Used when the issuer last saw the
	// refresh token, from which idle limits count. Whole seconds; zero: not known.
	LoggedIn, Used time.Time

	// Extra holds the fields of a foreign record that this package does not
	// know, each as its JSON text. They survive every round trip.
	Extra map[string]Secret
}

// GrantClientCredentials is the Grant of a token that the client has got for
// itself, with its secret (RFC 6749 section 4.4).
const GrantClientCredentials = "client_credentials"

// Endpoints are URLs of an issuer. "" is one that it does not have.
type Endpoints struct {
	Token      string // RFC 6749 section 3.2
	Revocation string // RFC 7009
}

// Expired reports whether the access token is over at now, or of unknown end.
func (t Token) Expired(now time.Time) bool { return !now.Before(t.ExpiresAt) }

// Renewable reports whether the token says all that renewing it needs.
func (t Token) Renewable() bool {
	return t.Issuer != "" && t.ClientID != "" && (!t.RefreshToken.IsZero() || t.Grant == GrantClientCredentials)
}

// Scopes returns the scopes one by one.
func (t Token) Scopes() []string { return strings.Fields(t.Scope) }

// TokenResponse is the answer of a token endpoint, split by resource server.
type TokenResponse struct {
	Tokens []Token // each with another ResourceServer

	// Account says whose login it is. A refresh answer does not know and
	// leaves it zero.
	Account Account
}

// Account is whose logins a namespace holds. Fields not known are empty.
type Account struct {
	Subject  string // OpenID Connect "sub", unique at its issuer
	Issuer   string // URL
	ClientID string // of the last login
	Username string // OpenID Connect "preferred_username", for people to read
}

// subject is the one identity that the response speaks of, "" if it names none.
func (r TokenResponse) subject() (string, error) {
	subject := r.Account.Subject
	for _, t := range r.Tokens {
		switch {
		case t.IdentityID == "" || t.IdentityID == subject:
		case subject == "":
			subject = t.IdentityID
		default:
			return "", &Error{Key: tokenKey("", t.ResourceServer), Err: ErrSubjectMismatch,
				Detail: "one response names two identities"}
		}
	}
	return subject, nil
}

func (r TokenResponse) check() error {
	var seen []string
	for _, t := range r.Tokens {
		if slices.Contains(seen, t.ResourceServer) {
			return &Error{Key: tokenKey("", t.ResourceServer), Err: ErrInvalid,
				Detail: "one response names the resource server twice"}
		}
		if t.AccessToken.IsZero() {
			return &Error{Key: tokenKey("", t.ResourceServer), Err: ErrInvalid, Detail: "there is no access token"}
		}
		seen = append(seen, t.ResourceServer)
	}
	return nil
}

// token returns the token of a resource server, a zero one if there is none.
func (r TokenResponse) token(resourceServer string) Token {
	for _, t := range r.Tokens {
		if t.ResourceServer == resourceServer {
			return t
		}
	}
	return Token{}
}

// of fills in who can renew t, where t does not say so.
func (t Token) of(a Account) Token {
	t.Issuer, t.ClientID = either(t.Issuer, a.Issuer), either(t.ClientID, a.ClientID)
	return t
}

// renewed returns next as the successor of prev, which a response may leave half
// said: RFC 6749 lets a refresh omit the refresh token (section 6) and an unchanged
// scope (section 5.1), and it names no identity. A new login says all that it is:
// it has nothing of another one but what no secret or identity depends upon.
func (next Token) renewed(prev Token) Token {
	if next.LoggedIn.IsZero() || next.repeats(prev) {
		return next.completed(prev)
	}
	return next.described(prev)
}

func (next Token) described(prev Token) Token {
	next.Scope = either(next.Scope, prev.Scope)
	next.TokenType = either(next.TokenType, prev.TokenType)
	next.Extra = merged(next.Extra, prev.Extra)
	return next
}

// repeats reports whether the login next is surely of the same person, client and
// issuer as prev. A client that logs itself in is no person.
func (next Token) repeats(prev Token) bool {
	known := func(a, b string) bool { return a != "" && a == b }
	return known(next.Issuer, prev.Issuer) && known(next.ClientID, prev.ClientID) && known(next.IdentityID, prev.IdentityID) &&
		same(next.Endpoints.Token, prev.Endpoints.Token) &&
		next.Grant != GrantClientCredentials && prev.Grant != GrantClientCredentials
}

// completed adds to next what prev says of the same login.
func (next Token) completed(prev Token) Token {
	next = next.described(prev)
	next.IdentityID = either(next.IdentityID, prev.IdentityID)
	// A refresh token belongs to the client and issuer that obtained it.
	if !same(next.Issuer, prev.Issuer) || !same(next.ClientID, prev.ClientID) {
		return next
	}
	next.Issuer = either(next.Issuer, prev.Issuer)
	next.ClientID = either(next.ClientID, prev.ClientID)
	next = next.inherited(prev)
	if next.LoggedIn.IsZero() { // no new login
		next.LoggedIn, next.Grant = prev.LoggedIn, either(next.Grant, prev.Grant)
	}
	if next.Used.IsZero() { // else next's, not the later one: a clock may have been wrong then
		next.Used = prev.Used
	}
	return next
}

// inherited gives next prev's refresh token, if it has none, and with it the
// endpoints that this one may go to.
func (next Token) inherited(prev Token) Token {
	inherits := next.RefreshToken.IsZero() && !prev.RefreshToken.IsZero()
	if inherits {
		next.RefreshToken = prev.RefreshToken
	}
	if next.Endpoints == (Endpoints{}) || inherits && prev.Endpoints != (Endpoints{}) {
		next.Endpoints = prev.Endpoints
	}
	return next
}

func merged(next, prev map[string]Secret) map[string]Secret {
	if len(prev) == 0 {
		return next
	}
	all := make(map[string]Secret, len(prev)+len(next))
	for _, m := range []map[string]Secret{prev, next} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// same reports whether two facts do not contradict each other; "" is no fact.
func same(a, b string) bool { return a == "" || b == "" || a == b }

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// displaces reports whether t is a new login of another kind than prev: a client's
// own in the place of a person's, or a person's in that of a client's.
func (t Token) displaces(prev Token) bool {
	known := prev.Grant != "" || prev.IdentityID != "" || !prev.RefreshToken.IsZero()
	return !t.LoggedIn.IsZero() && known && t.Grant != prev.Grant
}
