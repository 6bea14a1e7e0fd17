package oauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
)

// IDToken is an id_token that is about to be signed. A test may change all of
// it; the keys of the Server have the ids "rsa", "rs256", "ec" and
// "ed".
type IDToken struct {
	Header, Claims map[string]any

	// Signer signs instead of the key that goes with Header["alg"].
	Signer crypto.Signer

	// Payload is what is signed; nil means the Claims as JSON.
	Payload []byte

	// After, if not nil, changes the token when it is signed.
	After func(token string) string
}

// keyring are the keys of all Servers of a process. They are made when the first
// is needed, since that takes a while.
type keyring struct {
	rsa, other, weak *rsa.PrivateKey // other and weak are nobody's; weak is of 1024 bits
	ec               *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

var keys = sync.OnceValue(func() keyring {
	var k keyring
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.other, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.weak, _ = rsa.GenerateKey(rand.Reader, 1024)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

// serveKeys is the JWKS endpoint (RFC 7517). It has two keys that no client knows
// what to do with.
func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Counts) { c.Other++ })
	k := keys()
	ec, _ := k.ec.PublicKey.Bytes() // 4, x, y
	s.answer(w, r, good(map[string]any{"keys": []any{
		map[string]any{"kty": "new", "kid": "new", "x": "AA"},
		map[string]any{"kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(k.rsa.N.Bytes()), "e": b64(big.NewInt(int64(k.rsa.E)).Bytes())},
		map[string]any{"kty": "RSA", "kid": "weak", "use": "sig", "n": b64(k.weak.N.Bytes()), "e": b64(big.NewInt(int64(k.weak.E)).Bytes())},
		map[string]any{"kty": "RSA", "kid": "enc", "use": "enc", "n": b64(k.other.N.Bytes()), "e": b64(big.NewInt(int64(k.other.E)).Bytes())},
		map[string]any{"kty": "RSA", "kid": "rs256", "alg": "RS256", "n": b64(k.rsa.N.Bytes()), "e": b64(big.NewInt(int64(k.rsa.E)).Bytes())},
		map[string]any{"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "x": b64(ec[1:33]), "y": b64(ec[33:])},
		map[string]any{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(k.ed.Public().(ed25519.PublicKey))},
	}}))
}

// newIDToken is a good id_token, as Globus makes them (OpenID Connect Core
// section 2), which spoilers then change.
func (s *Server) newIDToken(client, nonce, access string) string {
	now := s.now().Unix()
	t := IDToken{
		Header: map[string]any{"alg": "RS512", "typ": "JWT", "kid": "rsa"},
		Claims: map[string]any{
			"iss": s.URL, "aud": client, "sub": s.subject, "preferred_username": s.username, "name": "Fake Person",
			"email": s.username, "iat": now, "exp": now + int64(s.lifetime), "auth_time": now,
		},
	}
	if nonce != "" {
		t.Claims["nonce"] = nonce
	}
	change := s.idToken
	if change == nil {
		change = func(*IDToken) {}
	}
	t.Claims["at_hash"] = atHash("RS512", access)
	change(&t)
	if alg, _ := t.Header["alg"].(string); t.Claims["at_hash"] == atHash("RS512", access) {
		t.Claims["at_hash"] = atHash(alg, access)
	}
	return t.sign()
}

// sign makes the compact form (RFC 7515 section 3.1).
func (t IDToken) sign() string {
	header, _ := json.Marshal(t.Header)
	payload := t.Payload
	if payload == nil {
		payload, _ = json.Marshal(t.Claims)
	}
	input := b64(header) + "." + b64(payload)
	alg, _ := t.Header["alg"].(string)
	token := input + "." + b64(t.signature(alg, []byte(input)))
	if t.After != nil {
		token = t.After(token)
	}
	return token
}

// signature makes the signatures of RFC 7518 section 3 and RFC 8037 section 3.1.
// HS256 is the classic forgery, with the public key as its secret.
func (t IDToken) signature(alg string, input []byte) []byte {
	k := keys()
	switch {
	case alg == "HS256":
		secret, _ := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	case alg == "ES256":
		sum := digest(alg, input)
		r, s, _ := ecdsa.Sign(rand.Reader, k.ec, sum)
		both := make([]byte, 64)
		r.FillBytes(both[:32])
		s.FillBytes(both[32:])
		return both
	case alg == "EdDSA":
		return ed25519.Sign(k.ed, input)
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		return t.rsaSignature(alg, input)
	}
	return nil
}

func (t IDToken) rsaSignature(alg string, input []byte) []byte {
	signer := t.Signer
	if signer == nil {
		signer = keys().rsa
	}
	var opts crypto.SignerOpts = hashOf(alg)
	if alg[0] == 'P' {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hashOf(alg)}
	}
	signature, _ := signer.Sign(rand.Reader, digest(alg, input), opts)
	return signature
}

func hashOf(alg string) crypto.Hash {
	switch {
	case strings.HasSuffix(alg, "256"):
		return crypto.SHA256
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	}
	return crypto.SHA512
}

func digest(alg string, input []byte) []byte {
	h := hashOf(alg).New()
	h.Write(input)
	return h.Sum(nil)
}

// atHash is the claim at_hash (OpenID Connect Core section 3.1.3.6).
func atHash(alg, access string) string {
	sum := digest(alg, []byte(access))
	return b64(sum[:len(sum)/2])
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// A spoiler is named, as the bad answers are.
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
