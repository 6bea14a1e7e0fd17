package agent

import (
	"net"
	"sync"
)

// maxClients is how many are served at once. When one more comes, who was silent for
// longest has to go: a program that keeps a connection connects anew.
const maxClients = 256

// clients are the connections that are open.
type clients struct {
	mu   sync.Mutex
	open map[net.Conn]*visit // guarded by mu
	said int                 // how often somebody was heard; guarded by mu
	gone bool                // no more are let in; guarded by mu
	left sync.WaitGroup      // who is still there
}

// visit is one client's.
type visit struct {
	heard int  // what said was when it was last; clocks of Windows stand still for long
	asked bool // it waits for an answer
}

func newClients() *clients { return &clients{open: make(map[net.Conn]*visit)} }

// enter lets a client in, if there is still time for one.
func (c *clients) enter(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	if len(c.open) >= maxClients {
		c.closeIdlest()
	}
	c.said++
	c.open[conn] = &visit{heard: c.said}
	c.left.Add(1)
	return true
}

func (c *clients) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
	c.left.Done()
}

// closeIdlest is called with mu held. Who waits for an answer is no idler, unless all
// are: some never read.
func (c *clients) closeIdlest() {
	var idlest net.Conn
	var least *visit
	for conn, v := range c.open {
		if least == nil || v.idlerThan(least) {
			idlest, least = conn, v
		}
	}
	idlest.Close()
	delete(c.open, idlest)
}

func (v *visit) idlerThan(other *visit) bool {
	if v.asked != other.asked {
		return other.asked
	}
	return v.heard < other.heard
}

// asks and answered are told of each request.
func (c *clients) asks(conn net.Conn)     { c.set(conn, true) }
func (c *clients) answered(conn net.Conn) { c.set(conn, false) }

func (c *clients) set(conn net.Conn, asked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.open[conn]; v != nil {
		c.said++
		v.heard, v.asked = c.said, asked
	}
}

// closeAll returns when all clients have gone.
func (c *clients) closeAll() {
	c.mu.Lock()
	c.gone = true
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.left.Wait()
}
