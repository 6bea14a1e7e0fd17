//go:build unix && !darwin

package logind

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/dbusdial"
)

const (
	busName = "org.freedesktop.DBus"

	login1  = "org.freedesktop.login1"
	path    = "/org/freedesktop/login1"
	manager = login1 + ".Manager"
	session = login1 + ".Session"
)

// conn is one connection to the bus. Only one goroutine uses it.
type conn struct {
	*watcher
	endpoint string // as package net writes it
	bus      *dbus.Conn
	signals  *signals

	inhibitor *os.File // nil: none
}

// listen asks first who logind is, and to be told of changes, and then for what it
// says: nothing comes before its sender is known.
func (c *conn) listen(ctx context.Context) error {
	if err := c.match(ctx, busName, busName, "NameOwnerChanged',arg0='"+login1); err != nil {
		return err
	}
	var owner string
	err := c.bus.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, login1).Store(&owner)
	if reply, ok := err.(dbus.Error); err != nil && (!ok || reply.Name != busName+".Error.NameHasNoOwner") {
		return err
	}
	c.signals.begin(owner) // "": it may come
	if err := c.match(ctx, login1, manager, "PrepareForSleep"); err != nil {
		return err
	}
	return c.match(ctx, login1, session, "Lock")
}

// match asks the bus for a signal.
func (c *conn) match(ctx context.Context, sender, iface, name string) error {
	rule := fmt.Sprintf("type='signal',sender='%s',interface='%s',member='%s'", sender, iface, name)
	return c.bus.BusObject().CallWithContext(ctx, busName+".AddMatch", 0, rule).Err
}

func (c *conn) close() {
	c.release()
	c.bus.Close()
}

// handle does what an event asks for. When ctx has ended nobody is called any more.
func (c *conn) handle(ctx context.Context, e event) {
	switch {
	case ctx.Err() != nil:
	case e.what == appeared:
		c.inhibit(ctx, e.sender)
		if c.preparing(ctx, e.sender) {
			c.sleep()
		}
	case e.what == sleeps:
		c.sleep()
	case e.what == woke:
		c.inhibit(ctx, e.sender)
	case e.what == locked:
		c.lockSession(ctx, e)
	}
}

// sleep locks, and then lets the machine sleep.
func (c *conn) sleep() {
	c.lock("the machine goes to sleep")
	c.release()
}

func (c *conn) lockSession(ctx context.Context, e event) {
	switch uid, known := c.user(ctx, e); {
	case !known:
		c.lock("a session was locked, and logind does not say whose")
	case uid == uint32(os.Geteuid()):
		c.lock("the session was locked")
	}
}

// user returns the user of a session.
func (c *conn) user(ctx context.Context, e event) (uid uint32, known bool) {
	fields, _ := c.property(ctx, e.sender, e.session, session, "User").([]any) // (uo)
	if len(fields) == 2 {
		uid, known = fields[0].(uint32)
	}
	return uid, known
}

// preparing reports whether the machine is about to sleep already.
func (c *conn) preparing(ctx context.Context, logind string) bool {
	return c.property(ctx, logind, path, manager, "PreparingForSleep") == true
}

// property returns nil if it cannot be found out. It asks a unique name: nobody is
// started for that.
func (c *conn) property(ctx context.Context, logind string, object dbus.ObjectPath, iface, name string) any {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	var value dbus.Variant
	call := c.bus.Object(logind, object).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, iface, name)
	if call.Store(&value) != nil {
		return nil
	}
	return value.Value()
}

// inhibit delays the next sleep until release. It takes the place of an inhibitor
// that there is, which another logind may have given.
func (c *conn) inhibit(ctx context.Context, logind string) {
	c.release()
	c.inhibitor = c.delay(ctx, logind)
}

// delay takes an inhibitor, or returns nil. It does so on a connection of its own,
// which takes file descriptors and lasts for that one call: see dbusdial.Hello. That
// ends with ctx; the inhibitor is held by its descriptor alone.
func (c *conn) delay(ctx context.Context, logind string) *os.File {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	bus, err := dbus.Dial(busAddress(c.endpoint), dbus.WithContext(ctx))
	if err != nil {
		return nil
	}
	defer bus.Close()
	if err := bus.Auth([]dbus.Auth{dbusdial.External()}); err != nil {
		return nil
	}
	if err := bus.Hello(); err != nil {
		return nil
	}
	var fd dbus.UnixFD
	call := bus.Object(logind, path).CallWithContext(ctx, manager+".Inhibit", dbus.FlagNoAutoStart,
		"sleep", "globus-keys", "the key of the logins is erased first", "delay")
	if call.Store(&fd) != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "inhibitor")
}

// busAddress is the opposite of dbusdial.Endpoint.
func busAddress(endpoint string) string {
	if name, ok := strings.CutPrefix(endpoint, "@"); ok {
		return "unix:abstract=" + dbus.EscapeBusAddressValue(name)
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(endpoint)
}

func (c *conn) release() {
	if c.inhibitor != nil {
		c.inhibitor.Close()
		c.inhibitor = nil
	}
}
