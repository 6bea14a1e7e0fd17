package agent

import (
	"bytes"
	"errors"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
)

const (
	quietTime   = time.Minute     // between two requests of a client
	requestTime = 5 * time.Second // from the first byte of a line to its end, and for an answer
)

// welcome begins to serve a client.
func (s *Server) welcome(c net.Conn) {
	if err := checkPeer(c); err != nil {
		s.log.Warn("refused a client", "error", err)
		c.Close()
		return
	}
	if !s.conns.enter(c) {
		c.Close()
		return
	}
	go func() {
		defer s.conns.leave(c)
		defer c.Close()
		s.serve(c)
	}()
}

func (s *Server) serve(c net.Conn) {
	in := newLines(c, quietTime, requestTime)
	defer in.erase()
	var gone error // who has asked may not wait for the answer
	for then := goOn; then != hangUp && gone == nil; {
		line, err := in.next()
		if err != nil && !errors.Is(err, errTooLong) {
			return
		}
		s.conns.asks(c)
		var out []byte
		withSecrets(line, func() { out, then = s.respond(line, err) })
		in.erase()
		gone = write(c, out)
		switch then {
		case clean:
			erase.Now()
		case endAgent: // hangs up on this client too, when the keys are erased
			s.stop()
		}
		s.conns.answered(c)
	}
}

// next is what is done after an answer.
type next int

const (
	goOn     next = iota
	clean         // erase at once what the request has left
	hangUp        // it was none
	endAgent      // it has said stop
)

// withSecrets calls f, which reads a line, so that what it allocates is erased as soon
// as it is collected, if there can be a key in it. That takes its time: it is not done
// for all of what f does with the others, nor while the system is called.
func withSecrets(line []byte, f func()) {
	if bytes.Contains(line, []byte(`"key"`)) || bytes.IndexByte(line, '\\') >= 0 {
		erase.Do(f)
		return
	}
	f()
}

// write writes a line, and erases it.
func write(c net.Conn, line []byte) error {
	defer clear(line)
	c.SetWriteDeadline(time.Now().Add(requestTime))
	_, err := c.Write(line)
	return err
}

// respond returns the answer to a line, none if there is no agent any more.
func (s *Server) respond(line []byte, bad error) (out []byte, then next) {
	a, then, err := s.ask(line, bad)
	if errors.Is(err, errEnding) {
		return nil, hangUp
	}
	if err != nil {
		a = refusal(err)
	}
	a.V = Version
	erase.Do(func() { out, err = a.encode() })
	if err != nil { // it is too long
		out, _ = refusal(err).encode()
	}
	return out, then
}

func (s *Server) ask(line []byte, bad error) (answer, next, error) {
	var r request
	err := bad
	if err == nil {
		r, err = parseRequest(line)
	}
	if err != nil {
		s.log.Warn("no request", "error", err)
		return answer{}, hangUp, err
	}
	s.log.Debug("request", "op", known(r.Op))
	var a answer
	erase.Do(func() { a, err = s.handle(r) })
	switch {
	case err == nil && r.Op == opStop:
		return a, endAgent, nil
	case r.Op == opUnlock:
		return a, clean, err
	}
	return a, goOn, err
}
