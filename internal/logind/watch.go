//go:build unix && !darwin

package logind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/globus-keys/globus-keys/internal/dbusdial"
)

// Watch calls lock, with the reason, when the machine is about to sleep and when a
// session of this user is locked, until ctx ends; then it returns nil. Calls come one
// at a time. The machine waits for lock, for as long as logind allows (5 seconds, if
// nobody has said otherwise): sleep is delayed by an inhibitor that is released after
// lock has returned. If logind refuses the inhibitor, lock is called all the same.
//
// A session whose user logind does not tell is taken for one of ours.
//
// ErrNothing: there is no system bus, which is DBUS_SYSTEM_BUS_ADDRESS or
// /run/dbus/system_bus_socket. A bus that is there and does not answer, or that goes
// away, is tried again every 30 seconds: what happens meanwhile is not seen, except
// that a machine which is about to sleep then is seen to be. A logind that is not
// there is waited for. No program is started, and nobody is asked.
//
// Who answers at the bus is not checked, since nothing is told to it: the address is
// root's, or of the user's own environment.
func Watch(ctx context.Context, getenv func(string) string, lock func(why string)) error {
	w := &watcher{lock: lock, pause: 30 * time.Second, patience: 3 * time.Second}
	return w.run(ctx, getenv)
}

type watcher struct {
	lock     func(why string)
	pause    time.Duration // until a bus is tried again
	patience time.Duration // for one call, or for one connection
}

func (w *watcher) run(ctx context.Context, getenv func(string) string) error {
	addresses, err := address(getenv)
	if err != nil {
		return err
	}
	for first := true; ctx.Err() == nil; first = false {
		err := w.once(ctx, addresses)
		if first && absent(err) {
			return fmt.Errorf("%w: there is no system bus: %w", ErrNothing, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.pause):
		}
	}
	return nil
}

// address returns the addresses of the system bus that can be used, separated by
// semicolons. The default is that of the D-Bus specification, by its name today.
func address(getenv func(string) string) (string, error) {
	list := getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if list == "" {
		return "unix:path=/run/dbus/system_bus_socket", nil
	}
	addresses, err := dbusdial.Usable(list)
	if err != nil {
		return "", fmt.Errorf("%w: DBUS_SYSTEM_BUS_ADDRESS: %w", ErrNothing, err)
	}
	return addresses, nil
}

// absent reports whether there is no socket, and so no bus that could be restarted.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// once watches one connection, as long as it lasts.
func (w *watcher) once(ctx context.Context, addresses string) error {
	c, err := w.connect(ctx, addresses)
	if err != nil {
		return err
	}
	defer c.close()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			return nil
		case <-c.bus.Context().Done():
			ended = true // what came before counts
		case <-c.signals.ready:
		}
		for _, e := range c.signals.take() {
			c.handle(ctx, e)
		}
	}
	return errors.New("the connection to the system bus ended")
}

// connect connects to the first of the addresses that answers.
func (w *watcher) connect(ctx context.Context, addresses string) (c *conn, err error) {
	for address := range strings.SplitSeq(addresses, ";") {
		next, failed := w.connectTo(ctx, address)
		if failed == nil {
			return next, nil
		}
		if err == nil || absent(err) { // one that is there says more
			err = failed
		}
	}
	return nil, err
}

func (w *watcher) connectTo(ctx context.Context, address string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	name, err := dbusdial.Endpoint(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	socket, err := d.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	c := &conn{watcher: w, endpoint: name, signals: newSignals()}
	c.bus, err = dbusdial.Hello(ctx, socket, c.signals)
	if err != nil {
		return nil, err
	}
	if err := c.listen(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}
