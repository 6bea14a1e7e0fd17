package oauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// browser goes where it is sent, as far as the page at the end.
type browser struct {
	http.Client
	status int
	page   string
	header http.Header
	err    error
	done   chan struct{}
}

func newBrowser(s *oauthtest.Server) *browser {
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.ClientTLS()}
	return &browser{Client: http.Client{Transport: t}, done: make(chan struct{})}
}

// visit returns at once, as one that starts a browser does.
func (b *browser) visit(_ context.Context, url string) error {
	go func() {
		defer close(b.done)
		b.open(url)
	}()
	return nil
}

func (b *browser) open(url string) {
	var resp *http.Response
	if resp, b.err = b.Get(url); b.err != nil {
		return
	}
	defer resp.Body.Close()
	var text []byte
	text, b.err = io.ReadAll(resp.Body)
	b.status, b.page, b.header = resp.StatusCode, string(text), resp.Header
}

// wait returns when the page at the end has come whole.
func (b *browser) wait(t testing.TB) {
	t.Helper()
	if <-b.done; b.err != nil {
		t.Errorf("the browser: %v", b.err)
	}
}

// logIn runs a login, and holds it to leaving nothing behind and telling nothing.
func logIn(t testing.TB, ctx context.Context, c *oauth.Client, opts oauth.LoginOptions) (a oauth.Answer, err error) {
	t.Helper()
	var secrets []string
	visit := opts.Visit
	opts.Visit = func(ctx context.Context, page string) error {
		if u, err := url.Parse(page); err == nil {
			secrets = append(secrets, u.Query().Get("state"), u.Query().Get("nonce"), u.Query().Get("code_challenge"))
		}
		return visit(ctx, page)
	}
	// Goroutines inherit the label of the one that starts them.
	pprof.Do(ctx, pprof.Labels("login", t.Name()), func(ctx context.Context) { a, err = c.Login(ctx, opts) })
	noneLeft(t)
	noLeak(t, a)
	noLeak(t, err)
	for _, secret := range secrets {
		if err != nil && secret != "" && strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("the error shows a secret of the login: %v", err)
		}
	}
	if err != nil && (len(a.Response.Tokens) != 0 || !a.IDToken.IsZero()) {
		t.Errorf("beside the error there is the answer %+v", a)
	}
	return a, err
}

// noneLeft fails if a goroutine of a login of this test goes on.
func noneLeft(t testing.TB) {
	t.Helper()
	for range 2000 { // what has ended needs a moment to be gone
		var all strings.Builder
		pprof.Lookup("goroutine").WriteTo(&all, 1)
		if !strings.Contains(all.String(), `"login":"`+t.Name()+`"`) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	var all strings.Builder
	pprof.Lookup("goroutine").WriteTo(&all, 1)
	t.Errorf("a goroutine is left behind:\n%s", all.String())
}

func TestLoginThroughLoopback(t *testing.T) {
	for name, s := range map[string]*oauthtest.Server{"http": oauthtest.New(t), "https": oauthtest.NewTLS(t, oauthtest.GoodTLS)} {
		t.Run(name, func(t *testing.T) { loginThroughLoopback(t, s) })
	}
}

func loginThroughLoopback(t *testing.T, s *oauthtest.Server) {
	b := newBrowser(s)
	c := newClient(t, s, &oauth.Options{RootCAs: s.Roots()})
	a, err := logIn(t, t.Context(), c, oauth.LoginOptions{Scopes: []string{"openid", transferAll},
		Visit: func(ctx context.Context, url string) error { b.visit(ctx, url); <-b.done; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.wait(t)
	whole(t, s, a)
	if b.status != http.StatusOK || !strings.Contains(b.page, "received") || !strings.Contains(b.page, "close this window") ||
		!strings.Contains(b.page, "oauth.test") {
		t.Errorf("the page at the end is %d, %s", b.status, b.page)
	}
	checkPage(t, b.header, b.page)
	q := s.LastAuthorize()
	if q.Get("scope") != "openid "+transferAll || q.Get("client_id") != clientID || len(q.Get("state")) != 43 ||
		len(q.Get("nonce")) != 43 || len(q.Get("code_challenge")) != 43 || q.Has("access_type") {
		t.Errorf("the authorization request is %v", q)
	}
	redirect := q.Get("redirect_uri")
	if !strings.HasPrefix(redirect, "http://127.0.0.1:") || strings.Count(redirect, "/") != 2 {
		t.Errorf("the redirect URI is %q", redirect)
	}
	if got := s.Counts(); got != (oauthtest.Counts{Posts: 1, Exchanges: 1, Other: 2}) {
		t.Errorf("the server was asked %+v", got)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(redirect, "http://")); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}

// whole fails unless a is a login of the server's user for openid and Transfer.
func whole(t testing.TB, s *oauthtest.Server, a oauth.Answer) {
	t.Helper()
	want := keystore.Account{Subject: oauthtest.Subject, Username: oauthtest.Username, Issuer: s.URL, ClientID: clientID}
	if a.Response.Account != want || len(a.Response.Tokens) != 2 || a.Narrowed != nil {
		t.Errorf("the answer is %+v", a)
	}
	for _, token := range a.Response.Tokens {
		if token.IdentityID != oauthtest.Subject || !s.Active(token.AccessToken.Reveal()) || s.Dead(token.RefreshToken.Reveal()) {
			t.Errorf("the token is %+v", token)
		}
	}
}

// checkPage fails if a page could run or load anything, or be kept or framed.
func checkPage(t testing.TB, h http.Header, page string) {
	t.Helper()
	csp := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || !strings.Contains(csp, "frame-ancestors 'none'") ||
		h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
		h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("the page's headers are %v", h)
	}
	for _, word := range []string{"<script", "http:", "https:", " src=", " href=", oauthtest.Fake} {
		if strings.Contains(page, word) {
			t.Errorf("the page has %q: %s", word, page)
		}
	}
	if !strings.HasSuffix(page, "</html>\n") {
		t.Errorf("the page is cut: %s", page)
	}
}

func TestLoginWithoutOpenID(t *testing.T) {
	s := oauthtest.New(t)
	a, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{transferAll, groupsAll}, Visit: newBrowser(s).visit})
	if err != nil || len(a.Response.Tokens) != 2 || !a.IDToken.IsZero() ||
		a.Response.Account != (keystore.Account{Issuer: s.URL, ClientID: clientID}) || a.Response.Tokens[0].IdentityID != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if q := s.LastAuthorize(); q.Has("nonce") || q.Get("scope") != transferAll+" "+groupsAll {
		t.Errorf("the authorization request is %v", q)
	}
	if got := s.Counts().Other; got != 1 { // and no keys
		t.Errorf("%d other requests", got)
	}
}

func TestConfidentialClientLogsIn(t *testing.T) {
	s := oauthtest.New(t)
	a, err := logIn(t, t.Context(), newService(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid"}, Visit: newBrowser(s).visit})
	if err != nil || a.Response.Account.Subject != oauthtest.Subject || a.Response.Account.ClientID != serviceID {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestTwoLoginsAtOnce(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	var pages [2]string
	var listening, crossing sync.WaitGroup
	listening.Add(2)
	crossing.Add(2)
	var logins sync.WaitGroup
	for i := range pages {
		logins.Go(func() {
			b := newBrowser(s)
			a, err := c.Login(t.Context(), oauth.LoginOptions{Scopes: []string{"openid", transferAll},
				Visit: func(ctx context.Context, page string) error {
					pages[i] = page
					listening.Done()
					listening.Wait()
					crossed(t, pages[1-i], page)
					crossing.Done()
					crossing.Wait()
					return b.visit(ctx, page)
				}})
			if err != nil {
				t.Error(err)
				return
			}
			whole(t, s, a)
			b.wait(t)
		})
	}
	logins.Wait()
	if got := s.Counts(); got.Exchanges != 2 || got.Denied != 0 {
		t.Errorf("the server was asked %+v", got)
	}
}

// crossed brings the state of one login to the listener of another.
func crossed(t *testing.T, one, other string) {
	a, b := query(one), query(other)
	if a.Get("state") == b.Get("state") || a.Get("code_challenge") == b.Get("code_challenge") || a.Get("redirect_uri") == b.Get("redirect_uri") {
		t.Error("two logins share something")
	}
	resp, err := http.Get(a.Get("redirect_uri") + "/?" + url.Values{"state": {b.Get("state")}, "code": {"fake-code-x"}}.Encode())
	if err != nil {
		t.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another login's state gets %d", resp.StatusCode)
	}
}

func query(page string) url.Values {
	u, err := url.Parse(page)
	if err != nil {
		return nil
	}
	return u.Query()
}

// What the browser brings with the right state ends the login, whatever it is.
func TestCallbacks(t *testing.T) {
	set := func(name string, values ...string) func(url.Values) {
		return func(q url.Values) { q[name] = values }
	}
	refusal := func(code string) func(url.Values) {
		return func(q url.Values) { q.Del("code"); q.Set("error", code) }
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		err    error
		code   string
	}{
		"denied":                  {oauthtest.Deny, keystore.ErrDeclined, "access_denied"},
		"denied, with a code":     {set("error", "access_denied"), keystore.ErrDeclined, "access_denied"},
		"denied by another":       {func(q url.Values) { oauthtest.Deny(q); q.Set("iss", "https://other.example") }, oauth.ErrAnswer, ""},
		"invalid scope":           {refusal("invalid_scope"), oauth.ErrRefused, "invalid_scope"},
		"interaction required":    {refusal("interaction_required"), oauth.ErrRefused, "interaction_required"},
		"temporarily unavailable": {refusal("temporarily_unavailable"), keystore.ErrUnavailable, "temporarily_unavailable"},
		"server error":            {refusal("server_error"), keystore.ErrUnavailable, "server_error"},
		"error with controls":     {refusal("a\x1b[2Jb"), oauth.ErrRefused, ""},
		"error empty":             {refusal(""), oauth.ErrRefused, ""},
		"error is HTML":           {refusal("<html>"), oauth.ErrRefused, ""},
		"error of 65 letters":     {refusal(strings.Repeat("a", 65)), oauth.ErrRefused, ""},
		"error echoes the code":   {func(q url.Values) { q.Set("error", q.Get("code")) }, oauth.ErrRefused, ""},
		"error echoes the state":  {func(q url.Values) { q.Set("error", q.Get("state")) }, oauth.ErrRefused, ""},
		"error twice":             {set("error", "access_denied", "access_denied"), oauth.ErrAnswer, ""},
		"other issuer":            {set("iss", "https://other.example"), oauth.ErrAnswer, ""},
		"issuer with a slash":     {func(q url.Values) { q.Set("iss", q.Get("iss")+"/") }, oauth.ErrAnswer, ""},
		"issuer empty":            {set("iss", ""), oauth.ErrAnswer, ""},
		"issuer twice":            {func(q url.Values) { q.Add("iss", q.Get("iss")) }, oauth.ErrAnswer, ""},
		"code twice":              {func(q url.Values) { q.Add("code", q.Get("code")) }, oauth.ErrAnswer, ""},
		"code missing":            {set("code"), oauth.ErrAnswer, ""},
		"code empty":              {set("code", ""), oauth.ErrAnswer, ""},
		"code with a space":       {set("code", "fake-code x"), oauth.ErrAnswer, ""},
		"code with controls":      {set("code", "fake-code\r\nx"), oauth.ErrAnswer, ""},
		"code of 17 KiB":          {set("code", strings.Repeat("c", 17<<10)), oauth.ErrAnswer, ""},
		"issuer missing":          {set("iss"), nil, ""},
		"unknown parameters":      {set("session_state", "x", "y"), nil, ""},
		"code of somebody else":   {set("code", "fake-code-x"), keystore.ErrLoginRequired, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			s.SetCallback(c.change)
			b := newBrowser(s)
			_, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{transferAll}, Visit: b.visit})
			b.wait(t)
			if !errors.Is(err, c.err) {
				t.Fatalf("the error is %v, want %v", err, c.err)
			}
			if b.status != http.StatusOK {
				t.Errorf("the page is %d", b.status)
			}
			if c.err == nil {
				return
			}
			if e := asError(t, err); e.Code != c.code || !e.Sent || c.code != "invalid_grant" && (e.Op != "login" || s.Counts().Posts != 0) {
				t.Errorf("the error is %#v", e)
			}
			if received := strings.Contains(b.page, "received"); received != (c.code == "invalid_grant") {
				t.Errorf("the page says %s", b.page)
			}
			checkPage(t, b.header, b.page)
		})
	}
}

// naming is a client of a server that has promised to name itself in every answer.
func naming(t *testing.T, s *oauthtest.Server) *oauth.Client {
	t.Helper()
	p := s.Provider()
	p.NamesItself = true
	c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An issuer that names itself in its answers does so in all of them (RFC 9207): one
// without a name is somebody else's, whatever it says.
func TestAnswerWithoutAPromisedIssuer(t *testing.T) {
	silent := func(q url.Values) { q.Del("iss") }
	for name, c := range map[string]struct {
		change func(url.Values)
		err    error
	}{
		"named":          {func(url.Values) {}, nil},
		"not named":      {silent, oauth.ErrAnswer},
		"denied by whom": {func(q url.Values) { oauthtest.Deny(q); silent(q) }, oauth.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			s.SetCallback(c.change)
			b := newBrowser(s)
			_, err := logIn(t, t.Context(), naming(t, s), oauth.LoginOptions{Scopes: []string{transferAll}, Visit: b.visit})
			b.wait(t)
			if !errors.Is(err, c.err) || c.err != nil && s.Counts().Posts != 0 {
				t.Errorf("%v, want %v", err, c.err)
			}
		})
	}
	s := oauthtest.New(t)
	code := func(u *url.URL) string { return u.Query().Get("code") }
	if _, err := logIn(t, t.Context(), naming(t, s), pasting(s, code)); !errors.Is(err, keystore.ErrInvalid) || s.Counts().Posts != 0 {
		t.Errorf("a bare code: %v, want ErrInvalid", err)
	}
	if _, err := logIn(t, t.Context(), naming(t, s), pasting(s, (*url.URL).String)); err != nil {
		t.Errorf("the whole URL: %v", err)
	}
}

func TestSessionIsAskedFor(t *testing.T) {
	s := oauthtest.New(t)
	s.RequireSession("session_required_mfa", "prompt")
	opts := oauth.LoginOptions{Scopes: []string{transferAll}, Visit: newBrowser(s).visit}
	if _, err := logIn(t, t.Context(), newClient(t, s, nil), opts); !errors.Is(err, oauth.ErrRefused) {
		t.Errorf("without what is demanded: %v", err)
	}
	opts.Session = oauth.Session{MFA: true, Prompt: "login", Identities: []string{"a", "b"}, Message: "x y"}
	opts.Visit = newBrowser(s).visit
	if _, err := logIn(t, t.Context(), newClient(t, s, nil), opts); err != nil {
		t.Errorf("with it: %v", err)
	}
	if q := s.LastAuthorize(); q.Get("session_required_identities") != "a,b" || q.Get("session_message") != "x y" || q.Get("prompt") != "login" {
		t.Errorf("the request is %v", q)
	}
}

func TestLoginOptionsAreChecked(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	never := func(context.Context, string) error { t.Error("somebody is sent to a page"); return nil }
	for name, opts := range map[string]oauth.LoginOptions{
		"no scopes":            {Visit: never},
		"empty scopes":         {Visit: never, Scopes: []string{"", " "}},
		"scope with a quote":   {Visit: never, Scopes: []string{`a"b`}},
		"scope with a control": {Visit: never, Scopes: []string{"a\nb"}},
		"no visit":             {Scopes: []string{"openid"}},
	} {
		if _, err := c.Login(t.Context(), opts); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := s.Provider()
	p.AuthorizationEndpoint = ""
	c, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Login(t.Context(), oauth.LoginOptions{Visit: never, Scopes: []string{"openid"}})
	if e := asError(t, err); !errors.Is(err, keystore.ErrUnavailable) || e.Sent || e.Op != "login" {
		t.Errorf("without an authorization endpoint: %v", err)
	}
}

var errHere = errors.New("the caller's own")

func nobody(context.Context, string) error { return nil }

// An end of waiting is said to be what it is, in both flows.
func TestWaitingEnds(t *testing.T) {
	s := oauthtest.New(t)
	c := newClient(t, s, nil)
	silent := func(ctx context.Context) (keystore.Secret, error) { <-ctx.Done(); return keystore.Secret{}, ctx.Err() }
	for flow, code := range map[string]func(context.Context) (keystore.Secret, error){"loopback": nil, "paste": silent} {
		opts := oauth.LoginOptions{Scopes: []string{"openid"}, Visit: nobody, Code: code}
		t.Run(flow+"/nobody comes", func(t *testing.T) {
			opts := opts
			opts.Wait = 20 * time.Millisecond
			_, err := logIn(t, t.Context(), c, opts)
			if !errors.Is(err, keystore.ErrDeclined) || errors.Is(err, context.DeadlineExceeded) ||
				!strings.Contains(err.Error(), "nobody has logged in within 20ms") {
				t.Error(err)
			}
		})
		t.Run(flow+"/deadline", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := logIn(t, ctx, c, opts); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keystore.ErrDeclined) {
				t.Error(err)
			}
		})
		t.Run(flow+"/canceled", func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			opts := opts
			opts.Visit = func(context.Context, string) error { cancel(errHere); return nil }
			if _, err := logIn(t, ctx, c, opts); !errors.Is(err, context.Canceled) || !errors.Is(err, errHere) {
				t.Error(err)
			}
		})
		t.Run(flow+"/canceled before", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := logIn(t, ctx, c, opts); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		t.Run(flow+"/no page", func(t *testing.T) {
			opts := opts
			opts.Visit = func(context.Context, string) error { return errHere }
			if _, err := logIn(t, t.Context(), c, opts); !errors.Is(err, errHere) {
				t.Error(err)
			}
		})
	}
	if got := s.Counts(); got != (oauthtest.Counts{}) {
		t.Errorf("the server was asked %+v", got)
	}
}

// A code is good once: who gives up when it is there gets the tokens still.
func TestCodeIsRedeemedWhoeverGivesUp(t *testing.T) {
	s := oauthtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.BeforeAnswer(func(e oauthtest.Event) {
		if e.Grant == "authorization_code" {
			cancel()
		}
	})
	a, err := logIn(t, ctx, newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid", transferAll}, Visit: newBrowser(s).visit})
	if err != nil || ctx.Err() == nil {
		t.Fatal(err)
	}
	whole(t, s, a)
}

// A browser that reports a failure after the answer has come has not failed.
func TestAnswerCountsMoreThanTheBrowser(t *testing.T) {
	s := oauthtest.New(t)
	a, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid", transferAll},
		Visit: func(_ context.Context, url string) error { newBrowser(s).open(url); return errHere }})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, s, a)
}

func TestPaste(t *testing.T) {
	for name, change := range map[string]func(u *url.URL) string{
		"the URL":                 func(u *url.URL) string { return u.String() },
		"the URL with a slash":    func(u *url.URL) string { u.Path = "/"; return "\n\t " + u.String() + " \r\n" },
		"the URL without http":    func(u *url.URL) string { return strings.TrimPrefix(u.String(), "http://") },
		"the URL with a fragment": func(u *url.URL) string { return u.String() + "#_=_" },
		"the code":                func(u *url.URL) string { return " " + u.Query().Get("code") + "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			a, err := logIn(t, t.Context(), newClient(t, s, nil), pasting(s, change))
			if err != nil {
				t.Fatal(err)
			}
			whole(t, s, a)
		})
	}
}

// pasting is a login by hand, where change makes what is pasted of the URL that
// the browser ended at.
func pasting(s *oauthtest.Server, change func(u *url.URL) string) oauth.LoginOptions {
	ended := make(chan *url.URL, 1)
	return oauth.LoginOptions{
		Scopes: []string{"openid", transferAll},
		Visit: func(_ context.Context, page string) error {
			b := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := b.Get(page)
			if err != nil {
				return err
			}
			resp.Body.Close()
			u, err := resp.Location()
			ended <- u
			return err
		},
		Code: func(context.Context) (keystore.Secret, error) { return keystore.NewSecret(change(<-ended)), nil },
	}
}

func TestPastedGarbage(t *testing.T) {
	set := func(name, value string) func(*url.URL) string {
		return func(u *url.URL) string {
			q := u.Query()
			q.Set(name, value)
			u.RawQuery = q.Encode()
			return u.String()
		}
	}
	for name, c := range map[string]struct {
		change func(u *url.URL) string
		err    error
	}{
		"nothing":            {func(*url.URL) string { return " \n" }, keystore.ErrInvalid},
		"two words":          {func(*url.URL) string { return "fake-code x" }, keystore.ErrInvalid},
		"other letters":      {func(*url.URL) string { return "fake-c\u00f6de" }, keystore.ErrInvalid},
		"controls":           {func(*url.URL) string { return "fake-code\x1b[2J" }, keystore.ErrInvalid},
		"20 KiB":             {func(*url.URL) string { return strings.Repeat("c", 20<<10) }, keystore.ErrInvalid},
		"URL without answer": {func(u *url.URL) string { u.RawQuery = ""; return u.String() }, keystore.ErrInvalid},
		"parameters alone":   {func(u *url.URL) string { return u.RawQuery }, keystore.ErrInvalid},
		"the page to log in": {func(u *url.URL) string { u.Host = "login.example"; return u.String() }, keystore.ErrInvalid},
		"another port":       {func(u *url.URL) string { u.Host = "127.0.0.1:1"; return u.String() }, keystore.ErrInvalid},
		"another path":       {func(u *url.URL) string { u.Path = "/x"; return u.String() }, keystore.ErrInvalid},
		"https":              {func(u *url.URL) string { u.Scheme = "https"; return u.String() }, keystore.ErrInvalid},
		"other state":        {set("state", "x"), keystore.ErrInvalid},
		"other issuer":       {set("iss", "https://other.example"), oauth.ErrAnswer},
		"denied":             {set("error", "access_denied"), keystore.ErrDeclined},
		"refused":            {set("error", "invalid_scope"), oauth.ErrRefused},
		"code missing":       {set("code", ""), oauth.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			if _, err := logIn(t, t.Context(), newClient(t, s, nil), pasting(s, c.change)); !errors.Is(err, c.err) {
				t.Errorf("the error is %v", err)
			}
			if got := s.Counts().Posts; got != 0 {
				t.Errorf("%d posts", got)
			}
		})
	}
}

func TestPasteFails(t *testing.T) {
	s := oauthtest.New(t)
	opts := oauth.LoginOptions{Scopes: []string{"openid"}, Visit: nobody,
		Code: func(context.Context) (keystore.Secret, error) { return keystore.Secret{}, errHere }}
	if _, err := logIn(t, t.Context(), newClient(t, s, nil), opts); !errors.Is(err, errHere) {
		t.Error(err)
	}
	// One who reads a terminal may not hear that nobody waits any more.
	end := make(chan struct{})
	opts.Code = func(context.Context) (keystore.Secret, error) { <-end; return keystore.NewSecret("fake-code-x"), nil }
	opts.Wait = time.Millisecond
	if _, err := newClient(t, s, nil).Login(t.Context(), opts); !errors.Is(err, keystore.ErrDeclined) {
		t.Error(err)
	}
	close(end)
	if got := s.Counts(); got != (oauthtest.Counts{}) {
		t.Errorf("the server was asked %+v", got)
	}
}

// detour leads what is meant for Globus to the fake one.
type detour struct {
	to   *url.URL
	way  http.Transport
	seen []string
}

func (d *detour) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "auth.globus.org" || r.URL.Scheme != "https" {
		return nil, errors.New("nobody is to be asked but Globus")
	}
	d.seen = append(d.seen, r.URL.Path)
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = d.to.Scheme, d.to.Host
	return d.way.RoundTrip(r)
}

// At Globus a page of its own shows the code.
func TestPasteAtGlobus(t *testing.T) {
	s := oauthtest.New(t)
	s.SetIDToken(func(i *oauthtest.IDToken) { i.Claims["iss"] = "https://auth.globus.org" })
	to, _ := url.Parse(s.URL)
	d := &detour{to: to}
	d.way.DisableKeepAlives = true
	c, err := oauth.NewClient(oauth.Globus("production"), oauth.Credentials{ID: clientID}, oauth.Through(d))
	if err != nil {
		t.Fatal(err)
	}
	var b browser
	b.Transport = d
	a, err := logIn(t, t.Context(), c, oauth.LoginOptions{
		Scopes: []string{"openid", transferAll},
		Visit:  func(_ context.Context, url string) error { b.open(url); return b.err },
		Code: func(context.Context) (keystore.Secret, error) {
			_, code, _ := strings.Cut(b.page, "<textarea readonly>")
			code, _, _ = strings.Cut(code, "<")
			return keystore.NewSecret(code), nil
		},
	})
	if err != nil || a.Response.Account.Subject != oauthtest.Subject || a.Response.Account.Issuer != "https://auth.globus.org" {
		t.Fatalf("%+v, %v", a, err)
	}
	if q := s.LastAuthorize(); q.Get("access_type") != "offline" || q.Get("redirect_uri") != "https://auth.globus.org/v2/web/auth-code" {
		t.Errorf("the request is %v", q)
	}
	if want := []string{"/v2/oauth2/authorize", "/v2/web/auth-code", "/v2/oauth2/token", "/jwk.json"}; !slices.Equal(d.seen, want) {
		t.Errorf("asked for %q", d.seen)
	}
}
