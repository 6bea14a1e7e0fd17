package oauth

// What Globus is called, where its logins come from, and what it does that other
// issuers do not. No other file of this package knows a service, a URL or an
// environment of it; requirement.go has the words of its errors.

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Service is one well-known service of Globus, as it is in production.
type Service struct {
	Alias          string   // what people call it
	ResourceServer string   // its name in a token response and in a store
	Scopes         []string // what a login asks for unless told otherwise
	Host           string   // of its API
}

// Services returns the well-known services, sorted by alias. A collection of
// Globus Connect Server is none of them: its UUID is its resource server, and
// its host is known only to the caller.
func Services() []Service {
	const (
		flows   = "eec9b274-0c81-4334-bdc2-54e90e689b9a"
		timers  = "524230d7-ea86-4a52-8312-86065a9e0417"
		compute = "facd7ccc-c5f4-42aa-916b-a0e270e2c2a9"
	)
	return []Service{
		{"auth", "auth.globus.org", append([]string{"openid", "profile", "email"},
			urns("auth.globus.org", "view_identity_set")...), "auth.globus.org"},
		{"compute", "funcx_service", urls(compute, "all"), "compute.api.globus.org"},
		{"flows", "flows.globus.org", urls(flows, "all", "run", "view_flows", "run_status", "run_manage"), "flows.automate.globus.org"},
		{"groups", "groups.api.globus.org", urns("groups.api.globus.org", "all"), "groups.api.globus.org"},
		{"search", "search.api.globus.org", urns("search.api.globus.org", "all", "search"), "search.api.globus.org"},
		{"timers", timers, urls(timers, "timer"), "timer.automate.globus.org"},
		{"transfer", "transfer.api.globus.org", urns("transfer.api.globus.org", "all"), "transfer.api.globus.org"},
	}
}

// Aliases returns the aliases of the services, sorted.
func Aliases() []string {
	var names []string
	for _, s := range Services() {
		names = append(names, s.Alias)
	}
	return names
}

// service returns the service with that alias.
func service(alias string) (s Service, ok bool) {
	for _, s := range Services() {
		if s.Alias == alias {
			return s, true
		}
	}
	return Service{}, false
}

// ResourceServer returns the resource server of the service with that alias,
// and any other name as it is.
func ResourceServer(aliasOrName string) string {
	if s, ok := service(aliasOrName); ok {
		return s.ResourceServer
	}
	return aliasOrName
}

// ServiceScopes returns what a login asks for to use the service with that alias.
// ok is false if there is none.
func ServiceScopes(alias string) (scopes []string, ok bool) {
	s, ok := service(alias)
	return s.Scopes, ok
}

// DefaultScopes returns what a login asks for of which nothing is known but the
// issuer: who logs in, and, where OpenID Connect says so, to be renewable. Globus
// asks for that in another way.
func DefaultScopes(issuer string) []string {
	scopes := []string{"openid", "profile", "email"}
	if !isGlobus(issuer) {
		scopes = append(scopes, "offline_access") // OpenID Connect Core section 11
	}
	return scopes
}

// SplitScopes splits a list of scopes at the spaces that are not in brackets.
func SplitScopes(list string) []string {
	depth := 0
	return strings.FieldsFunc(list, func(r rune) bool {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		}
		return depth <= 0 && unicode.IsSpace(r)
	})
}

// MergeScopes returns scopes without those that are there twice. Of one with what
// it depends on in brackets, and the same without, the first stays.
func MergeScopes(scopes []string) []string {
	detailed := make(map[string]bool)
	for _, s := range scopes {
		if strings.Contains(s, "[") {
			detailed[strings.Join(scopeNames(s), " ")] = true
		}
	}
	var merged []string
	for _, s := range scopes {
		if !slices.Contains(merged, s) && !detailed[s] {
			merged = append(merged, s)
		}
	}
	return merged
}

// globusEnvironments are the names that GLOBUS_SDK_ENVIRONMENT may have.
var globusEnvironments = []string{"production", "preview", "sandbox", "integration", "test", "staging"}

// GlobusIssuer returns the URL of Globus Auth in an environment, by the name
// that GLOBUS_SDK_ENVIRONMENT has for it. ok is false for names of none.
func GlobusIssuer(environment string) (url string, ok bool) {
	switch {
	case environment == "production":
		return "https://auth.globus.org", true
	case environment == "preview":
		return "https://auth.preview.globus.org", true
	case slices.Contains(globusEnvironments, environment):
		return "https://auth." + environment + ".globuscs.info", true
	}
	return "", false
}

// Globus returns where Globus Auth is in an environment, by the names that
// [GlobusIssuer] takes. For other names it is the zero Provider, whose Check
// fails.
func Globus(environment string) Provider {
	issuer, ok := GlobusIssuer(environment)
	if !ok {
		return Provider{}
	}
	return Provider{
		Issuer:                issuer,
		AuthorizationEndpoint: issuer + "/v2/oauth2/authorize",
		TokenEndpoint:         issuer + "/v2/oauth2/token",
		RevocationEndpoint:    issuer + "/v2/oauth2/token/revoke",
		JWKSURI:               issuer + "/jwk.json",
	}
}

// ClientConfig is the name of the configuration value in which a namespace keeps
// its confidential client, {"client_id", "client_secret"}: the Globus CLI's name,
// so that what is imported from there works.
const ClientConfig = "auth_client_data"

// loginQuery are the parameters of an authorization request that depend on the
// issuer. Globus issues refresh tokens only to who asks for access offline; that
// is not a word of OAuth, and others do not hear it. What a Session demands is
// asked of every issuer, "prompt" being OpenID Connect's: one that does not know
// a parameter ignores it (RFC 6749 section 3.1), and to leave it out would not
// make the service that has demanded it more content.
func loginQuery(issuer string, s Session) url.Values {
	q := s.query()
	if isGlobus(issuer) {
		q.Set("access_type", "offline")
	}
	return q
}

// codePage is the redirect URI of Globus's page that shows a code to be pasted;
// "" if the issuer has none.
func codePage(issuer string) string {
	if !isGlobus(issuer) {
		return ""
	}
	return issuer + "/v2/web/auth-code"
}

// grantDependentTokens is how a service gets tokens for the services that it
// needs to do what was asked of it. Its answer is a JSON array.
const grantDependentTokens = "urn:globus:auth:grant_type:dependent_token"

// isGlobus reports whether issuer is Globus Auth, which always names the
// resource server of a token.
func isGlobus(issuer string) bool { return globusEnvironment(issuer) != "" }

// globusEnvironment is the one whose Globus Auth issuer is, "" if it is none.
func globusEnvironment(issuer string) string {
	for _, environment := range globusEnvironments {
		if known, _ := GlobusIssuer(environment); issuer == known {
			return environment
		}
	}
	return ""
}

// globusHosts returns the hosts that may see an access token of issuer for
// resourceServer. They are known for the well-known services of Globus only.
func globusHosts(issuer, resourceServer string) (hosts []string) {
	environment := globusEnvironment(issuer)
	for _, s := range Services() {
		if environment != "" && s.ResourceServer == resourceServer {
			hosts = append(hosts, hostIn(environment, s.Host))
		}
	}
	return hosts
}

// hostIn is what host, of production, is called in another environment: auth and
// the APIs have a domain for each, what runs on automate.globus.org does not.
func hostIn(environment, host string) string {
	const domain = "globus.org"
	switch {
	case environment == "production":
		return host
	case strings.HasSuffix(host, ".automate."+domain):
		return environment + "." + host
	}
	issuer, _ := GlobusIssuer(environment)
	return strings.TrimSuffix(host, domain) + strings.TrimPrefix(issuer, "https://auth.")
}

// IdleLimit returns how long a refresh token of issuer lives without use: with
// Globus six months, taken as 180 days. 0: not known.
func IdleLimit(issuer string) time.Duration {
	if isGlobus(issuer) {
		return 180 * 24 * time.Hour
	}
	return 0
}

// scopeNames splits a scope into names. Globus writes what a scope may do
// through others in brackets behind it, with a star where the user may decline,
// "a[b *c[d]] e"; an answer names "a" and "e" alone.
func scopeNames(scope string) []string {
	depth := 0
	outer := strings.Map(func(r rune) rune {
		switch {
		case r == '[':
			depth++
			return -1
		case r == ']' && depth > 0:
			depth--
			return -1
		case depth > 0:
			return -1
		}
		return r
	}, scope)
	names := strings.Fields(outer)
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, "*")
	}
	return names
}

func urns(resourceServer string, names ...string) []string {
	return prefixed("urn:globus:auth:scope:"+resourceServer+":", names)
}

func urls(client string, names ...string) []string {
	return prefixed("https://auth.globus.org/scopes/"+client+"/", names)
}

func prefixed(prefix string, names []string) []string {
	scopes := make([]string, 0, len(names))
	for _, name := range names {
		scopes = append(scopes, prefix+name)
	}
	return scopes
}
