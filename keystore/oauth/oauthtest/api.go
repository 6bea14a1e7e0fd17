package oauthtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Groups is the resource server of an API.
const Groups = "groups.api.globus.org"

// MyGroups is the path at which an API lists groups.
const MyGroups = "/v2/groups/my_groups"

const myGroups = `[
	{"id": "00000000-fake-4000-8000-0000000000a1", "name": "Fake Astronomers", "group_type": "regular",
		"enforce_session": false, "my_memberships": [{"role": "member"}]},
	{"id": "00000000-fake-4000-8000-0000000000b2", "name": "Fake Biologists", "group_type": "regular",
		"enforce_session": true, "my_memberships": [{"role": "admin"}, {"role": "member"}]}
]`

// API is a fake Globus Groups on loopback that takes the access tokens of
// a Server. It is safe for concurrent use.
type API struct {
	// URL is of the same scheme as the Server's, without a slash at its end.
	URL string

	server *Server

	mu      sync.Mutex                                 // guards all below
	headers []string                                   // Authorization of each request, "" for none
	next    []func(http.ResponseWriter, *http.Request) // what the next requests get
}

// API starts an API that ends with the test.
//
// GET on MyGroups with an active token for Groups answers a list of two groups;
// POST there with such a token answers the body that was sent. Any other token
// gets status 401.
func (s *Server) API(t Cleaner) *API {
	a := &API{server: s}
	h := httptest.NewUnstartedServer(a)
	if s.http.TLS != nil {
		h.TLS = s.http.TLS.Clone()
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	a.URL = h.URL
	return a
}

// Host is the API's host with its port.
func (a *API) Host() string {
	_, host, _ := strings.Cut(a.URL, "://")
	return host
}

// Authorizations returns the Authorization header of each request so far, ""
// where there was none.
func (a *API) Authorizations() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.headers)
}

// RefuseNext makes one request more answer 401, whatever its token.
func (a *API) RefuseNext() { a.answerNext(refuse) }

// RedirectNext makes one request more answer with a redirect.
func (a *API) RedirectNext(status int, location string) {
	a.answerNext(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	})
}

// DemandNext makes one request more answer 403 with requirement, a JSON text.
func (a *API) DemandNext(requirement string) {
	a.answerNext(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusForbidden, requirement) })
}

func (a *API) answerNext(answer func(http.ResponseWriter, *http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = append(a.next, answer)
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := a.take(r.Header.Get("Authorization"))
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case answer != nil:
		answer(w, r)
	case !bearer || !a.server.accepts(token, Groups):
		refuse(w, r)
	case r.URL.Path != MyGroups:
		http.NotFound(w, r)
	case r.Method == http.MethodPost:
		io.Copy(w, r.Body)
	default:
		answerJSON(w, http.StatusOK, myGroups)
	}
}

// take notes a request and returns how to answer it, nil for as usual.
func (a *API) take(authorization string) (answer func(http.ResponseWriter, *http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.headers = append(a.headers, authorization)
	if len(a.next) > 0 {
		answer, a.next = a.next[0], a.next[1:]
	}
	return answer
}

// accepts reports whether the access token is active and for a resource server.
func (s *Server) accepts(token, resourceServer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access[token]
	return a != nil && !a.revoked && s.now().Before(a.until) && a.server == resourceServer
}

func refuse(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusUnauthorized, `{"code": "AUTHENTICATION_ERROR", "message": "the fake API says no"}`)
}

func answerJSON(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, text)
}
