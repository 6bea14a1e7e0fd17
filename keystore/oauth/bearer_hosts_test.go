package oauth

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// seedOfHosts makes TestAccessTokenReachesRegisteredHostsOnly the same every time.
const seedOfHosts = 20_000

// lookalikes make of a registered host one that is not: H is the host. Some of
// them url.Parse refuses, and some it takes for a host nobody would expect.
var lookalikes = []string{"H.evil.example", "evil-H", "evilH", "xH", "H-evil.example", "Hx", "H.", ".H", "H..", "api.H", "www.H",
	"evil.example/H", "evil.example#H", "evil.example?H", "H@evil.example", "H:443@evil.example", "u:p@evil.example:443",
	`H\@evil.example`, `evil.example\@H`, `evil.example\H`, "evil.example;H", "H%2eevil.example", "H%00.evil.example", "H%40evil.example", "%48",
	"H:80", "H:8443", "H:0443", "H:443x", "H:", "H:0", "H:65979", "H:443:443", "[H]", "[H]:443", "[::ffff:127.0.0.1]:8443", "[::1%25lo]:8443", "[::2]:8443", "[0:0:0:0:0:0:0:1]:8443",
	"127.1:8443", "127.0.0.2:8443", "0x7f000001:8443", "2130706433:8443", "0.0.0.0:8443", "localhost.:8443", "LOCALHOST.evil.example:8443", "localhost:8444",
	"H\u3002evil.example", "H\uff0fevil.example", "H\u2024evil.example", "H\u200b", "H\u00ad", "\u202eH", "xn--H", "H,evil.example", "H evil.example", "*.H", "", "evil.example"}

// homographs are letters that look like, or are mapped to, those of a host.
var homographs = strings.NewReplacer("a", "\u0430", "o", "\u043e", "p", "\uff50", "s", "\u017f", "l", "\u0131", ".", "\u3002")

// aim is one request and what has to come of it.
type aim struct {
	url    string
	due    bool // the token must be sent
	hosts  []string
	issuer string
	server string
}

// randomAim aims at a registered host now and then, else at something like it.
func randomAim(r *rand.Rand) aim {
	service := Services()[r.IntN(len(Services()))]
	issuer, _ := GlobusIssuer(pick(r, globusEnvironments))
	a := aim{issuer: issuer, server: service.ResourceServer}
	host := pick(r, globusHosts(issuer, a.server))
	if r.IntN(2) == 0 {
		host = pick(r, []string{"g-1.example", "g-1.example:8443", "127.0.0.1:8443", "localhost:8443", "[::1]:8443", "10.1.2.3"})
		a.hosts = []string{"other.example:1", host}
	}
	scheme, tail := pick(r, []string{"https://", "https://", "HTTPS://", "http://"}), pick(r, tails)
	switch r.IntN(6) {
	case 0: // as registered, in any case; "localhost" is a name only if it is written so
		a.url, a.due = scheme+anyCase(r, host)+pick(r, []string{"/", "", "/x/../y?z=" + url.QueryEscape(scheme)}), strings.HasPrefix(strings.ToLower(scheme), "https")
	case 1:
		a.url = scheme + host + tail
	case 2:
		a.url = scheme + homographs.Replace(host) + tail
	case 3:
		a.url = randomURL(r)
	default:
		a.url = scheme + pick(r, users) + strings.ReplaceAll(pick(r, lookalikes), "H", anyCase(r, host)) + pick(r, ports) + tail
	}
	return a
}

func anyCase(r *rand.Rand, host string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' && r.IntN(3) == 0 {
			return c - 'a' + 'A'
		}
		return c
	}, host)
}

// allowed reports whether net/http would bring a request for u to one of the
// hosts: it is what a Transport promises, said in another way.
func allowed(u *url.URL, hosts []string) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	for _, host := range hosts {
		registered, _ := url.Parse("//" + host)
		wanted := registered.Port()
		if wanted == "" {
			wanted = "443"
		}
		if strings.EqualFold(u.Hostname(), registered.Hostname()) && port == wanted {
			switch u.Hostname() {
			case "127.0.0.1", "::1", "localhost":
				return u.Scheme == "https" || u.Scheme == "http"
			}
			return u.Scheme == "https"
		}
	}
	return false
}

// Over 100,000 URLs and environments, an access token goes to the hosts that
// are registered for it, to all of them, and to no other.
func TestAccessTokenReachesRegisteredHostsOnly(t *testing.T) {
	for _, name := range settings {
		t.Setenv(name, "") // and back, when the test is over
	}
	r := rand.New(rand.NewPCG(seedOfHosts, 4))
	count := make(map[string]int)
	for n := 0; n < 100_000; {
		if n%100 == 0 {
			os.Setenv(settings[r.IntN(len(settings))], randomURL(r))
		}
		a := randomAim(r)
		if _, err := url.Parse(a.url); err != nil {
			count["no URL"]++
			if a.due {
				t.Fatalf("seed %d: %q is no URL", seedOfHosts, a.url)
			}
			continue
		}
		n++
		what, wrong := shoot(r, a)
		count[what]++
		if wrong != "" {
			t.Fatalf("seed %d, request %d: %s: %+v", seedOfHosts, n, wrong, a)
		}
	}
	t.Log(count)
	for what, least := range map[string]int{"sent with the token": 10_000, "sent again with the token": 1_000, "redirect with the token": 1_000,
		"redirect without": 10_000, "not sent": 10_000} {
		if count[what] < least {
			t.Errorf("%s: %d times, want at least %d", what, count[what], least)
		}
	}
}

// shoot makes one request, the continuation of a redirect every third time, and
// says what came of it, and what is wrong with that.
func shoot(r *rand.Rand, a aim) (what, wrong string) {
	base := &answering{}
	if r.IntN(4) == 0 {
		base.statuses = []int{401}
	}
	login := scriptedLogin("fake-1", "fake-2")
	for i := range login.tokens {
		login.tokens[i].Issuer, login.tokens[i].ResourceServer = a.issuer, a.server
	}
	hosts := a.hosts
	if len(hosts) == 0 {
		hosts = globusHosts(a.issuer, a.server)
	}
	req, _ := http.NewRequest(http.MethodGet, a.url, nil)
	req.Header.Set("Authorization", "Bearer fake-of-the-caller")
	to, clean := req.URL.String(), allowed(req.URL, hosts)
	redirected := r.IntN(3) == 0
	if redirected {
		from := pick(r, []string{"https://" + hosts[0], "https://" + hosts[0], "https://evil.example/", "http://" + hosts[0]})
		before, _ := http.NewRequest(http.MethodGet, from, nil)
		req.Response = &http.Response{Request: before}
		due := allowed(before.URL, hosts)
		clean, a.due = clean && due, a.due && due
	}
	_, err := newBearer(login, &TransportOptions{Hosts: a.hosts, Base: base}).RoundTrip(req)
	return verdict(base.requests, err, to, a.due, clean, redirected)
}

func verdict(sent []*http.Request, err error, to string, due, clean, redirected bool) (what, wrong string) {
	for i, req := range sent {
		header := req.Header.Get("Authorization")
		switch {
		case header != "" && header != "Bearer fake-"+strconv.Itoa(i+1):
			return "", "the header is " + header
		case header != "" && !clean:
			return "", "the token goes astray"
		case header == "" && len(sent) > 1:
			return "", "it was sent more than once"
		case strings.Contains(req.URL.String(), "fake-"):
			return "", "the URL has the token"
		case req.URL.String() != to || req.URL.Host != req.Host:
			return "", "it goes to another place"
		}
	}
	with := len(sent) > 0 && sent[0].Header.Get("Authorization") != ""
	switch {
	case due && !with:
		return "", "the token was not sent"
	case len(sent) == 0 && !errors.Is(err, keystore.ErrInvalid):
		return "", "the error is of another kind"
	case len(sent) > 2, len(sent) > 0 && err != nil:
		return "", "it was sent too often, or in vain"
	case len(sent) == 0 && redirected:
		return "", "a redirect was not followed"
	case len(sent) == 0:
		return "not sent", ""
	case !with && !redirected:
		return "", "it was sent to a host that is not registered"
	case !with:
		return "redirect without", ""
	case redirected:
		return "redirect with the token", ""
	case len(sent) == 2:
		return "sent again with the token", ""
	}
	return "sent with the token", ""
}
