package agent

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestUnlockOfAnAgentThatEnds has no answer, so that its client looks for another
// agent: not yes, and no other error.
func TestUnlockOfAnAgentThatEnds(t *testing.T) {
	for _, how := range []string{"retired", "closed"} {
		b := newBench(t)
		if how == "retired" && !b.keys.retire() {
			t.Error("an agent without a key did not retire")
		}
		if how == "closed" {
			b.keys.close()
		}
		key := encodeSecret(keystore.NewSecret(string(benchSecret)))
		line, then := b.respond([]byte(`{"v":1,"op":"unlock",`+benchKey+benchTo+`,"key":"`+key+`","ttl_seconds":60}`), nil)
		if line != nil || then != hangUp {
			t.Errorf("%s: %q, %v", how, line, then)
		}
	}
	b := newBench(t)
	if b.unlock(`"ttl_seconds":60`); b.keys.retire() {
		t.Error("an agent with a key has retired")
	}
}

// TestWhoHasToGo when another client comes: of those who wait for no answer the one
// that was silent for longest.
func TestWhoHasToGo(t *testing.T) {
	c := newClients()
	var conns []net.Conn
	for range maxClients {
		conn, other := net.Pipe()
		defer other.Close()
		conns = append(conns, conn)
		c.enter(conn)
	}
	c.asks(conns[0]) // the first, and it waits
	for _, conn := range append(conns[2:], conns[1]) {
		c.answered(conn)
	}
	gone := func(conn net.Conn) bool {
		conn.SetDeadline(time.Unix(1, 0))
		_, err := conn.Read(make([]byte, 1))
		return errors.Is(err, io.ErrClosedPipe)
	}
	last, other := net.Pipe()
	defer other.Close()
	if !c.enter(last) || len(c.open) != maxClients {
		t.Errorf("%d are in", len(c.open))
	}
	for i, want := range []bool{false, false, true, false} {
		if gone(conns[i]) != want {
			t.Errorf("client %d has gone: %v, want %v", i, !want, want)
		}
	}
	for _, conn := range append(conns[3:], last, conns[1]) {
		c.asks(conn)
	}
	one, another := net.Pipe()
	defer another.Close()
	if c.enter(one); !gone(conns[0]) {
		t.Error("all wait for an answer, and the first of them has not gone")
	}
	one.Close()
}
