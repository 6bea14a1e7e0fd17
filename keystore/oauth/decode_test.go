package oauth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestLifetime(t *testing.T) {
	const no = time.Duration(-1)
	for text, want := range map[string]time.Duration{
		"":                       time.Minute,
		"null":                   time.Minute,
		"1":                      time.Second,
		"172800":                 48 * time.Hour,
		"1.9":                    time.Second,
		"3.6e3":                  time.Hour,
		`"3600"`:                 time.Hour,
		"315360000":              maxLifetime,
		"315360001":              no,
		"0":                      no,
		"-0":                     no,
		"0.99":                   no,
		"-1":                     no,
		"1e400":                  no,
		"-1e400":                 no,
		"1e-400":                 no,
		"9223372036854775807":    no,
		`""`:                     no,
		`"0"`:                    no,
		`"-5"`:                   no,
		`"1e3"`:                  no,
		`"1.5"`:                  no,
		`" 60"`:                  no,
		`"0x10"`:                 no,
		`"Inf"`:                  no,
		`"NaN"`:                  no,
		`"\u0031"`:               no,
		`"99999999999999999999"`: no,
		"true":                   no,
		"[60]":                   no,
		"{}":                     no,
	} {
		got, err := lifetime(json.RawMessage(text))
		if (err == nil) != (want != no) || err == nil && got != want {
			t.Errorf("lifetime(%s) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestScopeNames(t *testing.T) {
	for scope, want := range map[string][]string{
		"":                    nil,
		"a b":                 {"a", "b"},
		"a[b *c[d e] f] *g":   {"a", "g"},
		"a[b c":               {"a"},
		"a] b":                {"a]", "b"},
		"  a   b ":            {"a", "b"},
		"urn:x:all[*urn:y:z]": {"urn:x:all"},
	} {
		if got := scopeNames(scope); !slices.Equal(got, want) {
			t.Errorf("scopeNames(%q) = %q, want %q", scope, got, want)
		}
	}
}

// Globus always names the resource server; what does not is not its answer.
func TestGlobusNamesTheResourceServer(t *testing.T) {
	body := []byte(`{"access_token": "fake-a", "token_type": "Bearer"}`)
	elsewhere := Provider{Issuer: "https://login.example:8443/realm"}
	for _, c := range []struct {
		asked asked
		want  string // "": refused
	}{
		{asked{provider: Globus("production")}, ""},
		{asked{provider: Globus("sandbox"), refreshOf: "a"}, ""},
		{asked{provider: elsewhere, refreshOf: "a"}, "a"},
		{asked{provider: elsewhere}, "login.example:8443"},
	} {
		a, err := decode(body, c.asked)
		if c.want == "" {
			if err == nil {
				t.Errorf("%+v: it was accepted", c.asked)
			}
			continue
		}
		if err != nil || a.Response.Tokens[0].ResourceServer != c.want {
			t.Errorf("%+v: %+v, %v", c.asked, a, err)
		}
	}
}

func TestScopesAreHeldAgainstWhatWasAsked(t *testing.T) {
	for _, c := range []struct {
		asked             asked
		scope, got        string
		narrowed, widened []string
		refused           bool
	}{
		{asked: asked{scope: "b a"}, scope: "a b", got: "a b"},
		{asked: asked{scope: "a b c"}, scope: "b", got: "b", narrowed: []string{"a", "c"}},
		{asked: asked{scope: "a"}, scope: "a b", got: "a b"},
		{asked: asked{scope: "a"}, scope: "b", got: "b", narrowed: []string{"a"}},
		{asked: asked{scope: "a[b]"}, scope: "a", got: "a"},
		{asked: asked{scope: "a b"}, got: "a b"},
		{asked: asked{}, scope: "a", got: "a"},
		{asked: asked{refreshOf: "r", scope: "a b"}, scope: "b c", got: "b c", narrowed: []string{"a"}, widened: []string{"c"}},
		{asked: asked{refreshOf: "r", scope: "a b"}, scope: "c", refused: true},
		{asked: asked{refreshOf: "r", scope: "a b"}, got: "a b"},
		{asked: asked{refreshOf: "r"}, scope: "c", got: "c"},
	} {
		c.asked.provider.Issuer = "https://login.example"
		body, _ := json.Marshal(map[string]any{"access_token": "fake-a", "token_type": "bearer", "scope": c.scope})
		a, err := decode(body, c.asked)
		if c.refused {
			if err == nil {
				t.Errorf("%+v: %q was accepted", c.asked, c.scope)
			}
			continue
		}
		if err != nil || a.Response.Tokens[0].Scope != c.got ||
			!slices.Equal(a.Narrowed, c.narrowed) || !slices.Equal(a.Widened, c.widened) {
			t.Errorf("%+v: %+v, %v", c.asked, a, err)
		}
	}
}

func TestSixtyFourOtherTokensAreAccepted(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 1: true, 64: true, 65: false} {
		var others []string
		for i := range n {
			others = append(others, fmt.Sprintf(`{"access_token": "fake-%d", "token_type": "Bearer", "resource_server": "s%d"}`, i, i))
		}
		list := "[" + strings.Join(others, ",") + "]"
		top := `{"access_token": "fake-a", "token_type": "Bearer", "resource_server": "r", "other_tokens": ` + list + "}"
		if a, err := decode([]byte(top), asked{}); (err == nil) != ok || ok && len(a.Response.Tokens) != n+1 {
			t.Errorf("%d other tokens: %d tokens, %v", n, len(a.Response.Tokens), err)
		}
		if a, err := decode([]byte(list), asked{array: true}); (err == nil) != ok || ok && len(a.Response.Tokens) != n {
			t.Errorf("an array of %d: %d tokens, %v", n, len(a.Response.Tokens), err)
		}
		if _, err := decode([]byte(top), asked{refreshOf: "r"}); (err == nil) != (n == 0) {
			t.Errorf("a refresh with %d other tokens: %v", n, err)
		}
	}
}

func TestAResourceServerStandsOnce(t *testing.T) {
	for server, ok := range map[string]bool{"": false, "r": false, "R": true} {
		body, _ := json.Marshal(map[string]any{"access_token": "fake-a", "token_type": "Bearer", "resource_server": "r",
			"other_tokens": []any{map[string]any{"access_token": "fake-b", "token_type": "Bearer", "resource_server": server}}})
		// An issuer whose host is "r" leaves the name out.
		if _, err := decode(body, asked{provider: Provider{Issuer: "https://r"}}); (err == nil) != ok {
			t.Errorf("beside %q the server %q: %v", "r", server, err)
		}
	}
}

func TestLongestTokensAreAccepted(t *testing.T) {
	for extra, ok := range map[int]bool{0: true, 1: false} {
		for key, limit := range map[string]int{"access_token": maxToken, "refresh_token": maxToken, "id_token": maxIDToken, "scope": maxScope} {
			doc := map[string]any{"access_token": "fake-a", "token_type": "Bearer", "resource_server": "r"}
			doc[key] = strings.Repeat("a", limit+extra)
			body, _ := json.Marshal(doc)
			if _, err := decode(body, asked{}); (err == nil) != ok {
				t.Errorf("%s of %d bytes: %v", key, limit+extra, err)
			}
		}
	}
}

// FuzzDecode holds the decoder to: no panic, no error that quotes the answer,
// and what is accepted comes back the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"fake-a","token_type":"Bearer","expires_in":3600,"resource_server":"r","scope":"a b","refresh_token":"fake-r","id_token":"fake-i","other_tokens":[{"access_token":"fake-b","token_type":"bearer","resource_server":"s"}]}`,
		`{"access_token":"fake-a","token_type":"Bearer","expires_in":"60"}`,
		`[{"access_token":"fake-a","token_type":"Bearer","expires_in":1.5e3,"resource_server":"r"}]`,
		`{"access_token":"a","access_token":"b"}`, `{"Access_Token":"a"}`, `{"expires_in":1e999}`, `null`, `[null]`, `{}`,
	} {
		for mode := range uint8(4) {
			f.Add([]byte(body), mode)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, mode uint8) {
		a := asked{op: "fuzz", clientID: "c", at: time.Unix(1_900_000_000, 0), scope: "a b",
			provider: Provider{Issuer: "https://login.example"}}
		switch mode % 4 {
		case 1:
			a.refreshOf = "r"
		case 2:
			a.array = true
		case 3:
			a.provider = Globus("production")
		}
		first, err := decode(body, a)
		if err != nil {
			return
		}
		again, err := decode(encodeAnswer(t, first, a), a)
		if err != nil {
			t.Fatalf("accepted, but not when it is written again: %v", err)
		}
		if !equalAnswers(first, again) {
			t.Fatalf("read as\n%+v\nthen as\n%+v", first, again)
		}
		for _, token := range first.Response.Tokens {
			if left := token.ExpiresAt.Sub(a.at); left < time.Second || left > maxLifetime {
				t.Fatalf("a token lives for %v", left)
			}
		}
	})
}

func encodeAnswer(t *testing.T, a Answer, asked asked) []byte {
	var list []map[string]any
	for _, token := range a.Response.Tokens {
		list = append(list, map[string]any{
			"access_token":    token.AccessToken.Reveal(),
			"refresh_token":   token.RefreshToken.Reveal(),
			"token_type":      token.TokenType,
			"expires_in":      int(token.ExpiresAt.Sub(asked.at).Seconds()),
			"scope":           token.Scope,
			"resource_server": token.ResourceServer,
		})
	}
	var v any = list
	if asked.array && list == nil {
		v = []any{}
	}
	if !asked.array {
		if len(list) > 1 {
			list[0]["other_tokens"] = list[1:]
		}
		list[0]["id_token"] = a.IDToken.Reveal()
		v = list[0]
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func equalAnswers(a, b Answer) bool {
	return a.IDToken.Equal(b.IDToken) && a.Response.Account == b.Response.Account &&
		slices.Equal(a.Narrowed, b.Narrowed) && slices.Equal(a.Widened, b.Widened) &&
		slices.EqualFunc(a.Response.Tokens, b.Response.Tokens, func(x, y keystore.Token) bool {
			return x.AccessToken.Equal(y.AccessToken) && x.RefreshToken.Equal(y.RefreshToken) &&
				x.ResourceServer == y.ResourceServer && x.Scope == y.Scope && x.TokenType == y.TokenType &&
				x.ExpiresAt.Equal(y.ExpiresAt) && x.Issuer == y.Issuer && x.ClientID == y.ClientID &&
				x.IdentityID == "" && y.IdentityID == ""
		})
}
