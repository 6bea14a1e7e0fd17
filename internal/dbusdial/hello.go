//go:build unix && !darwin

package dbusdial

import (
	"bufio"
	"context"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// writeTime is how long the bus may take to read what it is sent. Calls are a
// few kilobytes and fit into the socket's buffer: a bus that is not stuck takes
// no time at all.
const writeTime = time.Second

// Hello introduces us to the bus at the other end of the socket, which belongs to
// the connection afterwards, and is closed on an error. When ctx ends first, the
// error is its cause. Signals go to the handler.
//
// Nobody can send file descriptors over the connection: they would be ours to
// close, and godbus keeps those of messages that nobody waits for.
func Hello(ctx context.Context, socket net.Conn, handler dbus.SignalHandler) (*dbus.Conn, error) {
	// What follows obeys no context, but it ends when the socket does.
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	bus, err := introduce(socket, handler)
	if !stop() {
		if err == nil {
			bus.Close()
		}
		return nil, context.Cause(ctx)
	}
	return bus, err
}

func introduce(socket net.Conn, handler dbus.SignalHandler) (*dbus.Conn, error) {
	bus, err := dbus.NewConn(&stream{socket: socket, in: bufio.NewReader(socket)}, dbus.WithSignalHandler(handler))
	if err != nil {
		socket.Close()
		return nil, err
	}
	err = bus.Auth([]dbus.Auth{External()})
	if err == nil {
		err = bus.Hello()
	}
	if err != nil {
		bus.Close()
		return nil, err
	}
	return bus, nil
}

// External lets the bus ask the kernel who we are.
func External() dbus.Auth { return dbus.AuthExternal(strconv.Itoa(os.Geteuid())) }

// stream is a socket that does not wait for ever when it is written to:
// godbus writes in the goroutine of the caller, and looks at no context there.
type stream struct {
	socket net.Conn
	in     *bufio.Reader
}

func (s *stream) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *stream) Write(b []byte) (int, error) {
	s.socket.SetWriteDeadline(time.Now().Add(writeTime))
	n, err := s.socket.Write(b)
	if err != nil {
		s.socket.Close() // half a message may be out: nothing can follow it
	}
	return n, err
}

func (s *stream) Close() error { return s.socket.Close() }
