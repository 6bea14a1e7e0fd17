package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
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
	keys     *ring
	linger   time.Duration
	log      *slog.Logger
	stop     context.CancelFunc // of Serve; set before the first client
	conns    *clients
	watching sync.WaitGroup
	used     atomic.Bool // since the last sweep: copies of keys wait to be collected
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

// Serve answers the clients of l until ctx ends, somebody says stop, there has been no
// key for the time of Linger, or the socket is not where it was. When it returns, l is
// closed, all keys are erased, and nobody is served any more. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer s.end(l)
	at := spotOf(l)
	s.watching.Go(func() { s.watch(ctx, at) })
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors, or a client that has gone: others may come
			s.log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond)
		default:
			s.welcome(c)
		}
	}
}

func (s *Server) end(l net.Listener) {
	s.stop()
	l.Close()
	s.Lock("the agent ends")
	s.conns.closeAll()
	s.watching.Wait()
	s.keys.close()
	erase.Now()
}

// Lock erases all keys.
func (s *Server) Lock(why string) {
	n := s.keys.lock(all)
	s.log.Info("locked", "why", why, "keys", n)
	erase.Now()
}

// watch erases keys when they are over, and what use has left of others, and ends an
// agent that has none for long, or that nobody finds: he could not lock what it has.
func (s *Server) watch(ctx context.Context, at spot) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	began := s.keys.clock()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		ended, left := s.keys.sweep()
		if ended > 0 {
			s.log.Info("locked", "why", "its time is over", "keys", ended)
		}
		if s.used.Swap(false) || ended > 0 {
			erase.Now()
		}
		now := s.keys.clock()
		switch {
		case at.lost():
			s.log.Info("ending: its socket is gone")
			s.stop()
			return
		case ended > 0 || left > 0:
			began = now
		case now.Steady-began.Steady >= s.linger && s.keys.retire():
			s.log.Info("ending: no key for " + s.linger.String())
			s.stop()
			return
		}
	}
}
