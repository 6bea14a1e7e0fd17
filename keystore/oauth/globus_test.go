package oauth

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAliasGivesResourceServer(t *testing.T) {
	for name, want := range map[string]string{
		"auth":     "auth.globus.org",
		"transfer": "transfer.api.globus.org",
		"groups":   "groups.api.globus.org",
		"search":   "search.api.globus.org",
		"flows":    "flows.globus.org",
		"timers":   "524230d7-ea86-4a52-8312-86065a9e0417",
		"compute":  "funcx_service",
		// Everything else is the name of a resource server already.
		"transfer.api.globus.org":              "transfer.api.globus.org",
		"Transfer":                             "Transfer",
		"":                                     "",
		"ddb59aef-6d04-11e5-ba46-22000b92c6ec": "ddb59aef-6d04-11e5-ba46-22000b92c6ec",
	} {
		if got := ResourceServer(name); got != want {
			t.Errorf("ResourceServer(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestScopesAreWholeNames(t *testing.T) {
	for alias, want := range map[string][]string{
		"auth":     {"openid", "profile", "email", "urn:globus:auth:scope:auth.globus.org:view_identity_set"},
		"transfer": {"urn:globus:auth:scope:transfer.api.globus.org:all"},
		"timers":   {"https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"},
		"compute":  {"https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"},
	} {
		for _, s := range Services() {
			if s.Alias == alias && !slices.Equal(s.Scopes, want) {
				t.Errorf("%s has scopes %q, want %q", alias, s.Scopes, want)
			}
		}
	}
}

func TestServicesAreSortedAndComplete(t *testing.T) {
	if names := Aliases(); len(names) != 7 || !slices.IsSorted(names) {
		t.Errorf("aliases are %q", names)
	}
	for _, s := range Services() {
		if s.Host == "" || s.ResourceServer == "" || len(s.Scopes) == 0 {
			t.Errorf("%+v lacks something", s)
		}
	}
}

func TestIssuerIsOfTheEnvironment(t *testing.T) {
	for environment, want := range map[string]string{
		"production":  "https://auth.globus.org",
		"preview":     "https://auth.preview.globus.org",
		"sandbox":     "https://auth.sandbox.globuscs.info",
		"integration": "https://auth.integration.globuscs.info",
		"test":        "https://auth.test.globuscs.info",
		"staging":     "https://auth.staging.globuscs.info",
	} {
		if got, ok := GlobusIssuer(environment); !ok || got != want {
			t.Errorf("GlobusIssuer(%q) = %q, %v; want %q", environment, got, ok, want)
		}
	}
	for _, environment := range []string{"", "Production", "example.org/", "prod"} {
		if got, ok := GlobusIssuer(environment); ok || got != "" {
			t.Errorf("GlobusIssuer(%q) = %q, %v; want none", environment, got, ok)
		}
	}
}

func TestHostsOfTheEnvironment(t *testing.T) {
	const timers = "524230d7-ea86-4a52-8312-86065a9e0417"
	for _, c := range []struct{ issuer, server, want string }{
		{"https://auth.globus.org", "auth.globus.org", "auth.globus.org"},
		{"https://auth.globus.org", "transfer.api.globus.org", "transfer.api.globus.org"},
		{"https://auth.globus.org", "funcx_service", "compute.api.globus.org"},
		{"https://auth.globus.org", "flows.globus.org", "flows.automate.globus.org"},
		{"https://auth.globus.org", timers, "timer.automate.globus.org"},
		{"https://auth.preview.globus.org", "auth.globus.org", "auth.preview.globus.org"},
		{"https://auth.preview.globus.org", "transfer.api.globus.org", "transfer.api.preview.globus.org"},
		{"https://auth.preview.globus.org", "flows.globus.org", "preview.flows.automate.globus.org"},
		{"https://auth.preview.globus.org", timers, "preview.timer.automate.globus.org"},
		{"https://auth.sandbox.globuscs.info", "auth.globus.org", "auth.sandbox.globuscs.info"},
		{"https://auth.integration.globuscs.info", "groups.api.globus.org", "groups.api.integration.globuscs.info"},
		{"https://auth.test.globuscs.info", "search.api.globus.org", "search.api.test.globuscs.info"},
		{"https://auth.staging.globuscs.info", timers, "staging.timer.automate.globus.org"},
		{"https://auth.globus.org", "ddb59aef-6d04-11e5-ba46-22000b92c6ec", ""},
		{"https://auth.globus.org", "transfer", ""},
		{"https://auth.globus.org", "", ""},
		{"https://auth.globus.org/", "transfer.api.globus.org", ""},
		{"https://auth.globus.org.evil.example", "transfer.api.globus.org", ""},
		{"http://127.0.0.1:1", "transfer.api.globus.org", ""},
		{"", "transfer.api.globus.org", ""},
	} {
		if got := strings.Join(globusHosts(c.issuer, c.server), " "); got != c.want {
			t.Errorf("globusHosts(%q, %q) = %q, want %q", c.issuer, c.server, got, c.want)
		}
	}
}

func TestIdleLimit(t *testing.T) {
	for issuer, want := range map[string]time.Duration{
		"https://auth.globus.org":         4320 * time.Hour,
		"https://auth.preview.globus.org": 4320 * time.Hour,
		"https://issuer.example":          0,
		"":                                0,
	} {
		if got := IdleLimit(issuer); got != want {
			t.Errorf("IdleLimit(%q) = %v, want %v", issuer, got, want)
		}
	}
}
