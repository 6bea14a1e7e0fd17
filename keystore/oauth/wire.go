package oauth

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/internal/awake"
)

// Limits of every request.
const (
	maxTime    = 20 * time.Second // from dialling to the last byte
	maxAnswer  = 1 << 20          // bytes of a body, decompressed
	maxHeaders = 64 << 10         // bytes
)

// Options of a Client and of Discover. The zero value is good.
type Options struct {
	// Timeout of a request, on top of the deadline of its context. 0 means 20
	// seconds, which is also the most.
	Timeout time.Duration

	// RootCAs are the authorities that an issuer's certificate may come from;
	// nil means the system's.
	RootCAs *x509.CertPool

	// Clock tells the time of an answer; nil means time.Now.
	Clock func() time.Time

	transport http.RoundTripper // for tests of this package; nil means newTransport
}

// wire sends one request and takes in its answer within the limits. It calls
// the transport itself and no http.Client: that would follow redirects, which
// for 307 and 308 means to post the form to another host (RFC 9110 section
// 15.4), and keep cookies.
type wire struct {
	transport http.RoundTripper
	timeout   time.Duration
	now       func() time.Time
}

func newWire(opts *Options) wire {
	if opts == nil {
		opts = &Options{}
	}
	w := wire{transport: opts.transport, timeout: opts.Timeout, now: opts.Clock}
	if w.transport == nil {
		w.transport = newTransport(opts.RootCAs)
	}
	if w.timeout <= 0 || w.timeout > maxTime {
		w.timeout = maxTime
	}
	if w.now == nil {
		w.now = time.Now
	}
	return w
}

// newTransport returns a transport that sends a request at most once. net/http
// sends one again by itself if an idle connection turns out to be closed, or if
// HTTP/2 says that a stream was not processed: here every request has
// a connection of its own, of HTTP/1.1.
func newTransport(roots *x509.CertPool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		Protocols:              &protocols,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeaders,
	}
}

// proxy is the environment's for https, where it sees no more than the host's
// name. A form in plain http stays on this machine.
func proxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// dial takes "localhost" for the loopback addresses without asking a resolver,
// which may know better (RFC 6761 section 6.3).
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "localhost" {
		return d.DialContext(ctx, network, address)
	}
	c, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		c, err = d.DialContext(ctx, network, net.JoinHostPort("::1", port))
	}
	return c, err
}

// reply is an answer that has come in whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send returns what the server answered, whatever its status, or an *Error.
func (w wire) send(ctx context.Context, op string, req *http.Request) (reply, error) {
	ctx, cancel := awake.Within(ctx, w.timeout) // an answer that is here is not thrown away
	defer cancel()
	fail := func(e *Error) (reply, error) {
		e.Op, e.Host = op, req.URL.Host
		return reply{}, e
	}
	var sent atomic.Bool // the transport's goroutines say so
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	resp, err := w.transport.RoundTrip(req.WithContext(traced))
	if err != nil {
		detail, sentinel := lost(ctx, err)
		return fail(&Error{Err: sentinel, Detail: detail, Sent: sent.Load()})
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	if r.body, err = body(resp); err == nil || r.failed() {
		return r, nil // the status of a refusal counts, also without its text
	}
	if err == errTooLarge || err == errGzip {
		return fail(&Error{Status: r.status, Sent: true, Err: ErrAnswer, Detail: err.Error()})
	}
	detail, sentinel := lost(ctx, err)
	return fail(&Error{Status: r.status, Sent: true, Err: sentinel, Detail: detail})
}

func (r reply) ok() bool { return r.status == http.StatusOK || r.status == http.StatusCreated }

func (r reply) failed() bool { return r.status >= 400 }

var (
	errTooLarge = errors.New("it is larger than 1 MiB")
	errGzip     = errors.New("it is not the gzip that it says it is")
)

// body reads at most maxAnswer bytes, and nothing at all where no body is
// looked at. What is left unread is not drained: the connection is closed.
func body(resp *http.Response) ([]byte, error) {
	if resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case notGzip(err):
		return nil, errGzip
	case err != nil:
		return nil, err
	case len(data) > maxAnswer:
		return nil, errTooLarge
	}
	return data, nil
}

func notGzip(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt)
}
