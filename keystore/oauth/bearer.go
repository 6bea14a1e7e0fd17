package oauth

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/globus-keys/globus-keys/keystore"
)

// maxDrain is how much of a refused answer is read, in bytes, so that its
// connection can be used again.
const maxDrain = 4 << 10

// login is what a Transport needs of a Source.
type login interface {
	Get(ctx context.Context) (keystore.Token, error)
	Refused(ctx context.Context, access keystore.Secret) (keystore.Token, error)
}

// TransportOptions of a Transport. The zero value is good for the services that
// [Services] lists.
type TransportOptions struct {
	// Hosts are those that may see the access token: "host" for port 443 of
	// https, or "host:port". Case does not matter, nothing else is forgiven.
	// Empty means those that are known for the login's issuer and resource
	// server. There are none for a collection of Globus Connect Server and for
	// other issuers than Globus Auth.
	Hosts []string

	// Base sends the requests. nil means one like http.DefaultTransport, which
	// asks no resolver where localhost is.
	Base http.RoundTripper
}

// Transport adds the access token of a login to requests (RFC 6750 section 2.1)
// and sends them. It is safe for concurrent use. Its errors are those of the
// Source and of Base, and those that wrap keystore.ErrInvalid as said below.
//
// Only the hosts of TransportOptions.Hosts get the token, and only by https, or
// by http on a loopback address. An Authorization header that such a request has
// already is replaced. A request for any other host is not sent; the error wraps
// keystore.ErrInvalid and names the host. So is a request that says one host in
// its URL and another one in its Host field.
//
// Redirects are followed as the http.Client says. Where one leads to another
// host it is sent without Authorization, and so is all that comes after it, also
// back at a registered host. With oauth2.NewClient(ctx, source), in place of this
// Transport, the token goes wherever a redirect leads: that is the caller's
// affair.
//
// An answer with status 401 renews the token, through Source.Refused, and the
// request is sent once more, if there is another token and the body can be had
// again (GetBody). In all other cases the caller gets the answer with status 401.
type Transport struct {
	source login
	hosts  []string
	base   func() http.RoundTripper
}

// NewHTTPClient returns an http.Client with a Transport. It sends and reads
// nothing yet. opts may be nil. Its redirects, timeout and cookies are
// http.Client's own: none of the last two.
func NewHTTPClient(s *Source, opts *TransportOptions) *http.Client {
	return &http.Client{Transport: newBearer(s, opts)}
}

func newBearer(source login, opts *TransportOptions) *Transport {
	if opts == nil {
		opts = &TransportOptions{}
	}
	t := &Transport{source: source, hosts: slices.Clone(opts.Hosts), base: sync.OnceValue(defaultBase)}
	if opts.Base != nil {
		t.base = func() http.RoundTripper { return opts.Base }
	}
	return t
}

// defaultBase is http.DefaultTransport with connections that are made as those
// for token requests. It asks no proxy for loopback addresses either.
func defaultBase() http.RoundTripper {
	known, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport // somebody has put his own there
	}
	base := known.Clone()
	base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, maxTime)
		defer cancel()
		return dial(ctx, network, address)
	}
	return base
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	// Named hosts are known without the login, which is not renewed for another one.
	if len(t.hosts) > 0 {
		if due, err := t.isDue(req, keystore.Token{}); !due {
			return t.elsewhere(req, err)
		}
	}
	token, err := t.source.Get(req.Context())
	if err != nil {
		return unsent(req, err)
	}
	if due, err := t.isDue(req, token); !due {
		return t.elsewhere(req, err)
	}
	signed, err := withToken(req, token)
	if err != nil {
		return unsent(req, err)
	}
	resp, err := t.base().RoundTrip(signed)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	return t.again(req, resp, token)
}

// again sends req with another token than the refused one, if it can: else it
// returns refused.
func (t *Transport) again(req *http.Request, refused *http.Response, old keystore.Token) (*http.Response, error) {
	token, err := t.source.Refused(req.Context(), old.AccessToken)
	if err != nil || token.AccessToken.Equal(old.AccessToken) {
		return refused, nil
	}
	// The login may be another one by now, of another environment.
	if due, _ := t.isDue(req, token); !due {
		return refused, nil
	}
	signed, err := withToken(req, token)
	if err != nil || !rewind(signed) {
		return refused, nil
	}
	io.CopyN(io.Discard, refused.Body, maxDrain)
	refused.Body.Close()
	return t.base().RoundTrip(signed)
}

// rewind gives req its body once more, and reports whether it could.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	req.Body = body
	return err == nil
}

// isDue reports whether token may go where req goes. err says why nobody knows.
func (t *Transport) isDue(req *http.Request, token keystore.Token) (bool, error) {
	hosts, err := t.registered(token)
	return err == nil && mayHave(hosts, req), err
}

// elsewhere deals with a request for a host that is not registered, or of which err
// says why nobody knows.
func (t *Transport) elsewhere(req *http.Request, err error) (*http.Response, error) {
	switch {
	case err != nil:
		return unsent(req, err)
	case req.URL == nil:
		return unsent(req, invalid("the request has no URL"))
	case req.Response == nil:
		return unsent(req, invalid("the access token is not for "+req.URL.Scheme+" at host "+cmp.Or(req.Host, req.URL.Host)))
	}
	return t.base().RoundTrip(bare(req))
}

// unsent ends a request that Base does not get, which has to be closed
// nevertheless.
func unsent(req *http.Request, err error) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	return nil, err
}

// bare returns req without Authorization, under whatever case its map has it:
// a RoundTripper leaves what it is given as it is.
func bare(req *http.Request) *http.Request {
	bare := req.Clone(req.Context())
	maps.DeleteFunc(bare.Header, func(name string, _ []string) bool { return strings.EqualFold(name, "Authorization") })
	return bare
}

// withToken returns req with the token.
func withToken(req *http.Request, token keystore.Token) (*http.Request, error) {
	access := token.AccessToken.Reveal()
	if !visibleText(access, maxToken) {
		return nil, invalid("the access token is missing or malformed")
	}
	signed := bare(req)
	if signed.Header == nil {
		signed.Header = make(http.Header)
	}
	signed.Header.Set("Authorization", "Bearer "+access)
	return signed, nil
}

// registered returns the hosts that may see token, each with its port.
func (t *Transport) registered(token keystore.Token) ([]string, error) {
	hosts := t.hosts
	if len(hosts) == 0 {
		hosts = globusHosts(token.Issuer, token.ResourceServer)
	}
	if len(hosts) == 0 {
		return nil, invalid("nothing is known of the hosts of " + token.ResourceServer + ": name them in TransportOptions.Hosts")
	}
	all := make([]string, 0, len(hosts))
	for _, host := range hosts {
		u, err := checkURL("host", "https://"+host)
		if err != nil || u.Host != host {
			return nil, invalid("TransportOptions.Hosts has " + host + ", which is neither a host nor host:port")
		}
		all = append(all, hostPort(u))
	}
	return all, nil
}

// mayHave reports whether the token may go where req goes, and whether all
// requests that led to it by a redirect went there too.
func mayHave(hosts []string, req *http.Request) bool {
	for req != nil {
		if !isFor(hosts, req) {
			return false
		}
		if req.Response == nil {
			return true
		}
		req = req.Response.Request
	}
	return false // a redirect of nobody knows whom
}

// isFor reports whether req goes to one of the hosts and names no other one:
// behind one address there may be the servers of many.
func isFor(hosts []string, req *http.Request) bool {
	u := req.URL
	switch {
	case u == nil, u.Opaque != "", !plainHost(u):
		return false
	case req.Host != "" && !strings.EqualFold(req.Host, u.Host):
		return false
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())):
		return false
	}
	return slices.Contains(hosts, hostPort(u))
}

// hostPort is the host of u in lower case with its port, of which plainHost and
// net/http see the same.
func hostPort(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch {
	case u.Port() != "":
		return host
	case u.Scheme == "http":
		return host + ":80"
	}
	return host + ":443"
}
