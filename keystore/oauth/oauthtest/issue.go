package oauthtest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// Subject is who logs in at a Server, and Username what people call them.
const (
	Subject  = "00000000-fake-4000-8000-000000000001"
	Username = "fake-person@example.org"
)

// code is an authorization code, good for one exchange.
type code struct {
	client, redirect, challenge, scope, nonce string
}

// access is what a token is good for.
type access struct {
	client, server, scope string
}

// refreshToken is one of a family, of which at most one is not spent.
type refreshToken struct {
	access
	spent  bool
	family *family
}

type family struct{ revoked bool }

type accessToken struct {
	access
	until   time.Time
	revoked bool
}

// Code logs in without a browser: it returns a code for the client, as the
// authorization endpoint would have sent to redirect for the S256 challenge of
// verifier.
func (s *Server) Code(client, redirect, verifier string, scopes ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newCode(code{client, redirect, base64.RawURLEncoding.EncodeToString(sum[:]), strings.Join(scopes, " "), ""})
}

// AccessToken makes an access token of a client, as a service may have got it
// with a request.
func (s *Server) AccessToken(client, scope string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newAccess(access{client, serverOf(scope), scope})["access_token"].(string)
}

// Active reports whether an API would accept the access token now.
func (s *Server) Active(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access[token]
	return a != nil && !a.revoked && s.now().Before(a.until)
}

// Dead reports whether the refresh token would be refused.
func (s *Server) Dead(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refresh[token]
	return r == nil || r.spent || r.family.revoked
}

// Living returns the access and refresh tokens that would be taken now.
func (s *Server) Living() (tokens []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.access {
		if !a.revoked && s.now().Before(a.until) {
			tokens = append(tokens, name)
		}
	}
	for name, r := range s.refresh {
		if !r.spent && !r.family.revoked {
			tokens = append(tokens, name)
		}
	}
	slices.Sort(tokens)
	return tokens
}

// KillLogins ends all refresh tokens, as a session policy or an administrator
// does.
func (s *Server) KillLogins() {
	s.locked(func() {
		for _, r := range s.refresh {
			r.family.revoked = true
		}
	})
}

func (s *Server) newCode(c code) string {
	name := s.name("code")
	s.codes[name] = &c
	return name
}

func (s *Server) name(kind string) string {
	s.serial++
	return fmt.Sprintf("%s%s-%06d", Fake, kind, s.serial)
}

// login issues tokens for the scopes, one for each resource server, as Globus
// writes them: the first at the top, the others in other_tokens.
func (s *Server) login(client, scope, nonce string, refreshable bool) (map[string]any, error) {
	servers, scopes, err := byServer(scope)
	if err != nil {
		return nil, err
	}
	var tokens []any
	for _, server := range servers {
		a := access{client, server, strings.Join(scopes[server], " ")}
		doc := s.newAccess(a)
		if refreshable {
			doc["refresh_token"] = s.newRefresh(a, &family{})
		}
		tokens = append(tokens, doc)
	}
	top := tokens[0].(map[string]any)
	top["other_tokens"] = append([]any{}, tokens[1:]...)
	top["state"] = "_default"
	if slices.Contains(strings.Fields(scope), "openid") {
		top["id_token"] = s.newIDToken(client, nonce, top["access_token"].(string))
	}
	return top, nil
}

func (s *Server) newAccess(a access) map[string]any {
	name := s.name("access")
	s.access[name] = &accessToken{access: a, until: s.now().Add(time.Duration(s.lifetime) * time.Second)}
	return map[string]any{
		"access_token":    name,
		"token_type":      "Bearer",
		"expires_in":      s.lifetime,
		"scope":           a.scope,
		"resource_server": a.server,
	}
}

func (s *Server) newRefresh(a access, f *family) string {
	name := s.name("refresh")
	s.refresh[name] = &refreshToken{access: a, family: f}
	return name
}

// renew spends a refresh token as the Rotation says.
func (s *Server) renew(client, token string) *exchange {
	r := s.refresh[token]
	if r == nil || r.client != client || r.family.revoked {
		return s.deny("invalid_grant")
	}
	if r.spent {
		s.counts.Reuse++
		r.family.revoked = true
		return s.deny("invalid_grant")
	}
	doc := s.newAccess(r.access)
	doc["other_tokens"] = []any{}
	switch s.rotation {
	case Static:
		doc["refresh_token"] = token
	case Rotating:
		r.spent = true
		doc["refresh_token"] = s.newRefresh(r.access, r.family)
	}
	s.counts.Refreshes++
	return good(doc)
}

func (s *Server) deny(code string) *exchange {
	s.counts.Denied++
	return oauthError(http.StatusBadRequest, code)
}

// byServer sorts scopes by resource server, in the order in which these come.
func byServer(scope string) (servers []string, scopes map[string][]string, err error) {
	scopes = make(map[string][]string)
	for _, name := range strings.Fields(scope) {
		server := serverOf(name)
		if server == "" {
			return nil, nil, fmt.Errorf("nobody has the scope %q", name)
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
		scopes[server] = append(scopes[server], name)
	}
	if len(servers) == 0 {
		return nil, nil, fmt.Errorf("no scope")
	}
	return servers, scopes, nil
}

// serverOf finds the resource server of a scope: in the service table, or in
// the scope's own text.
func serverOf(scope string) string {
	for _, service := range oauth.Services() {
		if slices.Contains(service.Scopes, scope) {
			return service.ResourceServer
		}
	}
	if rest, ok := strings.CutPrefix(scope, "urn:globus:auth:scope:"); ok {
		server, _, _ := strings.Cut(rest, ":")
		return server
	}
	u, err := url.Parse(scope)
	if err != nil {
		return ""
	}
	rest, ok := strings.CutPrefix(u.Path, "/scopes/")
	if !ok {
		return ""
	}
	server, _, _ := strings.Cut(rest, "/")
	return server
}
