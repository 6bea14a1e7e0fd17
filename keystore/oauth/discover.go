package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/globus-keys/globus-keys/internal/strictjson"
)

// providerJSON is what is read of an issuer's metadata (OpenID Connect
// Discovery section 3, RFC 8414 section 2).
type providerJSON struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	NamesItself           bool   `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3
}

var providerNames = []string{"issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri",
	"authorization_response_iss_parameter_supported"}

// Find returns the endpoints of an issuer: of Globus Auth as they are known, of
// others by [Discover].
func Find(ctx context.Context, issuer string, opts *Options) (Provider, error) {
	if environment := globusEnvironment(issuer); environment != "" {
		return Globus(environment), nil
	}
	return Discover(ctx, issuer, opts)
}

// Discover asks an issuer for its endpoints, at /.well-known/openid-configuration
// below its URL (OpenID Connect Discovery section 4). The limits of a token
// request hold: no redirect, 20 seconds, 1 MiB. What it returns passes
// [Provider.Check] and names the issuer byte by byte as asked (section 4.3);
// endpoints may be on other hosts, as Google's are. opts may be nil.
//
// Errors: one that wraps keystore.ErrInvalid if issuer cannot be asked, else an
// [*Error].
func Discover(ctx context.Context, issuer string, opts *Options) (Provider, error) {
	const op = "discover"
	asked := Provider{Issuer: issuer, TokenEndpoint: issuer} // no endpoint is known yet
	if err := asked.Check(); err != nil {
		return Provider{}, err
	}
	url := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return Provider{}, invalid("the issuer's URL cannot be used")
	}
	w := newWire(opts)
	r, err := w.send(ctx, op, req)
	if err != nil {
		return Provider{}, err
	}
	if !r.ok() {
		return Provider{}, r.refusal(op, req.URL.Host, nil, w.now())
	}
	p, detail := r.provider(issuer)
	if detail != "" {
		return Provider{}, r.unacceptable(op, req.URL.Host, detail)
	}
	return p, nil
}

// provider reads an issuer's metadata, or says what is wrong with it.
func (r reply) provider(issuer string) (p Provider, wrong string) {
	var j providerJSON
	switch {
	case !isJSON(r.header):
		return Provider{}, "it does not say that it is JSON"
	case strictjson.Check(r.body, providerNames...) != nil:
		return Provider{}, "it is not JSON, or has a key twice or wrongly cased"
	case json.Unmarshal(r.body, &j) != nil:
		return Provider{}, "it is not made as it should be"
	case j.Issuer != issuer:
		return Provider{}, "it is of another issuer"
	}
	p = Provider(j)
	if err := p.Check(); err != nil {
		return Provider{}, err.Error()
	}
	return p, ""
}
