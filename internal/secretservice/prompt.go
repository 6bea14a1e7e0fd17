//go:build unix && !darwin

package secretservice

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// dismissTime is what a prompt gets to go away when nobody waits for it any more.
const dismissTime = time.Second

// prompt shows the dialog of a prompt and waits until it is answered, as long
// as ctx lasts. Then it is dismissed: a dialog that is left over blocks every
// other program that asks the keyring.
//
// Errors: ErrDismissed; ErrVanished if the service or the bus ends meanwhile,
// which is no ErrGone, because nobody is asked twice.
func (s *Service) prompt(ctx context.Context, path dbus.ObjectPath) (result body, err error) {
	events, forget := s.watch(path)
	defer forget()
	if err = s.show(ctx, path); err == nil {
		result, err = s.completed(ctx, events)
	}
	if ctx.Err() != nil {
		s.Dismiss(context.WithoutCancel(ctx), path)
	}
	if errors.Is(err, ErrGone) {
		err = fmt.Errorf("%w (%v)", ErrVanished, err)
	}
	return result, err
}

// show asks for the signals and then for the dialog, in one go: the bus keeps
// the order.
func (s *Service) show(ctx context.Context, prompt dbus.ObjectPath) error {
	var sent []pending
	for _, rule := range s.rules(prompt) {
		sent = append(sent, s.conn.toBus(ctx, "AddMatch", rule))
	}
	sent = append(sent, s.send(ctx, prompt, promptIface+".Prompt", ""))
	for _, p := range sent {
		if err := p.done(); err != nil {
			return err
		}
	}
	return nil
}

// Dismiss takes a prompt away that was shown, or that will not be.
func (s *Service) Dismiss(ctx context.Context, prompt dbus.ObjectPath) {
	ctx, cancel := context.WithTimeout(ctx, dismissTime)
	defer cancel()
	s.send(ctx, prompt, promptIface+".Dismiss").done() // it may be gone: so be it
}

func (s *Service) completed(ctx context.Context, events chan *dbus.Signal) (body, error) {
	select {
	case event := <-events:
		return completion(event)
	case <-s.conn.bus.Context().Done():
		return nil, fmt.Errorf("%w: the bus ended", ErrVanished)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// completion reads the signal Completed(dismissed b, result v).
func completion(event *dbus.Signal) (body, error) {
	if event.Name != promptIface+".Completed" {
		return nil, ErrVanished
	}
	dismissed, err := get[bool](event.Body, 0)
	if err != nil {
		return nil, err
	}
	if dismissed {
		return nil, ErrDismissed
	}
	return body(event.Body).variant(1)
}

// rules are the matches by which the bus sends us what ends the prompt.
func (s *Service) rules(prompt dbus.ObjectPath) []string {
	return []string{
		fmt.Sprintf("type='signal',sender='%s',path='%s',interface='%s',member='Completed'", s.owner, prompt, promptIface),
		fmt.Sprintf("type='signal',sender='%s',path='%s',interface='%[1]s',member='NameOwnerChanged',arg0='%[3]s'", busName, busPath, serviceName),
	}
}

// watch returns a channel that gets the one event that ends the prompt, and
// what undoes all that was done for it.
func (s *Service) watch(prompt dbus.ObjectPath) (events chan *dbus.Signal, forget func()) {
	events = s.conn.signals.add(func(signal *dbus.Signal) bool { return s.ends(prompt, signal) })
	return events, func() {
		s.conn.signals.remove(events)
		for _, rule := range s.rules(prompt) {
			s.conn.tell(busName, busPath, busName+".RemoveMatch", rule)
		}
	}
}

// ends reports whether a signal ends the prompt. Any program may send us any
// signal; but the bus says who it was.
func (s *Service) ends(prompt dbus.ObjectPath, signal *dbus.Signal) bool {
	if signal.Name == promptIface+".Completed" {
		return signal.Sender == s.owner && signal.Path == prompt
	}
	if signal.Name != busName+".NameOwnerChanged" || signal.Sender != busName {
		return false
	}
	name, err := get[string](signal.Body, 0)
	return err == nil && name == serviceName
}

// signals hands the signals of a connection to those who wait for one. It
// replaces godbus's own handler, which queues them all, without limit, for
// every channel.
type signals struct {
	mu sync.Mutex
	// waiting maps the channel of each who waits to what he waits for.
	waiting map[chan *dbus.Signal]func(*dbus.Signal) bool
}

func newSignals() *signals {
	return &signals{waiting: make(map[chan *dbus.Signal]func(*dbus.Signal) bool)}
}

// DeliverSignal is called by godbus.
func (h *signals) DeliverSignal(_, _ string, signal *dbus.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch, wanted := range h.waiting {
		if !wanted(signal) {
			continue
		}
		select {
		case ch <- signal:
		default: // one is enough
		}
	}
}

func (h *signals) add(wanted func(*dbus.Signal) bool) chan *dbus.Signal {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan *dbus.Signal, 1)
	h.waiting[ch] = wanted
	return ch
}

func (h *signals) remove(ch chan *dbus.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, ch)
}
