package oauth

// What a service of Globus demands of a login, and how its errors say so: the
// Globus Auth Requirements Errors, in their forms.

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/globus-keys/globus-keys/internal/strictjson"
)

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
