package oauthtest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
)

// badIDToken is one way in which an id_token can be bad.
type badIDToken struct {
	name  string
	spoil func(*IDToken)
}

// BadIDTokens returns the names of the ways in which an id_token can be bad.
func BadIDTokens() []string {
	var names []string
	for _, b := range badIDTokens {
		names = append(names, b.name)
	}
	return names
}

// BadIDToken makes the next id_tokens bad as name says; "" ends that. It panics
// if there is no such name.
func (s *Server) BadIDToken(name string) {
	for _, b := range badIDTokens {
		if b.name == name {
			s.SetIDToken(b.spoil)
			return
		}
	}
	if name != "" {
		panic("oauthtest: no bad id_token is named " + name)
	}
	s.SetIDToken(nil)
}

var badIDTokens = []badIDToken{
	{"alg none", inHeader("alg", "none")},
	{"alg none, unsigned as it should be", both(inHeader("alg", "none"), after(func(t string) string { return t[:strings.LastIndex(t, ".")+1] }))},
	{"alg None", inHeader("alg", "None")},
	{"HS256 with the public key", inHeader("alg", "HS256")},
	{"alg missing", func(t *IDToken) { delete(t.Header, "alg") }},
	{"alg is another one than signed with", func(t *IDToken) { t.After = swapHeader(t, "alg", "RS256") }},
	{"signed by another key", func(t *IDToken) { t.Signer = keys().other }},
	{"signed by another key without a kid", func(t *IDToken) { delete(t.Header, "kid"); t.Signer = keys().other }},
	{"signed by a key that it brings along", ownKey},
	{"signed by a key for encryption", func(t *IDToken) { t.Header["kid"] = "enc"; t.Signer = keys().other }},
	{"signed by a key of 1024 bits", func(t *IDToken) { t.Header["kid"], t.Header["alg"] = "weak", "RS256"; t.Signer = keys().weak }},
	{"kid unknown", inHeader("kid", "unknown")},
	{"kid of a key of another type", inHeader("kid", "ec")},
	{"kid of a key for another alg", inHeader("kid", "rs256")},
	{"kid is a number", inHeader("kid", 7)},
	{"crit unknown", both(inHeader("crit", []any{"x"}), inHeader("x", 1))},
	{"signature cut", after(func(t string) string { return t[:len(t)-8] })},
	{"signature empty", after(func(t string) string { return t[:strings.LastIndex(t, ".")+1] })},
	{"claims changed after signing", after(otherClaims)},
	{"two parts", after(func(t string) string { return t[:strings.LastIndex(t, ".")] })},
	{"five parts", after(func(t string) string { return t + ".AAAA.AAAA" })},
	{"JSON serialization", after(func(t string) string {
		p := strings.Split(t, ".")
		return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
	})},
	{"not a token", after(func(string) string { return "fake-header.payload.signature" })},

	{"iss of another issuer", claim("iss", "https://auth.globus.org")},
	{"iss with a slash", func(t *IDToken) { t.Claims["iss"] = t.Claims["iss"].(string) + "/" }},
	{"iss missing", noClaim("iss")},
	{"aud of another client", claim("aud", "fake-other")},
	{"aud of many others", claim("aud", []any{"fake-other", "fake-another"})},
	{"aud missing", noClaim("aud")},
	{"aud empty", claim("aud", []any{})},
	{"aud is a number", claim("aud", 7)},
	{"two auds without azp", func(t *IDToken) { t.Claims["aud"] = []any{t.Claims["aud"], "fake-other"} }},
	{"two auds and another azp", func(t *IDToken) {
		t.Claims["aud"], t.Claims["azp"] = []any{t.Claims["aud"], "fake-other"}, "fake-other"
	}},
	{"another azp", claim("azp", "fake-other")},
	{"azp empty", claim("azp", "")},
	{"expired by 301 s", func(t *IDToken) { t.Claims["exp"] = t.Claims["iat"].(int64) - 301 }},
	{"exp missing", noClaim("exp")},
	{"exp in a string", func(t *IDToken) { t.Claims["exp"] = "4102444800" }},
	{"exp of 1e400", claim("exp", json.Number("1e400"))},
	{"exp negative", claim("exp", -1)},
	{"exp null", claim("exp", nil)},
	{"iat in 301 s", func(t *IDToken) { t.Claims["iat"] = t.Claims["iat"].(int64) + 301 }},
	{"iat missing", noClaim("iat")},
	{"nbf in 301 s", func(t *IDToken) { t.Claims["nbf"] = t.Claims["iat"].(int64) + 301 }},
	{"nonce wrong", claim("nonce", "fake-other")},
	{"nonce missing", noClaim("nonce")},
	{"nonce cut", func(t *IDToken) { t.Claims["nonce"] = t.Claims["nonce"].(string)[:20] }},
	{"at_hash wrong", claim("at_hash", "fake-other")},
	{"at_hash of another token", claim("at_hash", atHash("RS512", "fake-other"))},
	{"sub missing", noClaim("sub")},
	{"sub empty", claim("sub", "")},
	{"sub of 256 bytes", claim("sub", strings.Repeat("s", 256))},
	{"sub with a control character", claim("sub", "fake-\x1b[2J")},
	{"sub in other letters", claim("sub", "fake-\u00e4")},
	{"sub is a number", claim("sub", 7)},
	{"sub twice", payload(func(p string) string { return strings.TrimSuffix(p, "}") + `,"sub":"fake-other"}` })},
	{"sub twice, escaped", payload(func(p string) string { return `{"s\u0075b":"fake-other",` + p[1:] })},
	{"sub wrongly cased", payload(func(p string) string { return strings.TrimSuffix(p, "}") + `,"SUB":"fake-other"}` })},
	{"claims not JSON", payload(func(string) string { return "<html>" })},
	{"claims in an array", payload(func(p string) string { return "[" + p + "]" })},
	{"claims null", payload(func(string) string { return "null" })},
	{"claims empty", payload(func(string) string { return "{}" })},
	{"claims twice", payload(func(p string) string { return p + p })},
	{"claims from elsewhere", both(claim("_claim_names", map[string]any{"sub": "x"}), noClaim("sub"))},
	{"of 65 KiB", claim("name", strings.Repeat("n", 65<<10))},
}

func inHeader(name string, value any) func(*IDToken) {
	return func(t *IDToken) { t.Header[name] = value }
}

func claim(name string, value any) func(*IDToken) {
	return func(t *IDToken) { t.Claims[name] = value }
}

func noClaim(name string) func(*IDToken) {
	return func(t *IDToken) { delete(t.Claims, name) }
}

func after(change func(string) string) func(*IDToken) {
	return func(t *IDToken) { t.After = change }
}

func payload(change func(string) string) func(*IDToken) {
	return func(t *IDToken) {
		good, _ := json.Marshal(t.Claims)
		t.Payload = []byte(change(string(good)))
	}
}

func both(a, b func(*IDToken)) func(*IDToken) {
	return func(t *IDToken) { a(t); b(t) }
}

// swapHeader changes the header and leaves the signature.
func swapHeader(t *IDToken, name string, value any) func(string) string {
	header := maps.Clone(t.Header)
	header[name] = value
	return func(token string) string {
		text, _ := json.Marshal(header)
		return b64(text) + token[strings.Index(token, "."):]
	}
}

// otherClaims makes the token somebody else's and leaves the signature.
func otherClaims(token string) string {
	p := strings.Split(token, ".")
	claims, _ := base64.RawURLEncoding.DecodeString(p[1])
	other := strings.Replace(string(claims), `"sub":"`, `"sub":"other-`, 1)
	return p[0] + "." + b64([]byte(other)) + "." + p[2]
}

func ownKey(t *IDToken) {
	k := keys().other
	t.Signer = k
	delete(t.Header, "kid")
	t.Header["jwk"] = map[string]any{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	t.Header["jku"] = "https://elsewhere.example/jwk.json"
}
