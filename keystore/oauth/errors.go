package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

var (
	// ErrAnswer: the server's answer is not what was asked for: malformed, too
	// large, a redirect, of another resource server. Nothing of it was used.
	ErrAnswer = errors.New("the answer of the server is not acceptable")
	// ErrRefused: the server said no, for a reason that a new login does not
	// change; the code of the Error says which.
	ErrRefused = errors.New("the server refused the request")
)

// Error is what went wrong with one request. It wraps one of
//
//   - keystore.ErrLoginRequired: invalid_grant (RFC 6749 section 5.2), the code
//     or refresh token is dead
//   - keystore.ErrUnavailable: no answer, or one of 408, 429 and 5xx: the same
//     request may succeed later
//   - ErrRefused, ErrAnswer
//   - keystore.ErrDeclined: the person who was to log in said no
//   - context.Canceled: the caller gave up; context.DeadlineExceeded comes
//     together with keystore.ErrUnavailable
//
// Its fields and its text hold no secret and nothing of the answer's text but
// the checked Code. Causes from the network are put in words of this package
// and are not wrapped: theirs can quote the server.
type Error struct {
	// Op is "login", "exchange", "verify", "refresh", "client credentials",
	// "dependent tokens", "revoke" or "discover".
	Op     string
	Host   string // of the endpoint, with its port
	Status int    // of HTTP; 0: no answer came
	// Code is the error code of RFC 6749 or of Globus, of at most 64 letters,
	// digits and "_.-". "" if there is none, or if it repeats a part of
	// a secret that was sent.
	Code string
	// RetryAfter is how long the server wants to be left alone, with status 429
	// and 503; at most a day. 0: it did not say. Nothing here waits for it.
	RetryAfter time.Duration
	// Sent: the request may have reached the server, and a code or a refresh
	// token may have been spent. false: it surely has not.
	Sent   bool
	Detail string // in words of this package
	Err    error  // never nil
}

// Error reads like "refresh at auth.globus.org: login required: HTTP 400, invalid_grant".
func (e *Error) Error() string {
	var what []string
	if e.Status != 0 {
		what = append(what, fmt.Sprintf("HTTP %d", e.Status))
	}
	for _, s := range []string{e.Code, e.Detail} {
		if s != "" {
			what = append(what, s)
		}
	}
	text := e.Op + " at " + e.Host + ": " + e.Err.Error()
	if len(what) > 0 {
		text += ": " + strings.Join(what, ", ")
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// lost says why no whole answer came; ctx is the request's. Nothing of err is
// shown: net/http quotes what it could not read, which may echo the request.
func lost(ctx context.Context, err error) (detail string, sentinel error) {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "it took too long", both{keystore.ErrUnavailable, context.DeadlineExceeded}
	case ctx.Err() != nil:
		return "", context.Canceled
	}
	return cause(err), keystore.ErrUnavailable
}

func cause(err error) string {
	var name *net.DNSError
	var bad *tls.CertificateVerificationError
	var dial *net.OpError
	switch {
	case errors.As(err, &bad):
		return "the certificate " + badCertificate(bad)
	case errors.As(err, &name) && name.IsNotFound:
		return "there is no such host"
	case errors.As(err, &name):
		return "the host's address could not be found out"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "no connection"
	}
	return "the connection failed"
}

func badCertificate(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		return "is another host's"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "is not valid at this time"
	case errors.As(err, &unknown):
		return "is of an unknown authority"
	}
	return "is not valid"
}

// both is two sentinels that read as the first.
type both [2]error

func (b both) Error() string   { return b[0].Error() }
func (b both) Unwrap() []error { return b[:] }

// unacceptable is the error of a success that is of no use; detail is in words
// of this package.
func (r reply) unacceptable(op, host, detail string) error {
	return &Error{Op: op, Host: host, Status: r.status, Sent: true, Err: ErrAnswer, Detail: detail}
}

// refusal is the error of an answer whose status is no success. secrets are
// what the request held.
func (r reply) refusal(op, host string, secrets []string, now time.Time) error {
	code := r.errorCode()
	e := &Error{Op: op, Host: host, Status: r.status, Code: shownCode(code, secrets), Sent: true}
	switch {
	case code == "invalid_grant" && (r.status == http.StatusBadRequest || r.status == http.StatusUnauthorized):
		e.Err = keystore.ErrLoginRequired
	case r.status == http.StatusRequestTimeout, r.status == http.StatusTooManyRequests, r.status >= 500:
		e.Err = keystore.ErrUnavailable
	case r.status >= 400:
		e.Err = ErrRefused
	case r.status >= 300:
		e.Err, e.Detail = ErrAnswer, "redirects are not followed"
	default:
		e.Err, e.Detail = ErrAnswer, "it is of no use here"
	}
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
		e.RetryAfter = retryAfter(r.header.Get("Retry-After"), now)
	}
	return e
}

// errorCode reads the code of RFC 6749 section 5.2, or of Globus's older form,
// {"errors": [{"code": …, "detail": …}]}, whose codes may be upper case. The
// description is left alone: servers have echoed tokens in it.
func (r reply) errorCode() string {
	var a struct {
		Error  string
		Errors []struct{ Code string }
	}
	names := []string{"error", "errors", "code"}
	if !isJSON(r.header) || strictjson.Check(r.body, names...) != nil || json.Unmarshal(r.body, &a) != nil {
		return ""
	}
	switch {
	case a.Error != "":
		return a.Error
	case len(a.Errors) > 0:
		return strings.ToLower(a.Errors[0].Code)
	}
	return ""
}

// codeLetters are what a Code is made of; a regexp would be compiled whenever
// the program starts.
const codeLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

// shownCode is code if it may be shown: a token is made of the same letters, so
// what shares eight in a row with one that was sent is taken for an echo.
func shownCode(code string, secrets []string) string {
	const most, echo = 64, 8
	if len(code) > most || strings.Trim(code, codeLetters) != "" {
		return ""
	}
	for _, s := range secrets {
		s = strings.ToLower(s)
		for i := 0; i+echo <= len(code); i++ {
			if strings.Contains(s, strings.ToLower(code[i:i+echo])) {
				return ""
			}
		}
		if s != "" && strings.Contains(strings.ToLower(code), s) {
			return ""
		}
	}
	return code
}

// retryAfter reads both forms of RFC 9110 section 10.2.3. What is neither, or
// in the past, is 0; nobody plans for more than a day.
func retryAfter(text string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(most/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), most))
}

// isJSON reports whether the answer says that it is JSON (RFC 6749 section 5.1).
func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
