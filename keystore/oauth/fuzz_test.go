package oauth

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// FuzzIDToken: whatever an issuer's keys and id_token are, nothing panics, and what is
// believed is what was asked for.
func FuzzIDToken(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","kid":"ec","crv":"P-256","alg":"ES256","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"AAAA"},{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AA"]}]}`),
		"eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIn0.e30.AAAA", []byte(`{"iss":"https://i.example","sub":"s","aud":["c"],"exp":1,"iat":1,"nonce":""}`))
	f.Add([]byte(`{"keys":[null,{}]}`), "a.b.c", []byte(`{"aud":null,"exp":1e400}`))
	f.Fuzz(func(t *testing.T, jwks []byte, token string, payload []byte) {
		var set struct{ Keys []json.RawMessage }
		if json.Unmarshal(jwks, &set) == nil {
			(&keySet{all: set.Keys}).VerifySignature(t.Context(), token)
			for _, alg := range signatures {
				(&keySet{all: set.Keys}).fitting("", string(alg))
			}
		}
		c, wrong := readClaims(payload)
		if wrong != "" {
			return
		}
		if c.wrong("https://i.example", "c", "", time.Unix(1, 0)) == "" && (c.Issuer != "https://i.example" || c.Subject == "" || c.Nonce != "") {
			t.Errorf("%q is believed", payload)
		}
		c.username()
	})
}

// FuzzDiscovery: what discovery returns passes Check, and names the issuer.
func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://i.example","token_endpoint":"https://t.example/x","authorization_endpoint":"https://i.example/a?b=c"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := reply{status: 200, header: http.Header{"Content-Type": {"application/json"}}, body: body}
		p, wrong := r.provider("https://i.example")
		if wrong == "" && (p.Issuer != "https://i.example" || p.Check() != nil) {
			t.Errorf("%+v", p)
		}
	})
}
