package oauth

// What Globus is called, where its logins come from, and what it does that
// other issuers do not. No other file of this project knows a name of Globus.

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/globus-keys/globus-keys/internal/strictjson"
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

// Session is what a service demands of a login beyond its scopes. The zero
// Session demands nothing.
type Session struct {
	Message      string   // for the person who logs in
	Identities   []string // ids or user names that must be in the session
	Policies     []string // ids of policies that it must satisfy
	SingleDomain []string // domains, one of which all of it must be in
	MFA          bool     // a second factor
	Prompt       string   // "login": even who is logged in must do it again
}

// query are the parameters of an authorization request that ask for s.
func (s Session) query() url.Values {
	q := make(url.Values)
	for name, value := range map[string]string{
		"session_message":                s.Message,
		"session_required_identities":    strings.Join(s.Identities, ","),
		"session_required_policies":      strings.Join(s.Policies, ","),
		"session_required_single_domain": strings.Join(s.SingleDomain, ","),
		"prompt":                         s.Prompt,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if s.MFA {
		q.Set("session_required_mfa", "True")
	}
	return q
}

// Limits of a Requirement.
const (
	maxRequirement = 64 << 10 // bytes of the body
	maxMessage     = 2048     // bytes
	maxDemands     = 64       // scopes, identities, policies and domains, of each
	maxDemand      = 256      // bytes of an identity, a policy or a domain
)

// Requirement is what a service demands of a login before it does what it was
// asked: one for Scopes with Session is what helps.
type Requirement struct {
	Code    string   // "ConsentRequired", "AuthorizationRequired" or the service's own; made as Error.Code is
	Scopes  []string // that consent is missing for
	Session Session
}

// ParseRequirement reads the body of an API's answer with status 403: a Globus
// Auth Requirements Error says there what would help. ok is false if it does
// not, if it demands nothing, is larger than 64 KiB, or is not made as it should
// be.
//
// There are several forms, new and old. The first good one counts: of the body
// as a whole, then of what is in its "error" or its list "errors".
//
//	{"code": …, "authorization_parameters": {"required_scopes": […], "session_message": …, …}}
//	{"authorization_parameters": {…}}, which is an "AuthorizationRequired"
//	{"code": "ConsentRequired", "required_scopes": […], "message": …}
//	{"code": "ConsentRequired", "required_scope": …, "description": …}
//	{"error": "dependent_consent_required", "errors": [{"unapproved_scopes": […]}]}
//
// Lists of identities, policies and domains may be strings with commas.
//
// What it returns can be shown: scopes are as in RFC 6749; identities, policies
// and domains are of printable ASCII without spaces and commas; what cannot be
// printed in the message has become a space.
func ParseRequirement(body []byte) (r Requirement, ok bool) {
	if len(body) > maxRequirement || strictjson.Check(body, requirementNames...) != nil {
		return Requirement{}, false
	}
	var top struct {
		Error  json.RawMessage   `json:"error"`
		Errors []json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &top) != nil {
		return Requirement{}, false
	}
	dependent := string(top.Error) == `"dependent_consent_required"`
	for i, text := range append([]json.RawMessage{body, top.Error}, top.Errors...) {
		var j requirementJSON
		if json.Unmarshal(text, &j) != nil {
			continue
		}
		if dependent && i > 1 {
			j = requirementJSON{Code: consentRequired, Scopes: j.Unapproved}
		}
		if r, ok := j.requirement(); ok {
			return r, true
		}
	}
	return Requirement{}, false
}

const (
	consentRequired       = "ConsentRequired"
	authorizationRequired = "AuthorizationRequired"
)

// requirementJSON is a requirement in any of its forms. null is as good as
// absent.
type requirementJSON struct {
	Code       string `json:"code"`
	Parameters *struct {
		Message      string    `json:"session_message"`
		Identities   commaList `json:"session_required_identities"`
		Policies     commaList `json:"session_required_policies"`
		SingleDomain commaList `json:"session_required_single_domain"`
		MFA          bool      `json:"session_required_mfa"`
		Prompt       string    `json:"prompt"`
		Scopes       []string  `json:"required_scopes"`
	} `json:"authorization_parameters"`

	Scopes      []string `json:"required_scopes"`   // Transfer
	Message     string   `json:"message"`           // Transfer
	Scope       string   `json:"required_scope"`    // old action providers
	Description string   `json:"description"`       // old action providers
	Unapproved  []string `json:"unapproved_scopes"` // Globus Auth
}

// requirementNames are the keys that must be spelled so.
var requirementNames = []string{"code", "authorization_parameters", "session_message", "session_required_identities",
	"session_required_policies", "session_required_single_domain", "session_required_mfa", "prompt", "required_scopes",
	"message", "required_scope", "description", "unapproved_scopes", "error", "errors"}

// commaList is a list, or a string with commas between its elements.
type commaList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *commaList) UnmarshalJSON(text []byte) error {
	var joined string
	if json.Unmarshal(text, (*[]string)(l)) == nil {
		return nil
	}
	err := json.Unmarshal(text, &joined)
	*l = strings.Split(joined, ",")
	return err
}

// requirement returns j in the newest form, if it is sound.
func (j requirementJSON) requirement() (r Requirement, ok bool) {
	r.Code = j.Code
	if j.Code == consentRequired {
		r.Scopes = j.Scopes
		if j.Scope != "" {
			r.Scopes = append(r.Scopes, j.Scope)
		}
		r.Session.Message = cmp.Or(j.Message, j.Description)
	}
	if p := j.Parameters; p != nil {
		r.Code = cmp.Or(j.Code, authorizationRequired)
		r.Scopes = append(r.Scopes, p.Scopes...)
		r.Session = Session{p.Message, p.Identities, p.Policies, p.SingleDomain, p.MFA, p.Prompt}
	}
	r.Session.Message = printable(r.Session.Message)
	return r, r.sound()
}

// printable puts a space for what a terminal would act upon or not show.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
}

// sound reports whether r demands something and all of it is well made.
func (r Requirement) sound() bool {
	s := r.Session
	something := len(r.Scopes)+len(s.Identities)+len(s.Policies)+len(s.SingleDomain) > 0 || s.MFA || s.Prompt != ""
	return something &&
		r.Code != "" && shownCode(r.Code, nil) == r.Code &&
		len(s.Message) <= maxMessage &&
		(s.Prompt == "" || s.Prompt == "login") &&
		all(r.Scopes, oneScope) && len(strings.Join(r.Scopes, " ")) <= maxScope &&
		all(s.Identities, oneDemand) && all(s.Policies, oneDemand) && all(s.SingleDomain, oneDemand)
}

func all(list []string, good func(string) bool) bool {
	return len(list) <= maxDemands && !slices.ContainsFunc(list, func(s string) bool { return !good(s) })
}

// oneDemand reports whether s can be one of a list with commas.
func oneDemand(s string) bool { return visibleText(s, maxDemand) && !strings.Contains(s, ",") }

// oneScope reports whether s is one scope, with those that it depends on.
func oneScope(s string) bool {
	names := scopeNames(s)
	return scopeText(s) && len(names) == 1 && names[0] != "" && strings.Count(s, "[") == strings.Count(s, "]")
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
