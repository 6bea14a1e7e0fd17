package agent

import (
	"net"
	"sync"
	"time"
)

// clients are the connections that are open.
type clients struct {
	mu   sync.Mutex
	last map[net.Conn]time.Time // when each was heard last; guarded by mu
	gone bool                   // no more are let in; guarded by mu
}

// maxClients is how many are served at once. When one more comes, who was silent for
// longest has to go: a program that keeps a connection connects anew.
const maxClients = 256

func newClients() *clients { return &clients{last: make(map[net.Conn]time.Time)} }

func (c *clients) enter(conn net.Conn) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		conn.Close()
	}
	if len(c.last) >= maxClients {
		c.closeIdlest()
	}
	c.last[conn] = time.Now()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.last, conn)
	}
}

// closeIdlest is called with mu held.
func (c *clients) closeIdlest() {
	var idlest net.Conn
	for conn, t := range c.last {
		if idlest == nil || t.Before(c.last[idlest]) {
			idlest = conn
		}
	}
	idlest.Close()
	delete(c.last, idlest)
}

func (c *clients) seen(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.last[conn]; ok {
		c.last[conn] = time.Now()
	}
}

func (c *clients) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for conn := range c.last {
		conn.Close()
	}
}
