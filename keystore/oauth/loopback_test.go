package oauth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// A caller sends bytes to the listener of a login; %[1]s is the login's state
// and %[2]s the listener's host.
type caller struct {
	name, sends string
	status      int // of the answer; 0: none is looked at
}

const right = "state=%[1]s&code=fake-code-x"

// hostile are those who must not end a login.
var hostile = []caller{
	{"nothing asked", "GET / HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"no state", "GET /?code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"wrong state", "GET /?state=x%[1]s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state and more", "GET /?state=%[1]sx&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state cut", "GET /?state=%[1].42s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state with a space", "GET /?state=+%[1]s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state empty", "GET /?state=&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state twice", "GET /?state=%[1]s&state=%[1]s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"two states", "GET /?state=x&state=%[1]s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"State", "GET /?State=%[1]s&code=fake-code-x HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"wrong state and an error", "GET /?state=x&error=access_denied HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"an error alone", "GET /?error=access_denied HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"broken escape", "GET /?" + right + "&x=%%zz HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"semicolon", "GET /?x=1;" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 400},
	{"state in a form", "POST / HTTP/1.1\r\nHost: %[2]s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 64\r\n\r\n" + right, 405},
	{"POST", "POST /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\nContent-Length: 0\r\n\r\n", 405},
	{"HEAD", "HEAD /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 405},
	{"PUT", "PUT /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 405},
	{"OPTIONS", "OPTIONS /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\nOrigin: https://x.example\r\n\r\n", 405},
	{"TRACE", "TRACE /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 405},
	{"get", "get /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 405},
	{"a method of its own", "LOGIN /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 405},
	{"CONNECT", "CONNECT %[2]s HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 0},
	{"favicon", "GET /favicon.ico HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"favicon with the answer", "GET /favicon.ico?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"other path", "GET /callback?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"two slashes", "GET //?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"escaped path", "GET /%%2e?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"foreign host", "GET /?" + right + " HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 421},
	{"foreign host with the port", "GET /?" + right + " HTTP/1.1\r\nHost: rebound.example:80\r\n\r\n", 421},
	{"localhost", "GET /?" + right + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
	{"no port", "GET /?" + right + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 421},
	{"empty host", "GET /?" + right + " HTTP/1.1\r\nHost:\r\n\r\n", 421},
	{"no host", "GET /?" + right + " HTTP/1.0\r\n\r\n", 421},
	{"no host in HTTP/1.1", "GET /?" + right + " HTTP/1.1\r\n\r\n", 400},
	{"two hosts", "GET /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\nHost: rebound.example\r\n\r\n", 400},
	{"absolute URL of another host", "GET http://rebound.example/?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 421},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
	{"HTTP/9", "GET /?" + right + " HTTP/9.9\r\nHost: %[2]s\r\n\r\n", 505},
	{"TLS", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
	{"noise", "\x00\xff\x00\xff\r\n\r\n", 400},
	{"long header", "GET /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n", 431},
	{"long query", "GET /?x=" + strings.Repeat("x", 200<<10) + "&" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 431},
	{"two requests at once", "GET /a HTTP/1.1\r\nHost: %[2]s\r\n\r\nGET /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\n\r\n", 404},
	{"two lengths", "POST / HTTP/1.1\r\nHost: %[2]s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
	{"half a request", "GET /?" + right, 0},
	{"half of the headers", "GET /?" + right + " HTTP/1.1\r\nHost: %[2]s\r\nX: ", 0},
}

func TestHostileCallersDoNotEndALogin(t *testing.T) {
	s := oauthtest.New(t)
	b := newBrowser(s)
	a, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid", transferAll},
		Visit: func(ctx context.Context, page string) error {
			for _, c := range hostile {
				c.call(t, page)
			}
			return b.visit(ctx, page)
		}})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, s, a)
	b.wait(t)
	if got := s.Counts(); got.Posts != 1 {
		t.Errorf("the server was asked %+v", got)
	}
	t.Logf("%d hostile callers", len(hostile))
}

// dial connects to the listener of the login that begins at page.
func dial(t testing.TB, page string) (conn net.Conn, state, host string) {
	t.Helper()
	q := query(page)
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err = net.Dial("tcp", redirect.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, q.Get("state"), redirect.Host
}

func (c caller) call(t *testing.T, page string) {
	conn, state, host := dial(t, page)
	text := c.sends
	if strings.Contains(text, "%") {
		text = fmt.Sprintf(text+"%[1].0s%[2].0s", state, host)
	}
	go io.WriteString(conn, text) // a listener that has read enough ends the connection
	if c.status == 0 {
		return
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != c.status {
		t.Errorf("%s: the answer is %d, want %d", c.name, resp.StatusCode, c.status)
	}
	if strings.Contains(string(body), state) || strings.Contains(string(body), oauthtest.Fake) || strings.Contains(string(body), "rebound") {
		t.Errorf("%s: the answer quotes the request: %s", c.name, body)
	}
	if resp.Header.Get("Content-Security-Policy") != "" && c.name != "HEAD" {
		checkPage(t, resp.Header, string(body))
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s: other sites may read the answer", c.name)
	}
}

// Those who open connections and say nothing, or little, do not keep the browser
// out.
func TestSlowCallersDoNotBlockALogin(t *testing.T) {
	s := oauthtest.New(t)
	b := newBrowser(s)
	a, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid", transferAll},
		Visit: func(ctx context.Context, page string) error {
			for i := range 100 {
				conn, _, _ := dial(t, page)
				if i%2 == 1 {
					io.WriteString(conn, "GET /?state=")
				}
			}
			return b.visit(ctx, page)
		}})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, s, a)
	b.wait(t)
}

// The second browser that knows the state is told, and changes nothing.
func TestFirstAnswerCounts(t *testing.T) {
	s := oauthtest.New(t)
	statuses := make(chan int, 16)
	_, err := logIn(t, t.Context(), newClient(t, s, nil), oauth.LoginOptions{Scopes: []string{"openid", transferAll},
		Visit: func(_ context.Context, page string) error {
			q := query(page)
			for range cap(statuses) {
				resp, err := http.Get(q.Get("redirect_uri") + "/?" + url.Values{"state": {q.Get("state")}, "error": {"invalid_scope"}}.Encode())
				if err != nil {
					return err
				}
				resp.Body.Close()
				statuses <- resp.StatusCode
			}
			return nil
		}})
	if !errors.Is(err, oauth.ErrRefused) {
		t.Fatal(err)
	}
	close(statuses)
	count := make(map[int]int)
	for status := range statuses {
		count[status]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusGone] != 15 {
		t.Errorf("the statuses are %v", count)
	}
}
