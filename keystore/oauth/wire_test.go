package oauth

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{
		0: maxTime, -1: maxTime, time.Hour: maxTime, maxTime: maxTime, time.Second: time.Second,
	} {
		if got := newWire(&Options{Timeout: given}).timeout; got != want {
			t.Errorf("a timeout of %v becomes %v, want %v", given, got, want)
		}
	}
	tr, ok := newWire(nil).transport.(*http.Transport)
	if !ok || !tr.DisableKeepAlives || tr.Protocols.HTTP2() || tr.TLSClientConfig.MinVersion != tls.VersionTLS12 ||
		tr.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("the transport is %+v", tr)
	}
}

// A form in plain http is for this machine alone, whatever the environment says.
func TestPlainHTTPHasNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.example:3128")
	t.Setenv("http_proxy", "http://proxy.example:3128")
	for _, url := range []string{"http://localhost/", "http://127.0.0.1/", "http://elsewhere.example/"} {
		req, err := http.NewRequest(http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := proxy(req); p != nil || err != nil {
			t.Errorf("%s goes through %v, %v", url, p, err)
		}
	}
}

// "localhost" is dialled as one loopback address after the other, and no
// resolver is asked.
func TestLocalhostIsLoopback(t *testing.T) {
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { t.Errorf("a resolver is asked for %q", i.Host) },
	})
	tried := 0
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("this machine has no %s", address)
			continue
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		c, err := dial(ctx, "tcp", "localhost:"+port)
		if err != nil {
			t.Errorf("%s: %v", address, err)
		} else {
			tried++
			c.Close()
		}
		if c, err := dial(ctx, "tcp", "127.0.0.2:"+port); err == nil {
			t.Error("another address is dialled as localhost")
			c.Close()
		}
		l.Close()
	}
	if tried == 0 {
		t.Error("no address was reached")
	}
}
