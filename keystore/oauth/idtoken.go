package oauth

import (
	"context"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/globus-keys/globus-keys/internal/strictjson"
)

// Limits of an id_token and of the keys for it.
const (
	maxSkew     = 300 * time.Second // between the issuer's clock and ours
	maxSubject  = 255               // bytes (OpenID Connect Core section 2)
	maxUsername = 512               // bytes
	maxKeys     = 64                // that may have signed one id_token
	minRSA      = 2048              // bits (RFC 7518 section 3.3)
)

// signatures are the algorithms that an id_token may be signed with. "none" and
// those whose key is a secret that both sides know are not among them.
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// identify fills in who has logged in. nonce is what the login was made with,
// "" if OpenID Connect was not asked for. An issuer without JWKSURI says
// nothing that can be verified: then the subject stays unknown.
func (c *Client) identify(ctx context.Context, a Answer, nonce string) (Answer, error) {
	switch {
	case a.IDToken.IsZero() && nonce != "":
		return Answer{}, c.disbelieved("there is none, though the scope openid was asked for")
	case a.IDToken.IsZero() || c.provider.JWKSURI == "":
		return a, nil
	}
	set, err := c.keys(ctx)
	if err != nil {
		return Answer{}, err
	}
	access := a.Response.Tokens[0].AccessToken.Reveal()
	who, wrong := c.verify(ctx, &keySet{all: set}, a.IDToken.Reveal(), nonce, access)
	if wrong != "" {
		return Answer{}, c.disbelieved(wrong)
	}
	a.Response.Account.Subject, a.Response.Account.Username = who.Subject, who.username()
	for i := range a.Response.Tokens {
		a.Response.Tokens[i].IdentityID = who.Subject
	}
	return a, nil
}

func (c *Client) disbelieved(why string) error {
	return &Error{Op: opVerify, Host: host(c.provider.Issuer), Sent: true, Err: ErrAnswer, Detail: "the id_token: " + why}
}

// verify returns the claims of an id_token that is the issuer's and is meant for
// this client, this login and this access token (OpenID Connect Core section
// 3.1.3.7), or says what is wrong. go-oidc's words may quote the token; ours
// come from looking at the same claims.
func (c *Client) verify(ctx context.Context, keys *keySet, raw, nonce, access string) (who claims, wrong string) {
	config := &oidc.Config{ClientID: c.credentials.ID, SkipExpiryCheck: true} // it knows no skew
	for _, alg := range signatures {
		config.SupportedSigningAlgs = append(config.SupportedSigningAlgs, string(alg))
	}
	token, err := oidc.NewVerifier(c.provider.Issuer, keys, config).Verify(ctx, raw)
	if keys.payload == nil {
		return claims{}, keys.refusal()
	}
	if who, wrong = readClaims(keys.payload); wrong == "" {
		wrong = who.wrong(c.provider.Issuer, c.credentials.ID, nonce, c.wire.now())
	}
	switch {
	case wrong != "":
		return claims{}, wrong
	case err != nil:
		return claims{}, "it is not made as it should be"
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil:
		return claims{}, "it is not about this access token"
	}
	return who, ""
}

// keys fetches the keys of the issuer (RFC 7517 section 5), unparsed.
func (c *Client) keys(ctx context.Context) ([]json.RawMessage, error) {
	req, err := http.NewRequest(http.MethodGet, c.provider.JWKSURI, nil)
	if err != nil {
		return nil, invalid("the JWKS's URL cannot be used")
	}
	r, err := c.wire.send(ctx, opVerify, req)
	if err != nil {
		return nil, err
	}
	if !r.ok() {
		return nil, r.refusal(opVerify, req.URL.Host, nil, c.wire.now())
	}
	var set struct{ Keys []json.RawMessage }
	if !isKeys(r.header) || strictjson.Check(r.body, keyNames...) != nil || json.Unmarshal(r.body, &set) != nil {
		return nil, r.unacceptable(opVerify, req.URL.Host, "it is no set of keys")
	}
	return set.Keys, nil
}

// isKeys reports whether the answer says that it is JSON, or a set of keys
// (RFC 7517 section 8.5.2).
func isKeys(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return isJSON(h) || err == nil && kind == "application/jwk-set+json"
}

// keySet is the oidc.KeySet of one id_token. It keeps what it has verified, so
// that an error can be put in words.
type keySet struct {
	all     []json.RawMessage
	none    bool   // no key of the issuer can have signed it
	payload []byte // nil: not verified
}

// VerifySignature implements oidc.KeySet.
func (s *keySet) VerifySignature(_ context.Context, raw string) ([]byte, error) {
	token, err := jose.ParseSignedCompact(raw, signatures)
	if err != nil {
		return nil, err
	}
	header := token.Signatures[0].Header
	keys := s.fitting(header.KeyID, header.Algorithm)
	s.none = len(keys) == 0
	for _, key := range keys {
		if payload, err := token.Verify(key); err == nil {
			s.payload = payload
			return payload, nil
		}
	}
	return nil, errors.New("no key has signed it")
}

func (s *keySet) refusal() string {
	if s.none {
		return "the issuer has no key that can have signed it"
	}
	return "it is not signed as it should be"
}

// keyJSON is what is looked at before a key is parsed: go-jose also reads
// private keys and secrets, which have no place here.
type keyJSON struct {
	Kty, Kid, Use, Alg string
	D, K               json.RawMessage
}

var keyNames = []string{"keys", "kty", "kid", "use", "alg", "d", "k"}

// fitting returns the public keys that can have signed with algorithm, of that
// id if there is one. Keys that cannot be read are passed over (RFC 7517
// section 5).
func (s *keySet) fitting(id, algorithm string) (keys []any) {
	for _, raw := range s.all {
		var j keyJSON
		if json.Unmarshal(raw, &j) != nil || id != "" && j.Kid != id || !j.fits(algorithm) {
			continue
		}
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && key.Valid() && key.IsPublic() && !weak(key.Key) && len(keys) < maxKeys {
			keys = append(keys, key.Key)
		}
	}
	return keys
}

func (j keyJSON) fits(algorithm string) bool {
	types := map[string]string{"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
	return j.Kty == types[algorithm[:2]] && j.D == nil && j.K == nil &&
		(j.Use == "" || j.Use == "sig") && (j.Alg == "" || j.Alg == algorithm)
}

func weak(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() < minRSA
}

// claims are what is looked at in an id_token. Times are seconds since 1970.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Party     *string  `json:"azp"`
	Expires   *float64 `json:"exp"`
	Issued    *float64 `json:"iat"`
	NotBefore *float64 `json:"nbf"`
	Nonce     string   `json:"nonce"`
	Name      any      `json:"preferred_username"`
}

var claimNames = []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "preferred_username"}

func readClaims(payload []byte) (c claims, wrong string) {
	if strictjson.Check(payload, claimNames...) != nil {
		return claims{}, "it is not JSON, or has a claim twice or wrongly cased"
	}
	if json.Unmarshal(payload, &c) != nil {
		return claims{}, "it is not made as it should be"
	}
	return c, ""
}

// wrong says what keeps the claims from being believed, "" if nothing does.
func (c claims) wrong(issuer, client, nonce string, now time.Time) string {
	switch {
	case c.Issuer != issuer:
		return "it is of another issuer"
	case !slices.Contains(c.Audience, client):
		return "it is for another client"
	case c.Party != nil && *c.Party != client, c.Party == nil && len(c.Audience) > 1:
		return "it does not say that it was made for this client"
	case c.Expires == nil || c.Issued == nil:
		return "it does not say when it was made or when it ends"
	case subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) != 1:
		return "it is of another login"
	case !asciiText(c.Subject, maxSubject):
		return "its subject is missing or malformed"
	}
	return c.untimely(now)
}

func (c claims) untimely(now time.Time) string {
	at, skew := float64(now.Unix()), maxSkew.Seconds()
	switch {
	case *c.Expires+skew < at:
		return "it has expired; is the clock of this machine right?"
	case *c.Issued-skew > at, c.NotBefore != nil && *c.NotBefore-skew > at:
		return "it is not valid yet; is the clock of this machine right?"
	}
	return ""
}

// username is for people to read: one that cannot be shown is none.
func (c claims) username() string {
	name, _ := c.Name.(string)
	if len(name) > maxUsername || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return name
}

// audience is a string, or an array of them (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(data, &many)
	*a = many
	return err
}

// asciiText reports whether s is of 1 to max printable ASCII characters.
func asciiText(s string, max int) bool {
	return s != "" && len(s) <= max && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
