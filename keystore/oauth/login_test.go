package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
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

func newBrowser() *browser {
	return &browser{Client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, done: make(chan struct{})}
}

// visit returns at once, as a browser does that is started.
func (b *browser) visit(_ context.Context, url string) error {
	go func() {
		defer close(b.done)
		var resp *http.Response
		if resp, b.err = b.Get(url); b.err != nil {
			return
		}
		defer resp.Body.Close()
		var text []byte
		text, b.err = io.ReadAll(resp.Body)
		b.status, b.page, b.header = resp.StatusCode, string(text), resp.Header
	}()
	return nil
}

// wait returns when the page at the end is there.
func (b *browser) wait(t testing.TB) {
	t.Helper()
	<-b.done
	if b.err != nil {
		t.Errorf("the browser: %v", b.err)
	}
}

// quiet fails if the test leaves a goroutine of this package behind.
func quiet(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for range 500 { // what has been told to end may need a moment for it
			if left = ours(); left == "" {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("a goroutine is left behind:\n%s", left)
	})
}

// ours is the stack of a goroutine that serves or waits for a login.
func ours() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(stack, "oauth.(*desk)") || strings.Contains(stack, "oauth.(*attempt)") {
			return stack
		}
	}
	return ""
}

func TestLoginThroughLoopback(t *testing.T) {
	for name, s := range map[string]*oauthtest.Server{"http": oauthtest.New(t), "https": oauthtest.NewTLS(t, oauthtest.GoodTLS)} {
		t.Run(name, func(t *testing.T) { loginThroughLoopback(t, s) })
	}
}

func loginThroughLoopback(t *testing.T, s *oauthtest.Server) {
	quiet(t)
	b := newBrowser()
	b.Transport.(*http.Transport).TLSClientConfig = s.ClientTLS()
	c := newClient(t, s, &oauth.Options{RootCAs: s.Roots()})
	a, err := c.Login(t.Context(), oauth.LoginOptions{Scopes: []string{"openid", transferAll}, Visit: b.visit})
	if err != nil {
		t.Fatal(err)
	}
	b.wait(t)
	whole(t, s, a)
	if b.status != http.StatusOK || !strings.Contains(b.page, "received") || !strings.Contains(b.page, "close this window") ||
		!strings.Contains(b.page, "oauth.test") {
		t.Errorf("the page at the end is %d, %s", b.status, b.page)
	}
	q := s.LastAuthorize()
	if q.Get("scope") != "openid "+transferAll || q.Get("client_id") != clientID || len(q.Get("state")) != 43 ||
		len(q.Get("nonce")) != 43 || len(q.Get("code_challenge")) != 43 || q.Has("access_type") {
		t.Errorf("the authorization request is %v", q)
	}
	if !strings.HasPrefix(q.Get("redirect_uri"), "http://127.0.0.1:") || strings.Count(q.Get("redirect_uri"), "/") != 2 {
		t.Errorf("the redirect URI is %q", q.Get("redirect_uri"))
	}
	if got := s.Counts(); got != (oauthtest.Counts{Posts: 1, Exchanges: 1, Other: 2}) {
		t.Errorf("the server was asked %+v", got)
	}
	if resp, err := b.Get(q.Get("redirect_uri")); err == nil {
		resp.Body.Close()
		t.Error("somebody still listens")
	}
}

// whole fails unless a is a login of the server's user for openid and Transfer.
func whole(t *testing.T, s *oauthtest.Server, a oauth.Answer) {
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
	noLeak(t, a)
}

var (
	_ = errors.Is
	_ = fmt.Sprint
	_ = url.Parse
	_ = slices.Contains[[]string]
	_ sync.Mutex
)
