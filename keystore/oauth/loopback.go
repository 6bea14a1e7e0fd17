package oauth

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// Limits of the listener.
const (
	maxCallers     = 32               // connections at once; one more ends the oldest
	maxCallerTime  = 10 * time.Second // for a request and its page
	maxCallHeaders = 32 << 10         // bytes, which net/http takes for a little more
)

// loopback has the browser bring the answer to a listener on this machine
// (RFC 8252 section 7.3), which is there before the person is told where to go.
func (a *attempt) loopback(ctx context.Context) (keystore.Secret, error) {
	waiting, cancel := a.waiting(ctx)
	defer cancel()
	l, err := listen("127.0.0.1:0", "[::1]:0")
	if err != nil {
		return keystore.Secret{}, err
	}
	a.redirect = "http://" + l.Addr().String()
	d := &desk{attempt: a, host: l.Addr().String(), result: make(chan answered, 1)}
	defer d.open(l)()
	err = a.visit(waiting)
	if err != nil && len(d.result) == 0 {
		return keystore.Secret{}, err
	}
	select {
	case r := <-d.result:
		return r.code, r.err
	case <-waiting.Done():
		return keystore.Secret{}, a.ended(waiting)
	}
}

// listen takes the first address that there is.
func listen(addresses ...string) (net.Listener, error) {
	for _, address := range addresses {
		if l, err := net.Listen("tcp", address); err == nil {
			return l, nil
		}
	}
	return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "no loopback address can be listened on"}
}

// desk answers the browser of one login, and everybody else on this machine.
type desk struct {
	attempt *attempt
	host    string        // as the browser has to name it
	result  chan answered // takes one
	done    atomic.Bool   // the answer is there
	callers callers
}

// open serves l until closed is called, which waits for all that it has started.
func (d *desk) open(l net.Listener) (closed func()) {
	server := &http.Server{
		Handler:        d,
		ReadTimeout:    maxCallerTime,
		WriteTimeout:   maxCallerTime,
		MaxHeaderBytes: maxCallHeaders,
		ConnState:      d.callers.change,
		ErrorLog:       log.New(io.Discard, "", 0), // it would quote requests
	}
	server.SetKeepAlivesEnabled(false)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	return func() {
		server.Close()
		serving.Wait()
		d.callers.end()
	}
}

// ServeHTTP takes the first answer that knows the state. The page is on its way
// before the login goes on, which closes the listener.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host != d.host: // another name for this address: DNS rebinding
		show(w, http.StatusMisdirectedRequest, pageStray)
	case r.URL.Path != "/" && r.URL.Path != "":
		show(w, http.StatusNotFound, pageStray)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		show(w, http.StatusMethodNotAllowed, pageStray)
	default:
		d.take(w, r.URL.RawQuery)
	}
}

func (d *desk) take(w http.ResponseWriter, query string) {
	code, err := d.attempt.read(query)
	switch {
	case errors.Is(err, errStray):
		show(w, http.StatusBadRequest, pageStray)
	case d.done.Swap(true):
		show(w, http.StatusGone, pageStray)
	case err != nil:
		show(w, http.StatusOK, pageRefused)
		d.result <- answered{err: err}
	default:
		show(w, http.StatusOK, pageReceived)
		d.result <- answered{code: code}
	}
}

// callers are the connections that are open. Whoever opens many and says nothing
// loses the oldest, and does not keep the browser out.
type callers struct {
	gone sync.WaitGroup // all of them

	mu   sync.Mutex
	open []net.Conn // guarded by mu; oldest first
}

// end closes those that a closing http.Server has not seen yet, and waits for all.
func (c *callers) end() {
	c.mu.Lock()
	for _, conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.gone.Wait()
}

// change is an http.Server's ConnState.
func (c *callers) change(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.gone.Add(1)
		if c.open = append(c.open, conn); len(c.open) > maxCallers {
			c.open[0].Close()
			c.open = c.open[1:]
		}
	case http.StateClosed:
		c.open = slices.DeleteFunc(c.open, func(other net.Conn) bool { return other == conn })
		c.gone.Done()
	}
}
