//go:build unix && !darwin

package secretservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/dbusdial"
)

// conn is one connection to the bus.
type conn struct {
	bus     *dbus.Conn
	signals *signals

	first <-chan exponent // for the first session, made while the bus is dialled
	begun atomic.Bool     // first is taken
}

// dial connects to the first of the addresses that answers.
func dial(ctx context.Context, addresses string) (*conn, error) {
	first := make(chan exponent, 1)
	go func() { first <- newExponent() }()
	var failed error
	for address := range strings.SplitSeq(addresses, ";") {
		c, err := dialOne(ctx, address)
		if err == nil {
			c.first = first
		}
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		// A bus that is there and cannot be used says more than one that is not.
		if failed == nil || errors.Is(failed, ErrNoBus) {
			failed = err
		}
	}
	return nil, failed
}

func dialOne(ctx context.Context, address string) (*conn, error) {
	name, err := dbusdial.Endpoint(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
	}
	var d net.Dialer
	socket, err := d.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, dialFault(ctx, err)
	}
	if err := checkPeer(socket); err != nil {
		socket.Close()
		return nil, err
	}
	c := &conn{signals: newSignals()}
	c.bus, err = dbusdial.Hello(ctx, socket, c.signals)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return c, nil
}

// dialFault: where nobody listens there is no bus. What else a socket says may
// be different in a minute.
func dialFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, absent := range []error{syscall.ENOENT, syscall.ENOTDIR, syscall.ECONNREFUSED} {
		if errors.Is(err, absent) {
			return fmt.Errorf("%w: %w", ErrNoBus, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// pending is a call that was sent.
type pending struct {
	ctx  context.Context
	call *dbus.Call
}

// send sends a call and does not wait for its answer. It starts no service.
func (c *conn) send(ctx context.Context, dest string, path dbus.ObjectPath, method string, args ...any) pending {
	call := c.bus.Object(dest, path).GoWithContext(ctx, method, dbus.FlagNoAutoStart, nil, args...)
	return pending{ctx, call}
}

// toBus sends a call to the bus itself.
func (c *conn) toBus(ctx context.Context, method string, args ...any) pending {
	return c.send(ctx, busName, busPath, busName+"."+method, args...)
}

// tell sends a call that nobody answers.
func (c *conn) tell(dest string, path dbus.ObjectPath, method string, args ...any) {
	c.bus.Object(dest, path).Go(method, dbus.FlagNoAutoStart|dbus.FlagNoReplyExpected, nil, args...)
}

// raw waits for the answer. The error is what godbus says.
func (p pending) raw() ([]any, error) {
	call := <-p.call.Done // at the latest when ctx ends
	return call.Body, call.Err
}

func (p pending) answer() (body, error) {
	values, err := p.raw()
	return body(values), fault(p.ctx, err)
}

func (p pending) done() error {
	_, err := p.answer()
	return err
}
