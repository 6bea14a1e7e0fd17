package oauth

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// recorder is a transport that keeps the requests and answers with a redirect,
// or with a bad gateway.
type recorder struct {
	requests []*http.Request
	status   int
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests = append(r.requests, req)
	return &http.Response{StatusCode: r.status, Body: io.NopCloser(strings.NewReader("{}")),
		Header: http.Header{"Location": {"https://evil.example/token"}}}, nil
}

// What the Globus SDK, curl and C libraries let the environment decide.
var settings = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
	"GLOBUS_SDK_ENVIRONMENT", "GLOBUS_SDK_SERVICE_URL_AUTH", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"}

// Over 100,000 issuers and environments, a request with a secret goes to the
// Provider's endpoint, once, whatever else there is.
func TestSecretsGoToTheProvidersEndpointOnly(t *testing.T) {
	for _, name := range settings {
		t.Setenv(name, "") // and back, when the test is over
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 4))
	checked := 0
	for round := 0; checked < 100_000; round++ {
		if round%100 == 0 {
			os.Setenv(settings[r.IntN(len(settings))], randomURL(r))
		}
		p := Provider{Issuer: randomURL(r), TokenEndpoint: randomURL(r), RevocationEndpoint: randomURL(r)}
		if r.IntN(10) == 0 { // all on this machine
			p = Provider{Issuer: "http://localhost", TokenEndpoint: "http://127.0.0.1:" + strconv.Itoa(r.IntN(65536)), RevocationEndpoint: "http://[::1]/revoke"}
		}
		if requestGoesAstray(t, r, p, &checked) {
			t.Fatalf("seed %d, provider %+v", seed, p)
		}
	}
}

// requestGoesAstray sends one request for p, if it is a provider.
func requestGoesAstray(t *testing.T, r *rand.Rand, p Provider, checked *int) bool {
	rec := &recorder{status: []int{301, 302, 303, 307, 308, 502, 200}[r.IntN(7)]}
	credentials := Credentials{ID: "client"}
	if r.IntN(2) == 0 {
		credentials.Secret = keystore.NewSecret("fake-secret")
	}
	c, err := NewClient(p, credentials, &Options{transport: rec})
	if err != nil {
		return false
	}
	*checked++
	secret, endpoint := keystore.NewSecret("fake-token"), p.TokenEndpoint
	switch r.IntN(4) {
	case 0:
		c.RefreshToken(context.Background(), keystore.Token{RefreshToken: secret, Issuer: p.Issuer, ClientID: "client", ResourceServer: "r"})
	case 1:
		c.Exchange(context.Background(), secret, secret, "http://127.0.0.1/")
	case 2:
		endpoint = p.RevocationEndpoint
		c.Revoke(context.Background(), secret)
	case 3: // the endpoint is what the store has recorded, the issuer is anybody
		renewStored(secret, p, credentials, rec)
	}
	if len(rec.requests) != 1 {
		t.Errorf("there were %d requests", len(rec.requests))
		return true
	}
	return astray(t, rec.requests[0], endpoint)
}

// renewStored renews a login that is kept in a store.
func renewStored(refresh keystore.Secret, p Provider, c Credentials, rec *recorder) {
	store := keystore.New(memory.New(), nil)
	defer store.Close()
	store.Put(context.Background(), keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "r", AccessToken: keystore.NewSecret("fake-access"), RefreshToken: refresh, Issuer: p.Issuer, ClientID: c.ID,
		Endpoints: keystore.Endpoints{Token: p.TokenEndpoint, Revocation: p.RevocationEndpoint}}}})
	known, _ := NewClient(p, c, nil)
	s := NewSource(store, "r", &SourceOptions{Client: known, Requests: &Options{transport: rec}})
	s.Get(context.Background())
}

func astray(t *testing.T, req *http.Request, endpoint string) bool {
	want, err := url.Parse(endpoint)
	if err != nil || req.URL.String() != want.String() || req.Host != want.Host || req.URL.User != nil {
		t.Errorf("a request for %q goes to %q, host %q", endpoint, req.URL, req.Host)
		return true
	}
	if req.URL.Scheme != "https" && !strings.HasPrefix(endpoint, "http://127.") &&
		!strings.HasPrefix(endpoint, "http://localhost") && !strings.HasPrefix(endpoint, "http://[::1]") {
		t.Errorf("a secret is sent in plain to %q", endpoint)
		return true
	}
	body, _ := io.ReadAll(req.Body)
	if req.Method != http.MethodPost || !strings.Contains(string(body), "fake-token") || strings.Contains(req.URL.String(), "fake-") {
		t.Errorf("the request is %s %s with %q", req.Method, req.URL, body)
		return true
	}
	if req.GetBody != nil {
		t.Error("net/http can send the body again")
		return true
	}
	return false
}

var (
	schemes = []string{"https://", "https://", "https://", "http://", "HTTPS://", "ftp://", ""}
	labels  = []string{"auth", "globus", "org", "localhost", "127", "0", "1", "example", "xn--a", "evil", "LOCALHOST", "l\u00f6gin", "a_b", "%2e", ""}
	wholes  = []string{"localhost", "127.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "auth.globus.org", "localhost.", "169.254.169.254", "0.0.0.0", "[::]"}
	ports   = []string{"", "", ":443", ":80", ":8080", ":0", ":", ":65536", ":x"}
	tails   = []string{"", "/", "/token", "/a/../b", "//evil.example/", "/?x=y", "/#f", "/@evil.example", "\\@evil.example", "/%0d%0aX:y", "?u=https://evil.example"}
	users   = []string{"", "", "", "", "", "", "", "user@", "auth.globus.org@", "a:b@"}
)

// randomURL is a good one most of the time.
func randomURL(r *rand.Rand) string {
	if r.IntN(20) > 0 {
		host := fmt.Sprintf("%s%d.%s.%s", pick(r, labels[:5]), r.IntN(100_000), pick(r, labels[:8]), pick(r, labels[:8]))
		return "https://" + host + pick(r, ports[:5]) + pick(r, tails[:5])
	}
	host := pick(r, wholes)
	if r.IntN(2) == 0 {
		host = fmt.Sprintf("%s%d.%s.%s", pick(r, labels), r.IntN(1000), pick(r, labels), pick(r, labels))
	}
	return pick(r, schemes) + pick(r, users) + host + pick(r, ports) + pick(r, tails)
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }
