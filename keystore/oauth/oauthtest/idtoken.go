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
	"math/big"
	"net/http"
	"strings"
	"sync"
)

// IDToken is an id_token that is about to be signed. A test may change all of
// it; the keys of the Server have the ids "rsa", "rs256", "ec" and "ed".
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
		map[string]any{"kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(k.rsa.N.Bytes()), "e": b64(big.NewInt(int64(k.rsa.E)).Bytes())}, // the Globus SDK takes the first one
		map[string]any{"kty": "new", "kid": "new", "x": "AA"},
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
	usual := atHash("RS512", access)
	t := IDToken{
		Header: map[string]any{"alg": "RS512", "typ": "JWT", "kid": "rsa"},
		Claims: map[string]any{
			"iss": s.URL, "aud": client, "sub": s.subject, "preferred_username": s.username, "name": "Fake Person",
			"email": s.username, "iat": now, "exp": now + 172800, "auth_time": now, "at_hash": usual,
		},
	}
	if nonce != "" {
		t.Claims["nonce"] = nonce
	}
	if s.idToken != nil {
		s.idToken(&t)
	}
	if alg, _ := t.Header["alg"].(string); t.Claims["at_hash"] == usual {
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
