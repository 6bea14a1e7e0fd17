package oauthtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// badAnswer is one way to answer badly. spoil changes the good answer, or puts
// another in its place; what the request did to the Server's state stays done.
type badAnswer struct {
	name  string
	spoil func(s *Server, r *http.Request, x *exchange)
}

// BadAnswers returns the names of the ways in which a Server can answer badly.
func BadAnswers() []string {
	var names []string
	for _, a := range badAnswers {
		names = append(names, a.name)
	}
	return names
}

// AnswerBadly makes every endpoint answer as name says; "" ends that. It panics
// if there is no such name.
func (s *Server) AnswerBadly(name string) {
	i := slices.IndexFunc(badAnswers, func(a badAnswer) bool { return a.name == name })
	if i < 0 && name != "" {
		panic("oauthtest: no bad answer is named " + name)
	}
	s.locked(func() {
		if s.bad = nil; i >= 0 {
			s.bad = &badAnswers[i]
		}
	})
}

type spoil = func(s *Server, r *http.Request, x *exchange)

var badAnswers = []badAnswer{
	{"redirect 301", redirect(301)},
	{"redirect 302", redirect(302)},
	{"redirect 303", redirect(303)},
	{"redirect 307", redirect(307)},
	{"redirect 308", redirect(308)},
	{"redirect 300 without a location", status(300, "")},
	{"not modified", status(304, "")},
	{"no content", status(204, "")},

	{"other resource server", set("resource_server", "groups.api.globus.org")},
	{"missing resource server", unset("resource_server")},
	{"resource server with a control character", set("resource_server", "transfer\x1b[2J")},
	{"resource server of 513 bytes", set("resource_server", strings.Repeat("r", 513))},
	{"resource server is a number", set("resource_server", 7)},
	{"other scope", set("scope", "urn:globus:auth:scope:groups.api.globus.org:all")},
	{"narrower scope", set("scope", "urn:globus:auth:scope:transfer.api.globus.org:all")},
	{"wider scope", grow("scope", " urn:globus:auth:scope:transfer.api.globus.org:more")},
	{"missing scope", unset("scope")},
	{"scope is an array", set("scope", []any{"openid"})},
	{"scope with a control character", grow("scope", "\x07")},
	{"scope with a quote", grow("scope", `"`)},

	{"missing expires_in", unset("expires_in")},
	{"null expires_in", set("expires_in", nil)},
	{"expires_in in a string", set("expires_in", "3600")},
	{"zero expires_in", set("expires_in", 0)},
	{"expires_in below a second", set("expires_in", 0.5)},
	{"negative expires_in", set("expires_in", -3600)},
	{"negative expires_in in a string", set("expires_in", "-3600")},
	{"expires_in of 20 years", set("expires_in", 20*365*24*3600)},
	{"expires_in of 1e400", set("expires_in", json.Number("1e400"))},
	{"expires_in of 1e308", set("expires_in", json.Number("1e308"))},
	{"expires_in is NaN", text(`{"access_token": "fake-access", "token_type": "Bearer", "expires_in": NaN}`)},
	{"expires_in is NaN in a string", set("expires_in", "NaN")},
	{"expires_in is 0x10 in a string", set("expires_in", "0x10")},
	{"expires_in is true", set("expires_in", true)},

	{"access token twice", text(`{"access_token": "fake-one", "access_token": "fake-two", "token_type": "Bearer"}`)},
	{"access token twice, escaped", text(`{"access_token": "fake-one", "\u0061ccess_token": "fake-two", "token_type": "Bearer"}`)},
	{"unknown key twice", text(`{"access_token": "fake-one", "token_type": "Bearer", "x": {"y": 1, "y": 2}}`)},
	{"wrongly cased key", respell("access_token", "Access_Token")},
	{"wrongly cased key beside the right one", set("ACCESS_TOKEN", "fake-other")},
	{"wrongly cased key with a long s", set("acce\u017fs_token", "fake-other")},
	{"missing access token", unset("access_token")},
	{"null access token", set("access_token", nil)},
	{"empty access token", set("access_token", "")},
	{"access token is a number", set("access_token", 12345678)},
	{"access token with a line feed", set("access_token", "fake-a\r\nX-Header: b")},
	{"access token with a space", set("access_token", "fake-a b")},
	{"access token in other letters", set("access_token", "fake-\u00e4")},
	{"access token of 17 KiB", set("access_token", Fake+strings.Repeat("a", 17<<10))},
	{"refresh token with a NUL", set("refresh_token", "fake-a\x00")},
	{"refresh token is an array", set("refresh_token", []any{"fake-a"})},
	{"refresh token of 17 KiB", set("refresh_token", Fake+strings.Repeat("a", 17<<10))},
	{"id_token with a line feed", set("id_token", "fake-a\nb")},
	{"missing token type", unset("token_type")},
	{"other token type", set("token_type", "DPoP")},
	{"65 other tokens", manyOthers(65, "s%d.example")},
	{"same resource server twice", manyOthers(2, "same.example")},
	{"other tokens is an object", set("other_tokens", map[string]any{"a": 1})},
	{"other tokens holds null", set("other_tokens", []any{nil})},

	{"empty body", text("")},
	{"empty object", text("{}")},
	{"null", text("null")},
	{"an array", text(`[{"access_token": "fake-a", "token_type": "Bearer"}]`)},
	{"a string", text(`"fake-access"`)},
	{"deeply nested", text(strings.Repeat("[", 500_000))},
	{"nested in data", text(`{"data": {"access_token": "fake-a", "token_type": "Bearer"}}`)},
	{"two values", func(_ *Server, _ *http.Request, x *exchange) {
		x.raw, _ = json.Marshal(x.doc)
		x.raw = append(x.raw, "{}"...)
	}},
	{"byte order mark", func(_ *Server, _ *http.Request, x *exchange) {
		doc, _ := json.Marshal(x.doc)
		x.raw = append([]byte("\xef\xbb\xbf"), doc...)
	}},
	{"invalid UTF-8", text("{\"access_token\": \"fake-\xff\", \"token_type\": \"Bearer\"}")},
	{"unpaired surrogate", text(`{"access_token": "fake-\ud800", "token_type": "Bearer"}`)},
	{"HTML", typed("text/html; charset=utf-8", "<html><body>Please log in to the network.</body></html>")},
	{"HTML that says it is JSON", text("<html></html>")},
	{"form that says so", typed("application/x-www-form-urlencoded", "access_token=fake-a&token_type=bearer")},
	{"JSON without a content type", typed("", `{"access_token": "fake-a", "token_type": "Bearer"}`)},
	{"JSON that says it is text", typed("text/plain", `{"access_token": "fake-a", "token_type": "Bearer"}`)},
	{"unknown content encoding", header("Content-Encoding", "br")},

	{"invalid_grant 400", status(400, `{"error": "invalid_grant", "error_description": "x"}`)},
	{"invalid_grant 401", status(401, `{"error": "invalid_grant"}`)},
	{"invalid_grant 403", status(403, `{"error": "invalid_grant"}`)},
	{"invalid_grant 500", status(500, `{"error": "invalid_grant"}`)},
	{"invalid_grant of Globus", status(400, `{"errors": [{"status": "400", "id": "x", "code": "INVALID_GRANT", "title": "t", "detail": "d"}]}`)},
	{"invalid_grant twice", status(400, `{"error": "invalid_client", "error": "invalid_grant"}`)},
	{"invalid_grant as HTML", func(_ *Server, _ *http.Request, x *exchange) {
		x.status, x.raw = 400, []byte(`{"error": "invalid_grant"}`)
		x.header.Set("Content-Type", "text/html")
	}},
	{"invalid_client 401", status(401, `{"error": "invalid_client"}`)},
	{"error code with control characters", status(400, `{"error": "\u001b]0;x\u0007bad\r\n"}`)},
	{"error code of 65 letters", status(400, `{"error": "`+strings.Repeat("a", 65)+`"}`)},
	{"error code is an object", status(400, `{"error": {"code": 7}}`)},
	{"HTML 502", status(502, "<html>Bad gateway</html>")},
	{"echo in the error code", echo(`{"error": "%s"}`)},
	{"echo in the error description", echo(`{"error": "invalid_request", "error_description": "no: %s"}`)},
	{"echo in a key", echo(`{"%[1]s": 1, "%[1]s": 2}`)},
	{"echo in Globus's code", echo(`{"errors": [{"code": "%s"}]}`)},
	{"echo in a body that is not JSON", echo("no such token: %s")},
	{"echo in a success", echoSuccess},
	{"echo in a header", echoHeader},

	{"429 with seconds", retry(429, "7")},
	{"503 with a date", func(s *Server, r *http.Request, x *exchange) {
		retry(503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))(s, r, x)
	}},
	{"429 with a past date", retry(429, "Sun, 06 Nov 1994 08:49:37 GMT")},
	{"429 with an absurd number", retry(429, "99999999999999999999999")},
	{"429 with a negative number", retry(429, "-5")},
	{"503 with an absurd date", retry(503, "Fri, 31 Dec 9999 23:59:59 GMT")},
	{"503 without a time", status(503, "")},

	{"body of 300 MB", stream(200, flood)},
	{"body of 300 MB that says so", stream(200, declared(floodSize, flood))},
	{"error of 300 MB", stream(400, flood)},
	{"gzip bomb", stream(200, bomb)},
	{"gzip that is none", func(_ *Server, _ *http.Request, x *exchange) { x.header.Set("Content-Encoding", "gzip") }},
	{"drip feed", stream(200, drip)},
	{"drip feed of an error", stream(503, drip)},
	{"cut body", stream(200, cut)},
	{"cut body of a known length", stream(200, declared(1000, cut))},
	{"headers without end", hijack(headers)},
	{"drip feed of headers", hijack(dripHeaders)},
	{"provisional answers without end", hijack(provisional)},
	{"not HTTP", hijack(notHTTP)},
	{"closes after the request", hijack(nil)},
	{"resets after the request", hijack(reset)},
	{"never answers", hijack(never)},
}

func redirect(code int) spoil {
	return func(s *Server, r *http.Request, x *exchange) {
		x.status, x.raw = code, []byte("moved "+sent(r))
		x.header.Set("Location", s.second.URL+r.URL.Path+"?echo="+sent(r))
	}
}

func status(code int, body string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) { x.status, x.raw = code, []byte(body) }
}

func set(key string, value any) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) { x.doc[key] = value }
}

func unset(key string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) { delete(x.doc, key) }
}

func grow(key, more string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) { x.doc[key] = fmt.Sprint(x.doc[key], more) }
}

func respell(key, as string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) {
		x.doc[as] = x.doc[key]
		delete(x.doc, key)
	}
}

func manyOthers(n int, name string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) {
		var others []any
		for i := range n {
			server := name
			if strings.Contains(name, "%d") {
				server = fmt.Sprintf(name, i)
			}
			others = append(others, map[string]any{"access_token": fmt.Sprintf("%sother-%d", Fake, i),
				"token_type": "Bearer", "expires_in": 60, "resource_server": server, "scope": "all"})
		}
		x.doc["other_tokens"] = others
	}
}

func text(body string) spoil { return status(200, body) }

func typed(contentType, body string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) {
		x.raw = []byte(body)
		x.header["Content-Type"] = []string{contentType}
		if contentType == "" {
			x.header["Content-Type"] = nil // net/http would guess one
		}
	}
}

func header(name, value string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) { x.header.Set(name, value) }
}

func retry(code int, after string) spoil {
	return func(_ *Server, _ *http.Request, x *exchange) {
		x.status, x.raw = code, []byte(`{"error": "slow_down"}`)
		x.header.Set("Retry-After", after)
	}
}

// sent is the secret of a request, which a careless server would echo.
func sent(r *http.Request) string {
	for _, name := range []string{"refresh_token", "code", "token"} {
		if v := r.PostForm.Get(name); v != "" {
			return v
		}
	}
	_, secret, _ := r.BasicAuth()
	return secret
}

func echo(format string) spoil {
	return func(_ *Server, r *http.Request, x *exchange) {
		x.status, x.raw = 400, []byte(fmt.Sprintf(format, sent(r)))
	}
}

// echoSuccess has a success that cannot be read quote the request everywhere.
func echoSuccess(_ *Server, r *http.Request, x *exchange) {
	x.doc = map[string]any{"token_type": sent(r), "resource_server": sent(r) + "\n", "scope": sent(r), sent(r): sent(r)}
}

func echoHeader(_ *Server, r *http.Request, x *exchange) {
	x.status, x.raw = 401, []byte("{}")
	x.header.Set("WWW-Authenticate", `Basic realm="`+sent(r)+`"`)
	x.header.Set("Retry-After", sent(r))
}
