//go:build unix && !darwin

package logind

import (
	"sync"

	"github.com/godbus/dbus/v5"
)

// event is something that logind has said, or that has become of it.
type event struct {
	what    what
	sender  string          // the unique name of logind
	session dbus.ObjectPath // of locked
}

type what int

const (
	appeared what = iota // logind is there, or another one than before
	sleeps
	woke
	locked
)

// signals keeps what logind says until somebody takes it. Every client of the bus can
// send us signals with any name and content; what tells logind is the unique name of
// the sender, which the bus writes. godbus delivers in the order of the bus, so the
// owner is always the one of that moment.
type signals struct {
	ready chan struct{} // holds one if there is something to take

	mu     sync.Mutex
	owner  string  // guarded by mu; "": nobody is logind
	told   bool    // guarded by mu: the bus has said that the owner changed
	events []event // guarded by mu; of logind alone, so it is not many
}

func newSignals() *signals { return &signals{ready: make(chan struct{}, 1)} }

// begin says who logind is, by an answer of the bus. What the bus has said since
// listening began is newer, or the same.
func (s *signals) begin(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told {
		s.setOwner(owner)
	}
}

// DeliverSignal implements dbus.SignalHandler. It must not wait.
func (s *signals) DeliverSignal(iface, name string, signal *dbus.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case signal.Sender == busName && iface == busName && name == "NameOwnerChanged":
		s.ownerChanged(signal.Body)
	case s.owner == "" || signal.Sender != s.owner:
	case iface == manager && name == "PrepareForSleep" && len(signal.Body) == 1:
		what := woke
		if signal.Body[0] != false { // whatever it may mean
			what = sleeps
		}
		s.add(event{what: what})
	case iface == session && name == "Lock":
		s.add(event{what: locked, session: signal.Path})
	}
}

func (s *signals) ownerChanged(body []any) {
	if len(body) != 3 || body[0] != login1 {
		return
	}
	if owner, ok := body[2].(string); ok {
		s.told = true
		s.setOwner(owner)
	}
}

func (s *signals) setOwner(owner string) {
	s.owner = owner
	if owner != "" {
		s.add(event{what: appeared})
	}
}

func (s *signals) add(e event) {
	e.sender = s.owner
	if n := len(s.events); n > 0 && s.events[n-1] == e {
		return
	}
	s.events = append(s.events, e)
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take returns what has come since the last time.
func (s *signals) take() []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}
