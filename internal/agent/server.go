package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// ServerOptions of NewServer. The zero value is good.
type ServerOptions struct {
	Clock  Clock         // nil means SystemClock()
	Linger time.Duration // how long it stays without a key; 0: 10 minutes
	Log    *slog.Logger  // is told the kinds of requests, and nothing else of them; nil: nobody is
}

const (
	linger     = 10 * time.Minute
	sweepEvery = 5 * time.Second
)

// Server is the agent. Make it with NewServer.
type Server struct {
	keys   *ring
	linger time.Duration
	log    *slog.Logger
	stop   context.CancelFunc // of Serve; set before the first client
	conns  *clients
}

// NewServer returns an agent without a key. opts may be nil. ErrUnavailable: there is
// no memory for keys that is neither swapped nor dumped.
func NewServer(opts *ServerOptions) (*Server, error) {
	var o ServerOptions
	if opts != nil {
		o = *opts
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.Linger == 0 {
		o.Linger = linger
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	keys, err := newRing(o.Clock)
	if err != nil {
		return nil, err
	}
	return &Server{keys: keys, linger: o.Linger, log: o.Log, conns: newClients()}, nil
}

// Serve answers the clients of l until ctx ends, somebody says stop, or there has
// been no key for the time of Linger. It closes l and erases all keys then. It is
// called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer s.end(l)
	go s.watch(ctx)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, or a client that has gone: others may come
			s.log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go s.serve(c)
	}
}

func (s *Server) end(l net.Listener) {
	s.stop()
	l.Close()
	s.Lock("the agent ends")
	s.conns.closeAll()
	s.keys.close()
}

// Lock erases all keys.
func (s *Server) Lock(why string) {
	n := s.keys.lock(func(keyName) bool { return true })
	s.log.Info("locked", "why", why, "keys", n)
	erase.Now()
}

// watch erases keys when they are over, and ends an agent that has none for long.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	began := s.keys.clock()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		erased, left := s.keys.sweep()
		now := s.keys.clock()
		switch {
		case erased > 0:
			s.log.Info("locked", "why", "its time is over", "keys", erased)
			erase.Now()
			began = now
		case left > 0:
			began = now
		case now.Steady-began.Steady >= s.linger:
			s.log.Info("ending: no key for " + s.linger.String())
			s.stop()
		}
	}
}

// serve answers one client.
func (s *Server) serve(c net.Conn) {
	defer c.Close()
	if err := checkPeer(c); err != nil {
		s.log.Warn("refused a client", "error", err)
		return
	}
	leave := s.conns.enter(c)
	defer leave()
	in := newLines(c)
	defer in.erase()
	for {
		line, err := in.next(quietTime, requestTime)
		if err != nil {
			s.tellTooLong(c, err)
			return
		}
		s.conns.seen(c)
		last := s.reply(c, line)
		in.erase()
		if last {
			return
		}
	}
}

func (s *Server) tellTooLong(c net.Conn, err error) {
	if errors.Is(err, errTooLong) {
		s.log.Warn("a request was too long")
		s.write(c, refusal(err))
	}
}

// reply answers one request. What is allocated meanwhile is erased.
func (s *Server) reply(c net.Conn, line []byte) (last bool) {
	erase.Do(func() {
		r, err := parseRequest(line)
		if err != nil {
			s.log.Warn("a request was malformed")
			s.write(c, refusal(err))
			last = true
			return
		}
		s.log.Debug("request", "op", known(r.Op))
		a, err := s.handle(r)
		if err != nil {
			a = refusal(err)
		}
		a.V = Version
		last = s.write(c, a) != nil
		if err == nil && r.Op == opStop {
			s.stop()
		}
	})
	return last
}

func (s *Server) write(c net.Conn, a answer) error {
	line, err := encode(a)
	if err != nil {
		if line, err = encode(refusal(err)); err != nil {
			return err
		}
	}
	defer clear(line)
	c.SetWriteDeadline(time.Now().Add(requestTime))
	_, err = c.Write(line)
	return err
}
