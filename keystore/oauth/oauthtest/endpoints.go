package oauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
)

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.answer(w, r, s.grant(r))
}

func (s *Server) grant(r *http.Request) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Posts++
	client, ok := s.client(r)
	if !ok {
		x := s.deny("invalid_client")
		x.status = http.StatusUnauthorized
		return x
	}
	form := r.PostForm
	switch form.Get("grant_type") {
	case "authorization_code":
		return s.exchange(client, form)
	case "refresh_token":
		return s.renew(client, form.Get("refresh_token"))
	case "client_credentials":
		return s.clientCredentials(client, form.Get("scope"))
	case "urn:globus:auth:grant_type:dependent_token":
		return s.dependent(client, form.Get("token"))
	}
	return s.deny("unsupported_grant_type")
}

// client returns who asks: by HTTP Basic with form-encoded parts if it has
// a secret, else by the form (RFC 6749 section 2.3.1).
func (s *Server) client(r *http.Request) (id string, ok bool) {
	user, password, basic := r.BasicAuth()
	if !basic {
		id = r.PostForm.Get("client_id")
		_, confidential := s.secrets[id]
		return id, id != "" && !confidential
	}
	id, err := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	want, known := s.secrets[id]
	return id, err == nil && err2 == nil && known && secret == want && !r.PostForm.Has("client_id")
}

func (s *Server) exchange(client string, form url.Values) *exchange {
	s.counts.Exchanges++
	name := form.Get("code")
	c := s.codes[name]
	delete(s.codes, name) // a code is good once, also for one who has it wrong
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if c == nil || c.client != client || c.redirect != form.Get("redirect_uri") ||
		c.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return s.deny("invalid_grant")
	}
	return s.granted(s.login(client, c.scope, c.nonce, true))
}

func (s *Server) clientCredentials(client, scope string) *exchange {
	if s.secrets[client] == "" {
		return s.deny("unauthorized_client")
	}
	return s.granted(s.login(client, scope, "", false))
}

func (s *Server) granted(doc map[string]any, err error) *exchange {
	if err != nil {
		return s.deny("invalid_scope")
	}
	return good(doc)
}

// dependent gives a service tokens for Transfer and Groups, in an array.
func (s *Server) dependent(client, token string) *exchange {
	if a := s.access[token]; s.secrets[client] == "" || a == nil || a.revoked {
		return s.deny("invalid_grant")
	}
	x := good(nil)
	for _, server := range []string{"transfer.api.globus.org", "groups.api.globus.org"} {
		x.list = append(x.list, s.newAccess(access{client, server, "urn:globus:auth:scope:" + server + ":all"}))
	}
	x.doc = x.list[0].(map[string]any)
	return x
}

// serveRevoke is the revocation endpoint: what is not known is revoked already
// (RFC 7009 section 2.2). The end of a refresh token ends its family.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.answer(w, r, s.revoke(r))
}

func (s *Server) revoke(r *http.Request) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Revokes++
	client, ok := s.client(r)
	if !ok {
		x := s.deny("invalid_client")
		x.status = http.StatusUnauthorized
		return x
	}
	token := r.PostForm.Get("token")
	if t := s.refresh[token]; t != nil && t.client == client {
		t.family.revoked = true
	}
	if t := s.access[token]; t != nil && t.client == client {
		t.revoked = true
	}
	return good(map[string]any{"active": false})
}

// serveAuthorize logs the user in without asking and sends the browser back
// (RFC 6749 section 4.1.2, with the issuer as in RFC 9207).
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Counts) { c.Other++ })
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || redirect.Host == "" || q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" {
		http.Error(w, "this is not a request of RFC 6749 with PKCE", http.StatusBadRequest)
		return
	}
	redirect.RawQuery = s.authorize(q).Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

// authorize returns what the browser is to bring back.
func (s *Server) authorize(q url.Values) url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = q
	back := url.Values{"state": {q.Get("state")}, "iss": {s.URL}}
	if slices.ContainsFunc(s.demanded, func(name string) bool { return !q.Has(name) }) {
		back.Set("error", "interaction_required")
	} else {
		back.Set("code", s.newCode(code{q.Get("client_id"), q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("scope"), q.Get("nonce")}))
	}
	if s.callback != nil {
		s.callback(back)
	}
	return back
}

// serveCodePage shows a code, for a person to paste.
func (s *Server) serveCodePage(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Counts) { c.Other++ })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!DOCTYPE html><title>Code</title><textarea readonly>%s</textarea>", html.EscapeString(r.URL.Query().Get("code")))
}

// serveConfiguration has what a client reads, and what real issuers say beside
// that.
func (s *Server) serveConfiguration(w http.ResponseWriter, r *http.Request) {
	s.count(func(c *Counts) { c.Other++ })
	p := s.Provider()
	s.answer(w, r, good(map[string]any{
		"issuer":                                s.URL,
		"authorization_endpoint":                p.AuthorizationEndpoint,
		"token_endpoint":                        p.TokenEndpoint,
		"revocation_endpoint":                   p.RevocationEndpoint,
		"jwks_uri":                              p.JWKSURI,
		"userinfo_endpoint":                     s.URL + "/v2/oauth2/userinfo",
		"introspection_endpoint":                s.URL + "/v2/oauth2/token/introspect",
		"response_types_supported":              []any{"code"},
		"grant_types_supported":                 []any{"authorization_code", "refresh_token", "client_credentials"},
		"subject_types_supported":               []any{"public"},
		"scopes_supported":                      []any{"openid", "email", "profile"},
		"token_endpoint_auth_methods_supported": []any{"client_secret_basic"},
		"code_challenge_methods_supported":      []any{"S256"},
		"claims_supported":                      []any{"iss", "sub", "aud", "exp", "iat", "at_hash", "preferred_username", "name", "email"},
		"id_token_signing_alg_values_supported": []any{"RS512"},
	}))
}
