package oauthtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	floodSize = 300 << 20
	chunk     = 64 << 10
	dripPause = 10 * time.Millisecond
)

// writer counts what a bad answer was able to send.
type writer struct {
	io.Writer
	s *Server
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.s.count(func(c *Counts) { c.Bytes += n })
	return n, err
}

// feed writes the body of an answer; r is the request.
type feed func(s *Server, w http.ResponseWriter, r *http.Request)

// stream answers with a body that feed writes bit by bit.
func stream(status int, f feed) spoil {
	return func(s *Server, _ *http.Request, x *exchange) {
		x.stream = func(w http.ResponseWriter, r *http.Request) {
			f(s, &statusWriter{ResponseWriter: w, status: status}, r)
		}
	}
}

// statusWriter sends a status before the first byte, when the feed has set its
// headers.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status != 0 {
		w.WriteHeader(w.status)
		w.status = 0
	}
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) flush() { w.ResponseWriter.(http.Flusher).Flush() }

func flood(s *Server, w http.ResponseWriter, _ *http.Request) {
	out := writer{w, s}
	if _, err := io.WriteString(out, `{"token_type": "Bearer", "access_token": "`); err != nil {
		return
	}
	piece := bytes.Repeat([]byte("a"), chunk)
	for range floodSize / chunk {
		if _, err := out.Write(piece); err != nil {
			return
		}
	}
}

// declared adds a Content-Length.
func declared(size int, f feed) feed {
	return func(s *Server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		f(s, w, r)
	}
}

// bomb sends some 300 KB of gzip that stand for 300 MB.
func bomb(s *Server, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	out := writer{w, s}
	for range floodSize >> 20 { // members one after the other are one stream
		if _, err := out.Write(one.Bytes()); err != nil {
			return
		}
	}
}

// drip sends a space now and then, as long as somebody listens.
func drip(s *Server, w http.ResponseWriter, r *http.Request) {
	for s.pause(r) {
		if _, err := io.WriteString(w, " "); err != nil {
			return
		}
		w.(*statusWriter).flush()
	}
}

// pause waits a little, and reports false when client or test are gone.
func (s *Server) pause(r *http.Request) bool {
	select {
	case <-s.done:
		return false
	case <-r.Context().Done():
		return false
	case <-time.After(dripPause):
		return true
	}
}

func cut(_ *Server, w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, `{"access_token": "fake-acc`)
	w.(*statusWriter).flush()
	panic(http.ErrAbortHandler) // closes the connection in the middle
}

// hijack takes the connection out of HTTP, gives it to f, and closes it.
func hijack(f func(s *Server, c net.Conn, r *http.Request)) spoil {
	return func(s *Server, _ *http.Request, x *exchange) {
		x.stream = func(w http.ResponseWriter, r *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			if f != nil {
				f(s, c, r)
			}
		}
	}
}

func headers(s *Server, c net.Conn, _ *http.Request) {
	out := writer{c, s}
	io.WriteString(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
	for i := range floodSize / 1024 {
		if _, err := fmt.Fprintf(out, "X-%d: %01000d\r\n", i, i); err != nil {
			return
		}
	}
}

func dripHeaders(s *Server, c net.Conn, _ *http.Request) {
	io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Drip: ")
	s.dripUntilClosed(c, "a")
}

func provisional(s *Server, c net.Conn, _ *http.Request) {
	out := writer{c, s}
	for range floodSize / 25 {
		if _, err := io.WriteString(out, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return
		}
	}
}

// dripUntilClosed does not look at the request's context, which does not tell
// of a connection that was taken out of HTTP.
func (s *Server) dripUntilClosed(c net.Conn, piece string) {
	for {
		select {
		case <-s.done:
			return
		case <-time.After(dripPause):
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
}

func notHTTP(_ *Server, c net.Conn, r *http.Request) {
	fmt.Fprintf(c, "SSH-2.0-%s\r\n%s\r\n\r\n", sent(r), sent(r))
}

// reset closes so that the client gets a reset, not an orderly end.
func reset(_ *Server, c net.Conn, _ *http.Request) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// never waits until the client or the test is gone.
func never(s *Server, c net.Conn, _ *http.Request) {
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c) // ends when the client closes
		close(gone)
	}()
	select {
	case <-s.done:
	case <-gone:
	}
}
