package oauth

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// What services answer with status 403, and the Globus SDK for Python makes one
// thing of.
func TestRequirementIsUnderstood(t *testing.T) {
	const code, uuid = "AuthorizationRequired", "f4dcb3d4-6f3b-4d39-9f7b-1a2b3c4d5e6f"
	session := func(s Session) Requirement { return Requirement{Code: code, Session: s} }
	consent := func(scopes ...string) Requirement { return Requirement{Code: "ConsentRequired", Scopes: scopes} }
	said := consent("openid")
	said.Session.Message = "Missing consent"
	for body, want := range map[string]Requirement{
		// today's form
		`{"code": "ConsentRequired", "authorization_parameters": {"required_scopes": ["openid", "urn:x:all[*urn:y:z]"]}}`: consent("openid", "urn:x:all[*urn:y:z]"),
		`{"code": "own.code", "authorization_parameters": {"session_required_mfa": true}, "request_id": "x"}`:             {Code: "own.code", Session: Session{MFA: true}},
		`{"code": "AuthorizationRequired", "authorization_parameters": {"session_message": "Please log in again",
			"session_required_identities": ["a@example.org", "` + uuid + `"], "session_required_policies": ["` + uuid + `"],
			"session_required_single_domain": ["example.org", "example.net"], "session_required_mfa": false,
			"required_scopes": null, "prompt": "login", "new": {}}}`: session(Session{"Please log in again", []string{"a@example.org", uuid},
			[]string{uuid}, []string{"example.org", "example.net"}, false, "login"}),
		// without a code; lists with commas
		`{"authorization_parameters": {"session_required_policies": "a,b", "session_required_single_domain": "example.org"}}`:   session(Session{Policies: []string{"a", "b"}, SingleDomain: []string{"example.org"}}),
		`{"authorization_parameters": {"session_required_identities": ["x"], "prompt": null}, "message": "not for the person"}`: session(Session{Identities: []string{"x"}}),
		// Transfer, its action providers
		`{"code": "ConsentRequired", "required_scopes": ["openid"], "message": "Missing\n\tconsent\u202e\u0007 ", "resource": "/x"}`:                       {Code: "ConsentRequired", Scopes: []string{"openid"}, Session: Session{Message: "Missing  consent"}},
		`{"code": "ConsentRequired", "required_scope": "openid", "description": "Missing consent"}`:                                                        said,
		`{"code": "ConsentRequired", "required_scope": "openid", "description": "no", "authorization_parameters": {"session_message": "Missing consent"}}`: said,
		// Globus Auth, as a service passes it on
		`{"error": "dependent_consent_required", "errors": [{"unapproved_scopes": ["openid", "email"], "id": "x"}]}`: consent("openid", "email"),
		// inside a list, or inside Flows's and Timers's "error"
		`{"errors": [{"code": 7}, "x", null, {"code": "Other"}, {"code": "ConsentRequired", "required_scopes": ["openid"]}, {"code": "ConsentRequired", "required_scopes": ["email"]}]}`: consent("openid"),
		`{"error": {"code": "ConsentRequired", "authorization_parameters": {"required_scopes": ["openid"]}}, "debug_id": "x"}`:                                                           consent("openid"),
		// what is bad at the top may be good inside
		`{"code": 403, "errors": [{"authorization_parameters": {"session_required_mfa": true}}]}`: session(Session{MFA: true}),
	} {
		if got, ok := ParseRequirement([]byte(body)); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngives %+v, %v; want\n      %+v", body, got, ok, want)
		}
	}
}

func TestOddRequirementIsNone(t *testing.T) {
	parameters := func(s string) string { return `{"code": "C", "authorization_parameters": {` + s + `}}` }
	scopes := func(n int) string { return strings.Repeat(`"s",`, n-1) + `"s"` }
	for name, body := range map[string]string{
		"empty":                            "",
		"no JSON":                          "<html>",
		"an array":                         `[` + parameters(`"session_required_mfa": true`) + `]`,
		"null":                             "null",
		"too large":                        parameters(`"session_required_mfa": true, "x": "` + strings.Repeat("x", 64<<10) + `"`),
		"other error":                      `{"code": "NotFound", "message": "no such thing"}`,
		"scopes of another error":          `{"code": "NotFound", "required_scopes": ["openid"]}`,
		"unapproved of another error":      `{"error": "invalid_grant", "errors": [{"unapproved_scopes": ["openid"]}]}`,
		"demands nothing":                  parameters(``),
		"demands nothing, in lists":        parameters(`"required_scopes": [], "session_required_policies": []`),
		"a message is no demand":           parameters(`"session_message": "x", "session_required_mfa": false`),
		"no scopes":                        `{"code": "ConsentRequired", "required_scopes": []}`,
		"key twice":                        parameters(`"session_required_mfa": true, "session_required_mfa": false`),
		"key wrongly cased":                parameters(`"Session_Required_MFA": true`),
		"mfa in a string":                  parameters(`"session_required_mfa": "true"`),
		"scopes in a string":               parameters(`"required_scopes": "openid"`),
		"scope with a quote":               parameters(`"required_scopes": ["open\"id"]`),
		"scope with a control character":   parameters(`"required_scopes": ["open\u0007id"]`),
		"scope with two names":             parameters(`"required_scopes": ["openid email"]`),
		"scope without an end":             parameters(`"required_scopes": ["openid[email"]`),
		"scope of nothing":                 parameters(`"required_scopes": ["*"]`),
		"empty scope":                      parameters(`"required_scopes": [""]`),
		"null scope":                       parameters(`"required_scopes": [null]`),
		"65 scopes":                        parameters(`"required_scopes": [` + scopes(65) + `]`),
		"scopes of 16 KiB":                 parameters(`"required_scopes": ["` + strings.Repeat("s", 9<<10) + `", "` + strings.Repeat("s", 9<<10) + `"]`),
		"identity with a comma":            parameters(`"session_required_identities": ["a,b"]`),
		"identity with a space":            parameters(`"session_required_identities": ["a b"]`),
		"identity of 257 bytes":            parameters(`"session_required_identities": ["` + strings.Repeat("i", 257) + `"]`),
		"policy is empty between commas":   parameters(`"session_required_policies": "a,,b"`),
		"policy is a number":               parameters(`"session_required_policies": [7]`),
		"policy with a control character":  parameters(`"session_required_policies": "a\u001b[2J"`),
		"domain is an object":              parameters(`"session_required_single_domain": {}`),
		"domain in other letters":          parameters(`"session_required_single_domain": ["ex\u0430mple.org"]`),
		"prompt that nobody is asked with": parameters(`"prompt": "none"`),
		"message of 2049 bytes":            parameters(`"session_required_mfa": true, "session_message": "` + strings.Repeat("m", 2049) + `"`),
		"message is a list":                parameters(`"session_required_mfa": true, "session_message": ["x"]`),
		"code with a space":                `{"code": "a b", "authorization_parameters": {"session_required_mfa": true}}`,
		"code with a control character":    `{"code": "a\u0007", "authorization_parameters": {"session_required_mfa": true}}`,
		"code of 65 letters":               `{"code": "` + strings.Repeat("c", 65) + `", "authorization_parameters": {"session_required_mfa": true}}`,
		"too deep":                         `{"errors": [{"errors": [` + parameters(`"session_required_mfa": true`) + `]}]}`,
	} {
		if got, ok := ParseRequirement([]byte(body)); ok {
			t.Errorf("%s: it gives %+v", name, got)
		}
	}
}

// FuzzRequirement: what is understood can be shown, can be asked for, and means
// the same when it is written again in the newest form.
func FuzzRequirement(f *testing.F) {
	for _, seed := range []string{
		`{"code": "ConsentRequired", "required_scopes": ["openid"], "message": "x"}`,
		`{"code": "ConsentRequired", "required_scope": "a[b *c]", "description": "x"}`,
		`{"authorization_parameters": {"session_required_policies": "a,b", "session_required_mfa": true, "prompt": "login"}}`,
		`{"error": "dependent_consent_required", "errors": [{"unapproved_scopes": ["openid"]}]}`,
		`{"error": {"code": "X", "authorization_parameters": {"session_required_identities": ["a"], "session_message": "\u202e"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, ok := ParseRequirement(body)
		if !ok {
			if !reflect.DeepEqual(r, Requirement{}) {
				t.Errorf("what is none gives %+v", r)
			}
			return
		}
		s := r.Session
		shown := strings.Join(slices.Concat([]string{r.Code, s.Message, s.Prompt}, r.Scopes, s.Identities, s.Policies, s.SingleDomain), " ")
		if strings.ContainsFunc(shown, func(c rune) bool { return !unicode.IsPrint(c) }) || len(shown) > maxRequirement {
			t.Errorf("%q cannot be shown", shown)
		}
		if got := strings.Split(s.query().Get("session_required_policies"), ","); len(s.Policies) > 0 && !slices.Equal(got, s.Policies) {
			t.Errorf("%q is asked for as %q", s.Policies, got)
		}
		again, err := json.Marshal(map[string]any{"code": r.Code, "authorization_parameters": map[string]any{
			"session_message": s.Message, "session_required_identities": s.Identities, "session_required_policies": s.Policies,
			"session_required_single_domain": s.SingleDomain, "session_required_mfa": s.MFA, "prompt": s.Prompt, "required_scopes": r.Scopes}})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseRequirement(again); !ok || fmt.Sprint(got) != fmt.Sprint(r) {
			t.Errorf("%+v, %v is not %+v", got, ok, r)
		}
	})
}
