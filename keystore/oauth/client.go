package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// Client speaks for one client with one issuer's token and revocation
// endpoints. It is safe for concurrent use, keeps no connection open between
// requests, and needs no closing.
//
// Every method but Login, Keep and RevokeAll sends at most one request, of 20
// seconds and 1 MiB of answer at most, and returns an [*Error] that says what went
// wrong and whether the request may have been sent, or, before anything is sent, an
// error that wraps keystore.ErrInvalid or keystore.ErrLoginRequired.
type Client struct {
	provider    Provider
	credentials Credentials
	wire        wire
}

// NewClient returns the client of an issuer that passes [Provider.Check]. It
// sends nothing. opts may be nil.
func NewClient(p Provider, c Credentials, opts *Options) (*Client, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Client{provider: p, credentials: c, wire: newWire(opts)}, nil
}

// Answer is what a token endpoint has granted.
type Answer struct {
	// Response holds a token for each resource server, ready for a Store. Its
	// Account has the issuer and the client of a new login; Login also fills in
	// whose it is, if it could verify that. Of a refresh it is zero.
	Response keystore.TokenResponse

	// IDToken is what OpenID Connect adds to a login. It has been verified if
	// the Account has a Subject, else nothing in it may be believed. Zero if
	// there is none.
	IDToken keystore.Secret

	// Narrowed are the scopes that were asked for, or held before a refresh, and
	// were not granted; Widened those of a refresh that were not held before.
	// Both are sorted. The tokens are good for what their Scope says.
	Narrowed, Widened []string
}

// Exchange redeems the code of a login (RFC 6749 section 4.1.3) with its PKCE
// verifier (RFC 7636) and the redirect URI that the login was made with. scopes
// are those asked for there: what an answer that names no scope has granted, and
// what Narrowed is measured by.
func (c *Client) Exchange(ctx context.Context, code, verifier keystore.Secret, redirectURI string, scopes ...string) (Answer, error) {
	if !visibleText(code.Reveal(), maxToken) || !visibleText(verifier.Reveal(), maxToken) || redirectURI == "" {
		return Answer{}, invalid("code, verifier or redirect URI is missing or malformed")
	}
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code.Reveal()},
		"code_verifier": {verifier.Reveal()},
		"redirect_uri":  {redirectURI},
	}
	return c.tokens(ctx, form, asked{op: "exchange", scope: strings.Join(scopes, " ")})
}

// RefreshToken renews old (RFC 6749 section 6), which must be of this issuer and
// client: a refresh token goes to nobody else. It may be spent when this
// returns, whatever it returns, unless the Error says that it was not sent.
//
// The answer holds one token, of old's resource server. Its RefreshToken is zero
// if the server sent none, which means that the old one stays good. One that
// shares no scope with old is refused.
//
// The error wraps keystore.ErrLoginRequired if the refresh token is dead, or if
// old has none.
func (c *Client) RefreshToken(ctx context.Context, old keystore.Token) (Answer, error) {
	refresh := old.RefreshToken.Reveal()
	switch {
	case refresh == "":
		return Answer{}, &keystore.Error{Err: keystore.ErrLoginRequired, Detail: "there is no refresh token"}
	case old.Issuer != c.provider.Issuer:
		return Answer{}, invalid("the token is of another issuer")
	case old.ClientID != c.credentials.ID:
		return Answer{}, invalid("the token is of another client")
	case old.ResourceServer == "":
		return Answer{}, invalid("the token names no resource server")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	return c.tokens(ctx, form, asked{op: "refresh", scope: old.Scope, refreshOf: old.ResourceServer})
}

// ClientCredentials gets tokens for the client itself (RFC 6749 section 4.4),
// which must have a secret.
func (c *Client) ClientCredentials(ctx context.Context, scopes []string) (Answer, error) {
	if c.credentials.Secret.IsZero() {
		return Answer{}, invalid("a client without a secret has no login of its own")
	}
	scope := strings.Join(scopes, " ")
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return c.tokens(ctx, form, asked{op: "client credentials", scope: scope, grant: keystore.GrantClientCredentials})
}

// DependentTokens gets the tokens that a service of Globus, with a secret, needs
// to do what the holder of accessToken asks of it.
func (c *Client) DependentTokens(ctx context.Context, accessToken keystore.Secret) (Answer, error) {
	if c.credentials.Secret.IsZero() {
		return Answer{}, invalid("a client without a secret gets no dependent tokens")
	}
	if !visibleText(accessToken.Reveal(), maxToken) {
		return Answer{}, invalid("the access token is missing or malformed")
	}
	form := url.Values{"grant_type": {grantDependentTokens}, "token": {accessToken.Reveal()}}
	return c.tokens(ctx, form, asked{op: "dependent tokens", array: true})
}

// tokens posts a form to the token endpoint and reads what it granted. What net/http
// and crypto/tls have of it in the buffers of a connection is not erased.
func (c *Client) tokens(ctx context.Context, form url.Values, a asked) (answer Answer, err error) {
	erase.Do(func() { answer, err = c.request(ctx, form, a) })
	return answer, err
}

func (c *Client) request(ctx context.Context, form url.Values, a asked) (Answer, error) {
	a.provider, a.clientID = c.provider, c.credentials.ID
	a.at = c.wire.now() // before it is sent, so that no token lives longer here than there
	r, err := c.post(ctx, a.op, c.provider.TokenEndpoint, form)
	if err != nil {
		return Answer{}, err
	}
	if !isJSON(r.header) {
		return Answer{}, r.unacceptable(a.op, host(c.provider.TokenEndpoint), "it does not say that it is JSON")
	}
	answer, err := decode(r.body, a)
	if err != nil {
		return Answer{}, r.unacceptable(a.op, host(c.provider.TokenEndpoint), err.Error())
	}
	return answer, nil
}

// post sends a form with the client's credentials and returns a success.
func (c *Client) post(ctx context.Context, op, endpoint string, form url.Values) (reply, error) {
	if c.credentials.Secret.IsZero() {
		form.Set("client_id", c.credentials.ID)
	}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return reply{}, invalid("the endpoint's URL cannot be used")
	}
	req.GetBody = nil // without it net/http cannot send a body again
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !c.credentials.Secret.IsZero() {
		req.SetBasicAuth(url.QueryEscape(c.credentials.ID), url.QueryEscape(c.credentials.Secret.Reveal()))
	}
	r, err := c.wire.send(ctx, op, req)
	if err != nil {
		return reply{}, err
	}
	if !r.ok() {
		return reply{}, r.refusal(op, req.URL.Host, c.secrets(form), c.wire.now())
	}
	return r, nil
}

// secrets are what the request of form holds that must not be shown.
func (c *Client) secrets(form url.Values) []string {
	all := []string{c.credentials.Secret.Reveal()}
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token"} {
		all = append(all, form.Get(name))
	}
	return all
}

// Revoke ends an access or refresh token at the issuer (RFC 7009). A token that
// is dead already is no error. It wraps keystore.ErrUnavailable if the issuer
// has no revocation endpoint.
func (c *Client) Revoke(ctx context.Context, token keystore.Secret) error {
	const op = "revoke"
	endpoint := c.provider.RevocationEndpoint
	if endpoint == "" {
		return &Error{Op: op, Host: host(c.provider.Issuer), Err: keystore.ErrUnavailable,
			Detail: "the issuer has no revocation endpoint"}
	}
	if !visibleText(token.Reveal(), maxToken) {
		return invalid("the token is missing or malformed")
	}
	var err error
	erase.Do(func() { _, err = c.post(ctx, op, endpoint, url.Values{"token": {token.Reveal()}}) })
	if e, ok := errors.AsType[*Error](err); ok && e.Status/100 == 2 {
		return nil // the status says it all, whatever is wrong with the text (section 2.2)
	}
	return err
}

// host is the host of a URL that Check has seen.
func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
