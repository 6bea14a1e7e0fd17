package oauthtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// TLS is what the TLS of a Server is like.
type TLS int

const (
	GoodTLS     TLS = iota
	WrongName       // the certificate is another host's
	Expired         // the certificate was valid until yesterday
	Unknown         // the authority is not among Roots
	OldProtocol     // TLS 1.0 and 1.1 only
	PlainHTTP       // http on the port of the https URL
	Silent          // connections are taken, and nothing is ever said
)

// Roots returns the authorities to trust, for [oauth.Options]; nil for http.
func (s *Server) Roots() *x509.CertPool { return s.roots }

// ClientTLS is for a browser that trusts Roots; nil for http.
func (s *Server) ClientTLS() *tls.Config {
	if s.roots == nil {
		return nil
	}
	return &tls.Config{RootCAs: s.roots}
}

// NewTLS starts a Server that speaks https.
func NewTLS(t testing.TB, kind TLS) *Server {
	t.Helper()
	s := newServer(t)
	certificate, pool := newCertificate(t, kind)
	s.roots = pool
	switch kind {
	case Silent:
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody reads
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		s.http.Start()
		s.URL = "https://" + l.Addr().String()
		return s
	case PlainHTTP:
		s.http.Start()
	default:
		s.http.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		if kind == OldProtocol {
			s.http.TLS.MinVersion, s.http.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		s.http.StartTLS()
	}
	s.URL = "https://" + strings.TrimPrefix(strings.TrimPrefix(s.http.URL, "http://"), "https://")
	return s
}

// newCertificate returns a certificate of 127.0.0.1 and the authority that
// signed it, as kind says.
func newCertificate(t testing.TB, kind TLS) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	root, rootKey := signed(t, template("fake authority", true), nil, nil)
	leaf := template("fake server", false)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	switch kind {
	case WrongName:
		leaf.IPAddresses = nil
		leaf.DNSNames = []string{"elsewhere.example"}
	case Expired:
		leaf.NotBefore, leaf.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
	}
	c, key := signed(t, leaf, root, rootKey)
	pool := x509.NewCertPool()
	if kind != Unknown {
		pool.AddCert(root)
	}
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}, pool
}

func template(name string, authority bool) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().AddDate(-2, 0, 0),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  authority,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if authority {
		c.KeyUsage |= x509.KeyUsageCertSign
	}
	return c
}

// signed signs c by parent, or by itself if there is none.
func signed(t testing.TB, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed, key
}
