// Package oauthtest is a fake Globus Auth on loopback, for tests: it logs in
// whoever asks, refreshes as its Rotation says, counts what it is asked, and
// can be told to answer badly in more than a hundred ways.
//
// Its state is in the process that made it; other processes need its URL only,
// and read its counters at URL + [CountsPath]. Every code and token that it makes
// begins with [Fake], so that a test can look for leaks; id_tokens are signed as
// real ones are.
package oauthtest

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// Fake is how every code and token of a Server but the id_tokens begins.
const Fake = "fake-"

// CountsPath is where a Server tells its Counts as JSON.
const CountsPath = "/_test/counts"

// Rotation is what a refresh does to the refresh token.
type Rotation int

const (
	Static   Rotation = iota // the same one comes back, as with Globus today
	Omitted                  // none comes back: the old one stays good
	Rotating                 // a new one; a spent one that comes back ends its family
)

// Counts are how often a Server was asked. Requests that are refused count too.
type Counts struct {
	Posts     int `json:"posts"`     // to the token endpoint
	Exchanges int `json:"exchanges"` // of codes
	Refreshes int `json:"refreshes"` // that got a token
	Reuse     int `json:"reuse"`     // of spent refresh tokens
	Denied    int `json:"denied"`    // with an error of RFC 6749
	Revokes   int `json:"revokes"`
	Other     int `json:"other"`  // authorization, discovery, keys
	Strays    int `json:"strays"` // to the second host, which nobody should ask
	Bytes     int `json:"bytes"`  // of bodies that a bad answer was able to send
}

// Event is an answer that is about to be sent, when its effect has taken place.
type Event struct {
	Path  string
	Grant string // grant_type, at the token endpoint
}

// Server is a fake Globus Auth. It is safe for concurrent use.
type Server struct {
	// URL is the issuer's.
	URL string

	http   *httptest.Server
	second *httptest.Server
	roots  *x509.CertPool
	done   chan struct{} // closed when the test is over

	mu       sync.Mutex // guards all below
	counts   Counts
	rotation Rotation
	lifetime int // seconds
	bad      *badAnswer
	hook     func(Event)
	serial   int
	secrets  map[string]string // client id -> client secret
	codes    map[string]*code
	refresh  map[string]*refreshToken
	access   map[string]*accessToken
	idToken  func(*IDToken)
	callback func(url.Values)
	asked    url.Values // of the last authorization request
	demanded []string
	subject  string
	username string
	now      func() time.Time
}

// Cleaner is what ends a Server: a testing.TB, or what an example has.
type Cleaner interface{ Cleanup(func()) }

// New starts a Server that speaks http and ends with the test. Its tokens live
// for 172800 seconds.
func New(t Cleaner) *Server {
	s := newServer(t)
	s.http.Start()
	s.URL = s.http.URL
	return s
}

func newServer(t Cleaner) *Server {
	s := &Server{
		done:     make(chan struct{}),
		lifetime: 172800,
		secrets:  make(map[string]string),
		codes:    make(map[string]*code),
		refresh:  make(map[string]*refreshToken),
		access:   make(map[string]*accessToken),
		subject:  Subject,
		username: Username,
		now:      time.Now,
	}
	s.second = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count(func(c *Counts) { c.Strays++ })
		io.WriteString(w, "{}")
	}))
	s.http = httptest.NewUnstartedServer(s.handler())
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // bad answers are meant to be
	t.Cleanup(func() {
		close(s.done)
		s.http.CloseClientConnections()
		s.http.Close()
		s.second.Close()
	})
	return s
}

// Provider returns where the Server's endpoints are.
func (s *Server) Provider() oauth.Provider {
	return oauth.Provider{
		Issuer:                s.URL,
		AuthorizationEndpoint: s.URL + "/v2/oauth2/authorize",
		TokenEndpoint:         s.URL + "/v2/oauth2/token",
		RevocationEndpoint:    s.URL + "/v2/oauth2/token/revoke",
		JWKSURI:               s.URL + "/jwk.json",
	}
}

// Counts returns the counters.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

func (s *Server) count(change func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

// SetRotation says what the next refreshes do.
func (s *Server) SetRotation(r Rotation) { s.locked(func() { s.rotation = r }) }

// SetLifetime sets expires_in of the next tokens, in seconds.
func (s *Server) SetLifetime(seconds int) { s.locked(func() { s.lifetime = seconds }) }

// AddClient registers a confidential client, which must use HTTP Basic. Any
// other client id is a public client.
func (s *Server) AddClient(id, secret string) { s.locked(func() { s.secrets[id] = secret }) }

// BeforeAnswer calls hook before each answer, after its effect: a test may wait
// or kill there. Several requests may call it at once. nil ends that.
func (s *Server) BeforeAnswer(hook func(Event)) { s.locked(func() { s.hook = hook }) }

// SetIDToken changes the next id_tokens, which come with the scope openid, before
// they are signed. nil ends that.
func (s *Server) SetIDToken(change func(*IDToken)) { s.locked(func() { s.idToken = change }) }

// SetUser says who logs in next; from the start it is Subject, called Username.
func (s *Server) SetUser(subject, username string) {
	s.locked(func() { s.subject, s.username = subject, username })
}

// SetClock says what time it is for the Server; nil: time.Now.
func (s *Server) SetClock(now func() time.Time) {
	if now == nil {
		now = time.Now
	}
	s.locked(func() { s.now = now })
}

// SetCallback changes what browsers bring back from the authorization endpoint,
// such as [Deny]. nil ends that.
func (s *Server) SetCallback(change func(url.Values)) { s.locked(func() { s.callback = change }) }

// Deny makes a callback that of a person who has said no.
func Deny(q url.Values) {
	q.Del("code")
	q.Set("error", "access_denied")
}

// RequireSession makes the authorization endpoint refuse whoever does not ask
// for the parameters, such as session_required_mfa. None ends that.
func (s *Server) RequireSession(parameters ...string) { s.locked(func() { s.demanded = parameters }) }

// LastAuthorize returns the parameters of the last authorization request, nil if
// there was none.
func (s *Server) LastAuthorize() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

func (s *Server) locked(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v2/oauth2/token", s.serveToken)
	mux.HandleFunc("POST /v2/oauth2/token/revoke", s.serveRevoke)
	mux.HandleFunc("GET /v2/oauth2/authorize", s.serveAuthorize)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.serveConfiguration)
	mux.HandleFunc("GET /v2/web/auth-code", s.serveCodePage)
	mux.HandleFunc("GET /jwk.json", s.serveKeys)
	mux.HandleFunc("GET "+CountsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.Counts())
	})
	return mux
}

// exchange is a request and the answer that it is about to get.
type exchange struct {
	status int
	header http.Header
	doc    map[string]any // a JSON object
	list   []any          // or an array, of which doc is the first
	raw    []byte         // or this text
	stream func(w http.ResponseWriter, r *http.Request)
}

func good(doc map[string]any) *exchange {
	return &exchange{status: http.StatusOK, doc: doc, header: http.Header{"Content-Type": {"application/json"}}}
}

func oauthError(status int, code string) *exchange {
	x := good(map[string]any{"error": code, "error_description": "the fake server says no"})
	x.status = status
	return x
}

// answer sends x, spoilt if the Server is to answer badly.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, x *exchange) {
	s.mu.Lock()
	bad, hook := s.bad, s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(Event{Path: r.URL.Path, Grant: r.PostForm.Get("grant_type")})
	}
	if bad != nil {
		bad.spoil(s, r, x)
	}
	for name, values := range x.header {
		w.Header()[name] = values
	}
	if x.stream != nil {
		x.stream(w, r)
		return
	}
	body := x.raw
	if body == nil && x.list != nil {
		body, _ = json.Marshal(x.list)
	} else if body == nil {
		body, _ = json.Marshal(x.doc)
	}
	w.WriteHeader(x.status)
	w.Write(body)
}
