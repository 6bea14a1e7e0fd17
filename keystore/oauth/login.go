package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// The Op of errors of a login.
const (
	opLogin  = "login"
	opVerify = "verify"
)

// patience is how long a login waits for the person unless told otherwise.
const patience = 10 * time.Minute

// LoginOptions say what to log in for, and how the person is reached.
type LoginOptions struct {
	// Scopes to ask for, at least one. With "openid" among them the issuer says
	// who has logged in.
	Scopes []string

	// Session is what a service has demanded of the login; zero: nothing.
	Session Session

	// Visit brings the person to the page at url: it opens a browser, or shows
	// the URL, and returns soon. Its context ends with the login. Required.
	Visit func(ctx context.Context, url string) error

	// Code asks the person for what the page at the end shows, or for the URL
	// that the browser ended at: the paste flow, which needs no browser on this
	// machine. It is called after Visit, in a goroutine of its own, and should
	// return when its context ends; what it says later is not heard.
	// nil: the loopback flow, where the browser brings the answer to this machine.
	Code func(ctx context.Context) (keystore.Secret, error)

	// Wait is how long to wait for the person; 0 means 10 minutes.
	Wait time.Duration
}

// Login has a person log in with a browser and returns the tokens (RFC 6749
// section 4.1 with the PKCE of RFC 7636, as RFC 8252 has it for programs like
// this one). Several may be under way at once.
//
// In the loopback flow a listener on 127.0.0.1, or on ::1 where there is no
// 127.0.0.1, waits for the browser before Visit is called. The first request that
// knows this login's state ends it; others get an error page.
//
// With "openid" among the scopes the id_token must be there; if the provider has
// a JWKSURI it is verified, also one that was not asked for, and Account and
// every token name who has logged in.
//
// ctx and Wait hold until the answer of the browser is there. The code in it is
// good once, so that the requests that follow, of 20 seconds at most each, are
// not given up. Tokens of a login whose id_token is not believed are revoked as
// far as that can be done in 20 seconds more.
//
// Errors: an [*Error], of the Op "login" if the browser brought it and "verify"
// if it is about the id_token; what ctx says when it ends; what Visit and Code
// say; or one that wraps keystore.ErrInvalid for options that are not
// good and for a pasted text that is not of this login, keystore.ErrDeclined if
// the person has said no or nobody came in time, or keystore.ErrUnavailable if
// the provider has no authorization endpoint or nothing can listen here.
func (c *Client) Login(ctx context.Context, opts LoginOptions) (Answer, error) {
	a, err := c.attempt(opts)
	if err != nil {
		return Answer{}, err
	}
	flow := a.loopback
	if opts.Code != nil {
		flow = a.paste
	}
	code, err := flow(ctx)
	if err != nil {
		return Answer{}, err
	}
	return c.redeem(context.WithoutCancel(ctx), a, code)
}

// redeem makes tokens of the code that a login has brought.
func (c *Client) redeem(ctx context.Context, a *attempt, code keystore.Secret) (Answer, error) {
	answer, err := c.Exchange(ctx, code, keystore.NewSecret(a.verifier), a.redirect, a.Scopes...)
	if err != nil {
		return Answer{}, err
	}
	known, err := c.identify(ctx, answer, a.nonce)
	if err != nil {
		c.discard(ctx, answer)
	}
	return known, err
}

// discard revokes tokens that nobody will use.
func (c *Client) discard(ctx context.Context, a Answer) {
	ctx, cancel := context.WithTimeout(ctx, c.wire.timeout)
	defer cancel()
	for _, t := range a.Response.Tokens {
		c.RevokeAll(ctx, t) // nothing helps if it fails
	}
}

// attempt is one login under way.
type attempt struct {
	LoginOptions
	provider Provider
	clientID string
	redirect string // the redirect URI, as the flow has it

	state, verifier string
	nonce           string // "": OpenID Connect was not asked for
	late            error  // nobody came
}

func (c *Client) attempt(opts LoginOptions) (*attempt, error) {
	scope := strings.Join(opts.Scopes, " ")
	switch {
	case c.provider.AuthorizationEndpoint == "":
		return nil, &Error{Op: opLogin, Host: host(c.provider.Issuer), Err: keystore.ErrUnavailable,
			Detail: "the issuer has no authorization endpoint"}
	case opts.Visit == nil:
		return nil, invalid("a login needs a way to bring somebody to a page")
	case strings.TrimSpace(scope) == "" || !scopeText(scope):
		return nil, invalid("the scopes of the login are missing or malformed")
	}
	if opts.Wait <= 0 {
		opts.Wait = patience
	}
	a := &attempt{LoginOptions: opts, provider: c.provider, clientID: c.credentials.ID, state: random(), verifier: random(),
		late: &keystore.Error{Err: keystore.ErrDeclined, Detail: fmt.Sprintf("nobody has logged in within %v", opts.Wait)}}
	if slices.Contains(scopeNames(scope), "openid") {
		a.nonce = random()
	}
	return a, nil
}

// random is 256 bits of randomness, as 43 letters of base64url: what RFC 7636
// section 4.1 recommends of a verifier.
func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// url is where the person logs in (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
// Parameters that the endpoint's URL has stay.
func (a *attempt) url() (string, error) {
	u, err := url.Parse(a.provider.AuthorizationEndpoint)
	if err != nil {
		return "", invalid("the authorization endpoint's URL cannot be used")
	}
	challenge := sha256.Sum256([]byte(a.verifier))
	q := u.Query()
	for name, values := range loginQuery(a.provider.Issuer, a.Session) {
		q[name] = values
	}
	q.Set("response_type", "code")
	q.Set("client_id", a.clientID)
	q.Set("redirect_uri", a.redirect)
	q.Set("scope", strings.Join(a.Scopes, " "))
	q.Set("state", a.state)
	q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	q.Set("code_challenge_method", "S256")
	if a.nonce != "" {
		q.Set("nonce", a.nonce)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// waiting is ctx for as long as the person has.
func (a *attempt) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, a.Wait, a.late)
}

// visit brings the person to the login.
func (a *attempt) visit(waiting context.Context) error {
	page, err := a.url()
	if err != nil {
		return err
	}
	if err = a.Visit(waiting, page); waiting.Err() != nil {
		return a.ended(waiting)
	}
	return err
}

// ended says why there is no answer: nobody came, or the caller has given up.
func (a *attempt) ended(waiting context.Context) error {
	if context.Cause(waiting) == a.late {
		return a.late
	}
	return keystore.Ended(waiting)
}

// answered is what the browser has brought.
type answered struct {
	code keystore.Secret
	err  error
}

// errStray: the text is not the answer to this login, whoever made it.
var errStray = errors.New("not of this login")

// read takes the answer of the authorization endpoint out of the query that the
// browser was sent back with (RFC 6749 section 4.1.2, RFC 9207 section 2). err is
// errStray if the query does not know the state.
func (a *attempt) read(query string) (code keystore.Secret, err error) {
	q, err := url.ParseQuery(query)
	if err != nil || len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) != 1 {
		return keystore.Secret{}, errStray
	}
	for _, name := range []string{"code", "error", "iss"} {
		if len(q[name]) > 1 {
			return keystore.Secret{}, a.failed(ErrAnswer, "a parameter stands twice")
		}
	}
	switch {
	case q.Has("iss") && q.Get("iss") != a.provider.Issuer:
		return keystore.Secret{}, a.failed(ErrAnswer, "it is of another issuer")
	case a.provider.NamesItself && !q.Has("iss"): // RFC 9207 section 2.4
		return keystore.Secret{}, a.failed(ErrAnswer, "it does not name its issuer")
	case q.Has("error"):
		return keystore.Secret{}, a.refused(q.Get("error"), q.Get("code"))
	case !visibleText(q.Get("code"), maxToken):
		return keystore.Secret{}, a.failed(ErrAnswer, "the code is missing or malformed")
	}
	return keystore.NewSecret(q.Get("code")), nil
}

// refused is the error of an answer that says why there is no code (RFC 6749
// section 4.1.2.1). code is one that should not be there.
func (a *attempt) refused(reason, code string) error {
	e := a.failed(ErrRefused, "")
	switch reason {
	case "access_denied":
		e.Err = keystore.ErrDeclined
	case "server_error", "temporarily_unavailable":
		e.Err = keystore.ErrUnavailable
	}
	e.Code = shownCode(reason, []string{code, a.state, a.nonce, a.verifier})
	return e
}

func (a *attempt) failed(err error, detail string) *Error {
	return &Error{Op: opLogin, Host: host(a.provider.AuthorizationEndpoint), Sent: true, Err: err, Detail: detail}
}
