package oauth

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

const (
	production = "https://auth.globus.org"
	groups     = "groups.api.globus.org"
)

// scripted is a login whose access tokens are given out one after the other,
// the next one when the last has been refused.
type scripted struct {
	tokens  []keystore.Token
	err     error             // of Refused
	refused []keystore.Secret // what it was told
}

func (s *scripted) Get(context.Context) (keystore.Token, error) {
	if len(s.tokens) == 0 {
		return keystore.Token{}, keystore.ErrNotFound
	}
	return s.tokens[0], nil
}

func (s *scripted) Refused(_ context.Context, access keystore.Secret) (keystore.Token, error) {
	s.refused = append(s.refused, access)
	if s.err != nil {
		return keystore.Token{}, s.err
	}
	s.tokens = s.tokens[1:]
	return s.tokens[0], nil
}

// scriptedLogin is one of Groups in production.
func scriptedLogin(access ...string) *scripted {
	s := &scripted{}
	for _, a := range access {
		s.tokens = append(s.tokens, keystore.Token{AccessToken: keystore.NewSecret(a), Issuer: production, ResourceServer: groups})
	}
	return s
}

// answering is a transport that keeps the requests, reads and closes their
// bodies, and answers with one status after the other, then with 200.
type answering struct {
	statuses []int
	requests []*http.Request
	sent     []string // bodies
	answers  []*closing
}

func (a *answering) RoundTrip(req *http.Request) (*http.Response, error) {
	a.requests = append(a.requests, req)
	body := ""
	if req.Body != nil {
		data, _ := io.ReadAll(req.Body)
		req.Body.Close()
		body = string(data)
	}
	a.sent = append(a.sent, body)
	answer := &closing{Reader: strings.NewReader(large)}
	a.answers = append(a.answers, answer)
	status := http.StatusOK
	if n := len(a.requests); n <= len(a.statuses) {
		status = a.statuses[n-1]
	}
	return &http.Response{StatusCode: status, Body: answer, Request: req}, nil
}

// large is more than anybody wants to read of an answer that is of no use.
var large = strings.Repeat("a", 1<<20)

// closing is a body that knows how much of it was read and whether it was closed.
type closing struct {
	io.Reader
	read   int
	closed int
}

func (c *closing) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

func (c *closing) Close() error {
	c.closed++
	return nil
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// A login is not asked for, and so not renewed, where its token may not go anyway. It
// is where that depends upon the login.
func TestLoginIsNotAskedForAnotherHost(t *testing.T) {
	for name, c := range map[string]struct {
		hosts []string
		asked int
	}{"named hosts": {[]string{"g-1.example"}, 0}, "known hosts": {nil, 1}} {
		asked := 0
		s := counting{scriptedLogin("fake-1"), &asked}
		_, err := newBearer(s, &TransportOptions{Hosts: c.hosts, Base: &answering{}}).RoundTrip(request(t, "GET", "https://g-2.example/", nil))
		if !errors.Is(err, keystore.ErrInvalid) || asked != c.asked {
			t.Errorf("%s: %v, the login was asked for %d times", name, err, asked)
		}
	}
}

// counting is a login that counts how often it is asked for.
type counting struct {
	*scripted
	asked *int
}

func (c counting) Get(ctx context.Context) (keystore.Token, error) {
	*c.asked++
	return c.scripted.Get(ctx)
}

// An answer 401 renews once, whatever comes then; the request is sent again only
// if there is another token for its host, and if its body can be had again.
func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	const url = "https://groups.api.globus.org/v2/groups"
	readable := func() (*http.Request, *closing) {
		body := &closing{Reader: strings.NewReader("body")}
		return request(t, "POST", url, body), body // no GetBody
	}
	other := scriptedLogin("fake-1", "fake-2")
	other.tokens[1].Issuer = "https://auth.preview.globus.org"
	malformed := scriptedLogin("fake-1", "fake 2")
	failing := scriptedLogin("fake-1")
	failing.err = keystore.ErrLoginRequired
	once, _ := readable()
	broken := request(t, "POST", url, strings.NewReader("body"))
	broken.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	for _, c := range []struct {
		name     string
		login    *scripted
		statuses []int
		req      *http.Request
		tokens   string // of the requests
		status   int
		refused  int
	}{
		{"not refused", scriptedLogin("fake-1"), []int{403}, request(t, "GET", url, nil), "fake-1", 403, 0},
		{"no body", scriptedLogin("fake-1", "fake-2"), []int{401}, request(t, "GET", url, nil), "fake-1 fake-2", 200, 1},
		{"empty body", scriptedLogin("fake-1", "fake-2"), []int{401}, request(t, "POST", url, http.NoBody), "fake-1 fake-2", 200, 1},
		{"body that can be had again", scriptedLogin("fake-1", "fake-2"), []int{401}, request(t, "POST", url, strings.NewReader("body")), "fake-1 fake-2", 200, 1},
		{"body that cannot", scriptedLogin("fake-1", "fake-2"), []int{401}, once, "fake-1", 401, 1},
		{"body that fails", scriptedLogin("fake-1", "fake-2"), []int{401}, broken, "fake-1", 401, 1},
		{"refused twice", scriptedLogin("fake-1", "fake-2", "fake-3"), []int{401, 401}, request(t, "GET", url, nil), "fake-1 fake-2", 401, 1},
		{"same token", scriptedLogin("fake-1", "fake-1"), []int{401}, request(t, "GET", url, nil), "fake-1", 401, 1},
		{"dead login", failing, []int{401}, request(t, "GET", url, nil), "fake-1", 401, 1},
		{"login of another environment", other, []int{401}, request(t, "GET", url, nil), "fake-1", 401, 1},
		{"token that no header can carry", malformed, []int{401}, request(t, "GET", url, nil), "fake-1", 401, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := &answering{statuses: c.statuses}
			resp, err := newBearer(c.login, &TransportOptions{Base: base}).RoundTrip(c.req)
			if err != nil || resp.StatusCode != c.status {
				t.Fatalf("the answer is %v, %v; want %d", resp, err, c.status)
			}
			var tokens []string
			for i, req := range base.requests {
				tokens = append(tokens, strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
				if c.req.GetBody != nil && base.sent[i] != base.sent[0] {
					t.Errorf("request %d has the body %q", i, base.sent[i])
				}
			}
			if got := strings.Join(tokens, " "); got != c.tokens {
				t.Errorf("the tokens are %q, want %q", got, c.tokens)
			}
			if len(c.login.refused) != c.refused || c.refused > 0 && c.login.refused[0].Reveal() != "fake-1" {
				t.Errorf("the source was told of %d refusals, want %d", len(c.login.refused), c.refused)
			}
			last := len(base.answers) - 1
			for i, a := range base.answers {
				if i < last && (a.closed != 1 || a.read > maxDrain) || i == last && (a.closed != 0 || a.read != 0) {
					t.Errorf("answer %d of %d: %d bytes read, closed %d times", i, last, a.read, a.closed)
				}
			}
		})
	}
}

// What is not sent is closed, and nothing that the caller gave is changed.
func TestRoundTripperContract(t *testing.T) {
	for _, c := range []struct {
		name, url string
		login     *scripted
		want      error
	}{
		{"sent", "https://groups.api.globus.org/x", scriptedLogin("fake-1"), nil},
		{"sent again", "https://groups.api.globus.org/x", scriptedLogin("fake-1", "fake-2"), nil},
		{"another host", "https://transfer.api.globus.org/x", scriptedLogin("fake-1"), keystore.ErrInvalid},
		{"no login", "https://groups.api.globus.org/x", scriptedLogin(), keystore.ErrNotFound},
		{"token of two lines", "https://groups.api.globus.org/x", scriptedLogin("fake\r\nX: y"), keystore.ErrInvalid},
		{"no token", "https://groups.api.globus.org/x", scriptedLogin(""), keystore.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := &closing{Reader: strings.NewReader("body")}
			req := request(t, "POST", c.url, body)
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("body")), nil }
			lower := strings.ToLower("Authorization") // as no canonical map has it
			req.Header[lower] = []string{"Basic fake"}
			header, copied := req.Header.Clone(), *req
			base := &answering{}
			if len(c.login.tokens) > 1 {
				base.statuses = []int{401}
			}
			_, err := newBearer(c.login, &TransportOptions{Base: base}).RoundTrip(req)
			if !errors.Is(err, c.want) {
				t.Fatalf("the error is %v, want %v", err, c.want)
			}
			if sent := len(base.requests); (c.want == nil) != (sent > 0) {
				t.Errorf("%d requests were sent", sent)
			}
			for _, sent := range base.requests {
				if _, ok := sent.Header[lower]; ok || len(sent.Header) != 1 {
					t.Errorf("a request has the headers %q", slices.Collect(maps.Keys(sent.Header)))
				}
			}
			if body.closed == 0 {
				t.Error("the body is open")
			}
			if !maps.EqualFunc(req.Header, header, slices.Equal) || req.Body != copied.Body || req.URL != copied.URL || req.Host != copied.Host {
				t.Error("the request was changed")
			}
			if err != nil && strings.Contains(err.Error(), "fake") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// Where nobody has said which hosts may see a token, none may.
func TestHostsHaveToBeKnown(t *testing.T) {
	collection := scriptedLogin("fake-1")
	collection.tokens[0].ResourceServer = "ddb59aef-6d04-11e5-ba46-22000b92c6ec"
	elsewhere := scriptedLogin("fake-1")
	elsewhere.tokens[0].Issuer = "https://issuer.example"
	for _, c := range []struct {
		name  string
		login *scripted
		hosts []string
		url   string
		says  string // "": it is sent
	}{
		{"known", scriptedLogin("fake-1"), nil, "https://groups.api.globus.org/", ""},
		{"case", scriptedLogin("fake-1"), nil, "https://GROUPS.api.Globus.ORG:443/", ""},
		{"named in place of the known", scriptedLogin("fake-1"), []string{"g.example"}, "https://groups.api.globus.org/", "groups.api.globus.org"},
		{"port", scriptedLogin("fake-1"), []string{"G.example:8443"}, "https://g.example:8443/", ""},
		{"port of https", scriptedLogin("fake-1"), []string{"g.example:443"}, "https://g.example/", ""},
		{"other port", scriptedLogin("fake-1"), []string{"g.example:8443"}, "https://g.example/", "g.example"},
		{"collection", collection, nil, "https://g-1.example/", "TransportOptions.Hosts"},
		{"collection with a host", collection, []string{"g-1.example"}, "https://g-1.example/", ""},
		{"other issuer", elsewhere, nil, "https://groups.api.globus.org/", "TransportOptions.Hosts"},
		{"loopback", elsewhere, []string{"127.0.0.1:80", "[::1]:8080"}, "http://[::1]:8080/", ""},
		{"loopback, port of http", elsewhere, []string{"127.0.0.1:80"}, "http://127.0.0.1/", ""},
		{"loopback, port of https", elsewhere, []string{"127.0.0.1"}, "http://127.0.0.1/", "127.0.0.1"},
		{"plain", elsewhere, []string{"g.example:80"}, "http://g.example/", "http at host g.example"},
		{"sign of Kelvin", elsewhere, []string{"k.example"}, "https://\u212a.example/", "at host"},
		{"control character", elsewhere, []string{"g.example"}, "https://evil\u202e.example/", `evil\u202e.example`},
		{"URL for a host", elsewhere, []string{"https://g.example"}, "https://g.example/", "neither a host nor host:port"},
		{"path behind a host", elsewhere, []string{"g.example/"}, "https://g.example/", "neither a host nor host:port"},
		{"user before a host", elsewhere, []string{"u@g.example"}, "https://g.example/", "neither a host nor host:port"},
		{"empty host", elsewhere, []string{""}, "https://g.example/", "neither a host nor host:port"},
		{"star", elsewhere, []string{"*.example"}, "https://g.example/", "neither a host nor host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := &answering{}
			_, err := newBearer(c.login, &TransportOptions{Hosts: c.hosts, Base: base}).RoundTrip(request(t, "GET", c.url, nil))
			if c.says == "" {
				if err != nil || len(base.requests) != 1 || base.requests[0].Header.Get("Authorization") != "Bearer fake-1" {
					t.Errorf("%d requests, error %v", len(base.requests), err)
				}
				return
			}
			if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), c.says) || len(base.requests) != 0 {
				t.Errorf("%d requests, error %v; want one that says %q", len(base.requests), err, c.says)
			}
		})
	}
}

// The URL, the Host field and the opaque part must not speak of two hosts: what
// is behind an address may go by the name.
func TestRequestNamesOneHost(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"Host":   func(r *http.Request) { r.Host = "evil.example" },
		"Opaque": func(r *http.Request) { r.URL.Opaque = "//evil.example/" },
		"no URL": func(r *http.Request) { r.URL = nil },
	} {
		base := &answering{}
		req := request(t, "GET", "https://groups.api.globus.org/", nil)
		change(req)
		if _, err := newBearer(scriptedLogin("fake-1"), &TransportOptions{Base: base}).RoundTrip(req); !errors.Is(err, keystore.ErrInvalid) || len(base.requests) != 0 {
			t.Errorf("%s: %d requests, error %v", name, len(base.requests), err)
		}
	}
}

// site is a server on loopback that keeps what it was sent.
type site struct {
	*httptest.Server

	mu       sync.Mutex // guards all below
	to       string     // where it sends who asks for /start
	status   int
	requests []string // path and Authorization
}

func newSite(t *testing.T, start func(*httptest.Server)) *site {
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r.URL.Path+" "+r.Header.Get("Authorization"))
		switch {
		case r.URL.Path == "/start":
			w.Header().Set("Location", s.to)
			w.WriteHeader(s.status)
		case r.URL.Query().Has("back"):
			w.Header().Set("Location", r.URL.Query().Get("back"))
			w.WriteHeader(s.status)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of certificates that do not fit
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

// redirect makes it send who asks for /start to another place.
func (s *site) redirect(status int, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.to = status, to
}

// asked returns the requests since it was last called.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.requests
	s.requests = nil
	return asked
}

// An http.Client follows redirects; the token goes along within the registered
// hosts and no further, and does not come back.
func TestRedirectsDoNotCarryTheToken(t *testing.T) {
	const with, without = "Bearer fake-1", ""
	for _, status := range []int{301, 302, 303, 307, 308} {
		secure := newSite(t, (*httptest.Server).StartTLS)
		elsewhere := newSite(t, (*httptest.Server).StartTLS)
		plain := newSite(t, (*httptest.Server).Start)
		elsewhere.redirect(status, "")
		// Both have the same certificate of httptest, for 127.0.0.1.
		client := &http.Client{Transport: newBearer(scriptedLogin("fake-1"),
			&TransportOptions{Hosts: []string{secure.Listener.Addr().String()}, Base: secure.Client().Transport})}
		for _, c := range []struct {
			name, to string
			at       *site
			want     []string // of at, beyond /start
		}{
			{"same host", secure.URL + "/end", secure, []string{"/end " + with}},
			{"relative", "/end", secure, []string{"/end " + with}},
			{"another host", elsewhere.URL + "/end", elsewhere, []string{"/end " + without}},
			{"another host with a user", strings.Replace(elsewhere.URL, "://", "://u:fake-p@", 1) + "/end", elsewhere, []string{"/end " + without}},
			{"another name", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1) + "/end", secure, nil}, // not in the certificate
			{"http", plain.URL + "/end", plain, []string{"/end " + without}},
			{"away and back", elsewhere.URL + "/middle?back=" + url.QueryEscape(secure.URL+"/end"), secure, []string{"/end " + without}},
		} {
			secure.redirect(status, c.to)
			resp, err := client.Post(secure.URL+"/start", "text/plain", strings.NewReader("body"))
			if err == nil {
				resp.Body.Close()
			}
			if (err != nil) != (c.want == nil) {
				t.Errorf("%d to %s: %v", status, c.name, err)
			}
			asked := map[*site][]string{secure: secure.asked(), elsewhere: elsewhere.asked(), plain: plain.asked()}
			if first := asked[secure]; len(first) == 0 || first[0] != "/start "+with {
				t.Errorf("%d to %s: the first host was asked %q", status, c.name, first)
				continue
			}
			asked[secure] = asked[secure][1:]
			if !slices.Equal(asked[c.at], c.want) {
				t.Errorf("%d to %s: it was asked %q, want %q", status, c.name, asked[c.at], c.want)
			}
		}
	}
}

// The default base asks neither a proxy nor a resolver for a loopback address.
func TestDefaultBaseStaysOnThisMachine(t *testing.T) {
	base, ok := newBearer(scriptedLogin("fake-1"), nil).base().(*http.Transport)
	if !ok || base == http.DefaultTransport {
		t.Fatalf("the base is %T", base)
	}
	if proxy, err := base.Proxy(request(t, "GET", "http://127.0.0.1/", nil)); proxy != nil || err != nil {
		t.Errorf("the proxy is %v, %v", proxy, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := base.DialContext(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
