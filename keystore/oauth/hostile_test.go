package oauth_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// outcome is what a refresh has to make of a bad answer.
type outcome struct {
	err      error // nil: it is a good answer after all
	code     string
	status   int // 0: not looked at
	retry    [2]time.Duration
	deadline bool   // it ends with the deadline only
	detail   string // "": not looked at
	check    func(t *testing.T, a oauth.Answer)
}

var (
	refused  = outcome{err: oauth.ErrAnswer, status: 200}
	down     = outcome{err: keystore.ErrUnavailable}
	tooLate  = outcome{err: keystore.ErrUnavailable, deadline: true}
	loggedIn = outcome{}
	tooLarge = outcome{err: oauth.ErrAnswer, status: 200, detail: "it is larger than 1 MiB"}
)

func says(status int, err error, code string) outcome {
	return outcome{err: err, status: status, code: code}
}

func lives(d time.Duration) outcome {
	return outcome{check: func(t *testing.T, a oauth.Answer) {
		if got := a.Response.Tokens[0].ExpiresAt; !got.Equal(clock.Add(d).Truncate(time.Second)) {
			t.Errorf("the token ends at %v", got)
		}
	}}
}

func retries(status int, from, to time.Duration) outcome {
	return outcome{err: keystore.ErrUnavailable, status: status, code: "slow_down", retry: [2]time.Duration{from, to}}
}

func scopes(scope string, narrowed, widened []string) outcome {
	return outcome{check: func(t *testing.T, a oauth.Answer) {
		if got := a.Response.Tokens[0].Scope; got != scope || !slices.Equal(a.Narrowed, narrowed) || !slices.Equal(a.Widened, widened) {
			t.Errorf("the scope is %q, narrowed %q, widened %q", got, a.Narrowed, a.Widened)
		}
	}}
}

// outcomes has the bad answers that are more, or less, than a refused success.
var outcomes = map[string]outcome{
	"redirect 301":                    says(301, oauth.ErrAnswer, ""),
	"redirect 302":                    says(302, oauth.ErrAnswer, ""),
	"redirect 303":                    says(303, oauth.ErrAnswer, ""),
	"redirect 307":                    says(307, oauth.ErrAnswer, ""),
	"redirect 308":                    says(308, oauth.ErrAnswer, ""),
	"redirect 300 without a location": says(300, oauth.ErrAnswer, ""),
	"not modified":                    says(304, oauth.ErrAnswer, ""),
	"no content":                      says(204, oauth.ErrAnswer, ""),

	"missing resource server": loggedIn, // the issuer is not Globus's
	"narrower scope":          scopes(transferAll, []string{transferMore}, nil),
	"wider scope": scopes(transferAll+" "+transferMore+" urn:globus:auth:scope:transfer.api.globus.org:more", nil,
		[]string{"urn:globus:auth:scope:transfer.api.globus.org:more"}),
	"missing scope":            scopes(transferAll+" "+transferMore, nil, nil),
	"missing expires_in":       lives(time.Minute),
	"null expires_in":          lives(time.Minute),
	"expires_in in a string":   lives(time.Hour),
	"unknown content encoding": loggedIn, // and the body is plain JSON all the same

	"invalid_grant 400":       says(400, keystore.ErrLoginRequired, "invalid_grant"),
	"invalid_grant 401":       says(401, keystore.ErrLoginRequired, "invalid_grant"),
	"invalid_grant 403":       says(403, oauth.ErrRefused, "invalid_grant"),
	"invalid_grant 500":       says(500, keystore.ErrUnavailable, "invalid_grant"),
	"invalid_grant of Globus": says(400, keystore.ErrLoginRequired, "invalid_grant"),
	"invalid_grant twice":     says(400, oauth.ErrRefused, ""),
	"invalid_grant as HTML":   says(400, oauth.ErrRefused, ""),
	"invalid_client 401":      says(401, oauth.ErrRefused, "invalid_client"),

	"error code with control characters": says(400, oauth.ErrRefused, ""),
	"error code of 65 letters":           says(400, oauth.ErrRefused, ""),
	"error code is an object":            says(400, oauth.ErrRefused, ""),
	"HTML 502":                           says(502, keystore.ErrUnavailable, ""),
	"echo in the error code":             says(400, oauth.ErrRefused, ""),
	"echo in the error description":      says(400, oauth.ErrRefused, "invalid_request"),
	"echo in a key":                      says(400, oauth.ErrRefused, ""),
	"echo in Globus's code":              says(400, oauth.ErrRefused, ""),
	"echo in a body that is not JSON":    says(400, oauth.ErrRefused, ""),
	"echo in a header":                   says(401, oauth.ErrRefused, ""),

	"429 with seconds":           retries(429, 7*time.Second, 7*time.Second),
	"503 with a date":            retries(503, time.Minute, 24*time.Hour),
	"429 with a past date":       retries(429, 0, 0),
	"429 with an absurd number":  retries(429, 24*time.Hour, 24*time.Hour),
	"429 with a negative number": retries(429, 0, 0),
	"503 with an absurd date":    retries(503, 24*time.Hour, 24*time.Hour),
	"503 without a time":         says(503, keystore.ErrUnavailable, ""),

	"body of 300 MB":                  tooLarge,
	"body of 300 MB that says so":     tooLarge,
	"gzip bomb":                       tooLarge,
	"gzip that is none":               {err: oauth.ErrAnswer, status: 200, detail: "it is not the gzip that it says it is"},
	"HTML":                            {err: oauth.ErrAnswer, status: 200, detail: "it does not say that it is JSON"},
	"other resource server":           {err: oauth.ErrAnswer, status: 200, detail: "it is for another resource server"},
	"other scope":                     {err: oauth.ErrAnswer, status: 200, detail: "it is for another scope"},
	"error of 300 MB":                 says(400, oauth.ErrRefused, ""),
	"cut body":                        {err: keystore.ErrUnavailable, status: 200},
	"cut body of a known length":      {err: keystore.ErrUnavailable, status: 200},
	"drip feed":                       {err: keystore.ErrUnavailable, status: 200, deadline: true},
	"drip feed of an error":           {err: keystore.ErrUnavailable, status: 503, deadline: true},
	"headers without end":             down,
	"drip feed of headers":            tooLate,
	"provisional answers without end": down,
	"not HTTP":                        down,
	"closes after the request":        down,
	"resets after the request":        down,
	"never answers":                   tooLate,
}

func TestBadAnswersToARefresh(t *testing.T) {
	names := oauthtest.BadAnswers()
	if len(names) < 40 {
		t.Errorf("there are %d bad answers only", len(names))
	}
	for name := range maps.Keys(outcomes) {
		if !slices.Contains(names, name) {
			t.Errorf("no bad answer is named %q", name)
		}
	}
	for _, name := range names {
		want, special := outcomes[name]
		if !special {
			want = refused
		}
		t.Run(name, func(t *testing.T) { refreshBadly(t, name, want) })
	}
}

func refreshBadly(t *testing.T, name string, want outcome) {
	s := oauthtest.New(t)
	opts := options(s)
	if name == "503 with a date" {
		opts.Clock = time.Now // the server's date is of now
	}
	old := oneLogin(t, s, newClient(t, s, opts))
	if want.deadline {
		opts.Timeout = 200 * time.Millisecond
	}
	c := newClient(t, s, opts)
	s.AnswerBadly(name)
	var a oauth.Answer
	err := bounded(t, s, func() (err error) {
		a, err = c.RefreshToken(t.Context(), old)
		return err
	})
	noLeak(t, a)
	if want.err == nil {
		if err != nil {
			t.Fatalf("the answer was refused: %v", err)
		}
		if want.check != nil {
			want.check(t, a)
		}
		return
	}
	want.compare(t, err)
	if len(a.Response.Tokens) != 0 || !a.IDToken.IsZero() {
		t.Errorf("beside the error there is the answer %+v", a)
	}
}

func (want outcome) compare(t *testing.T, err error) {
	t.Helper()
	e := asError(t, err)
	for _, sentinel := range []error{oauth.ErrAnswer, oauth.ErrRefused, keystore.ErrLoginRequired, keystore.ErrUnavailable} {
		if errors.Is(err, sentinel) != (sentinel == want.err) {
			t.Errorf("the error is %q; is it %q: %v", err, sentinel, errors.Is(err, sentinel))
		}
	}
	if deadline := errors.Is(err, context.DeadlineExceeded); deadline != (want.deadline && want.status < 400) {
		t.Errorf("the error is %q; is it the deadline: %v", err, deadline)
	}
	if !e.Sent || e.Op != "refresh" || e.Code != want.code || want.status != 0 && e.Status != want.status {
		t.Errorf("the error is %q: %#v", err, e)
	}
	if want.detail != "" && e.Detail != want.detail {
		t.Errorf("the detail is %q, want %q", e.Detail, want.detail)
	}
	if e.RetryAfter < want.retry[0] || e.RetryAfter > want.retry[1] {
		t.Errorf("retry after %v, want %v", e.RetryAfter, want.retry)
	}
}

// bounded runs one request and holds it to what is promised of all: it is sent
// once and to one host, takes little memory, reads little, and tells nothing.
func bounded(t *testing.T, s *oauthtest.Server, request func() error) error {
	t.Helper()
	const most = 32 << 20 // bytes, of client and server together
	before, start := s.Counts(), allocated()
	err := request()
	if used := allocated() - start; used > most {
		t.Errorf("the request took %d MB of memory", used>>20)
	}
	after := s.Counts()
	if n := asked(after) - asked(before); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	if after.Strays != 0 {
		t.Errorf("the other host was asked %d times", after.Strays)
	}
	if after.Bytes > most {
		t.Errorf("the server was able to send %d MB", after.Bytes>>20)
	}
	noLeak(t, err)
	return err
}

func asked(c oauthtest.Counts) int { return c.Posts + c.Revokes + c.Other }

// allocated is all memory that was ever taken: the high-water mark of a request
// cannot be more than what this grows by.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// What holds for a refresh holds for every other request.
func TestBadAnswersToOtherRequests(t *testing.T) {
	secret := keystore.NewSecret
	for op, request := range map[string]func(context.Context, *oauthtest.Server, *oauth.Options) error{
		"exchange": func(ctx context.Context, s *oauthtest.Server, o *oauth.Options) error {
			code := s.Code(clientID, redirectURI, verifier, transferAll, "openid")
			a, err := newClient(t, s, o).Exchange(ctx, secret(code), secret(verifier), redirectURI, transferAll, "openid")
			noLeak(t, a)
			return err
		},
		"client credentials": func(ctx context.Context, s *oauthtest.Server, o *oauth.Options) error {
			a, err := newService(t, s, o).ClientCredentials(ctx, []string{transferAll})
			noLeak(t, a)
			return err
		},
		"dependent tokens": func(ctx context.Context, s *oauthtest.Server, o *oauth.Options) error {
			a, err := newService(t, s, o).DependentTokens(ctx, secret(s.AccessToken(clientID, transferAll)))
			noLeak(t, a)
			return err
		},
		"revoke": func(ctx context.Context, s *oauthtest.Server, o *oauth.Options) error {
			return newClient(t, s, o).Revoke(ctx, secret("fake-refresh-zzzzzzzz"))
		},
		"discover": func(ctx context.Context, s *oauthtest.Server, o *oauth.Options) error {
			p, err := oauth.Discover(ctx, s.URL, o)
			if err == nil && p != s.Provider() {
				t.Errorf("discovered %+v", p)
			}
			return err
		},
	} {
		for _, name := range oauthtest.BadAnswers() {
			t.Run(op+"/"+name, func(t *testing.T) {
				s := oauthtest.New(t)
				s.AnswerBadly(name)
				opts := options(s)
				if outcomes[name].deadline {
					opts.Timeout = 100 * time.Millisecond
				}
				err := bounded(t, s, func() error { return request(t.Context(), s, opts) })
				if op == "revoke" {
					revokedOrNot(t, err, outcomes[name])
				}
				if err == nil {
					return
				}
				if e := asError(t, err); !e.Sent || e.Op != op {
					t.Errorf("the error is %q: %#v", err, e)
				}
			})
		}
	}
}

// revokedOrNot: a status of 2xx is a success, whatever else is wrong (RFC 7009
// section 2.2).
func revokedOrNot(t *testing.T, err error, want outcome) {
	t.Helper()
	status := want.status
	if want.err == nil {
		status = 200 // not special, or good after all
	}
	var e *oauth.Error
	if errors.As(err, &e) && e.Status != 0 {
		status = e.Status
	}
	if (err == nil) != (status/100 == 2) {
		t.Errorf("the status is %d, the error %v", status, err)
	}
}

func TestDependentTokensMustBeAnArray(t *testing.T) {
	s := oauthtest.New(t)
	c := newService(t, s, nil)
	for _, name := range []string{"empty object", "null", "a string", "empty body", "deeply nested"} {
		s.AnswerBadly(name)
		_, err := c.DependentTokens(t.Context(), keystore.NewSecret(s.AccessToken(clientID, transferAll)))
		if !errors.Is(err, oauth.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
		noLeak(t, err)
	}
}

func TestTLSFaults(t *testing.T) {
	for name, c := range map[string]struct {
		kind oauthtest.TLS
		says string
	}{
		"wrong name":        {oauthtest.WrongName, "the certificate is another host's"},
		"expired":           {oauthtest.Expired, "the certificate is not valid at this time"},
		"unknown authority": {oauthtest.Unknown, "the certificate is of an unknown authority"},
		"TLS 1.1":           {oauthtest.OldProtocol, "the connection failed"},
		"plain http":        {oauthtest.PlainHTTP, "the connection failed"},
		"silent":            {oauthtest.Silent, "it took too long"},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.NewTLS(t, c.kind)
			opts := options(s)
			if c.kind == oauthtest.Silent {
				opts.Timeout = 100 * time.Millisecond
			}
			old := keystore.Token{ResourceServer: transfer, RefreshToken: keystore.NewSecret("fake-refresh"), Issuer: s.URL, ClientID: clientID}
			_, err := newClient(t, s, opts).RefreshToken(t.Context(), old)
			e := asError(t, err)
			if !errors.Is(err, keystore.ErrUnavailable) || e.Sent || e.Detail != c.says {
				t.Errorf("the error is %q: %#v", err, e)
			}
			if got := s.Counts(); got != (oauthtest.Counts{}) {
				t.Errorf("the server was asked %+v", got)
			}
			noLeak(t, err)
		})
	}
}

func TestGoodTLS(t *testing.T) {
	s := oauthtest.NewTLS(t, oauthtest.GoodTLS)
	c := newClient(t, s, options(s))
	if _, err := c.RefreshToken(t.Context(), oneLogin(t, s, c)); err != nil {
		t.Error(err)
	}
	// Without the authority of the options it is unknown.
	_, err := newClient(t, s, nil).RefreshToken(t.Context(), oneLogin(t, s, c))
	if e := asError(t, err); e.Sent || !errors.Is(err, keystore.ErrUnavailable) {
		t.Error(err)
	}
}

func TestNobodyIsThere(t *testing.T) {
	for name, url := range map[string]string{"refused": "https://127.0.0.1:1", "no such host": "https://nowhere.invalid"} {
		c, err := oauth.NewClient(oauth.Provider{Issuer: url, TokenEndpoint: url, RevocationEndpoint: url},
			oauth.Credentials{ID: clientID}, &oauth.Options{Timeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Revoke(t.Context(), keystore.NewSecret("fake-refresh"))
		if e := asError(t, err); e.Sent || e.Status != 0 || !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		noLeak(t, err)
	}
}
