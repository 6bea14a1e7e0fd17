package logind

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
)

// login1Fake stands for systemd-logind, which cannot run in tests: it has what of
// org.freedesktop.login1 is used here, on a real bus.
type login1Fake struct {
	t    *testing.T
	conn *dbus.Conn
	file string // inhibitors are descriptors of it

	mu        sync.Mutex
	inhibits  []string // the arguments of each call; guarded by mu
	given     *os.File // guarded by mu
	refuses   *dbus.Error
	hangs     chan struct{} // not nil: calls of Inhibit and for properties wait for it
	preparing bool
}

// startLogin1 exports it on the bus; change, which may be nil, comes before anybody
// can call it.
func startLogin1(t *testing.T, bus *desktoptest.Bus, change func(*login1Fake)) *login1Fake {
	t.Helper()
	l := &login1Fake{t: t, conn: bus.Dial(), file: filepath.Join(t.TempDir(), "inhibitor")}
	if change != nil {
		change(l)
	}
	given, err := os.Create(l.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		given.Close()
	})
	l.given = given
	l.conn.Export(l, path, manager)
	l.conn.Export(properties{l, map[string]any{"PreparingForSleep": func() any { return l.preparing }}}, path, "org.freedesktop.DBus.Properties")
	reply, err := l.conn.RequestName(login1, dbus.NameFlagReplaceExisting|dbus.NameFlagAllowReplacement)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return l
}

// Inhibit is the method.
func (l *login1Fake) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	l.mu.Lock()
	l.inhibits = append(l.inhibits, what+" "+mode)
	l.mu.Unlock()
	if l.hangs != nil {
		<-l.hangs
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return dbus.UnixFD(l.given.Fd()), l.refuses
}

func (l *login1Fake) asked() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.inhibits, ", ")
}

// held reports whether somebody in this process but the fake itself has the inhibitor.
func (l *login1Fake) held() bool { return openFiles(l.t, l.file) > 1 }

// openFiles counts the descriptors of this process whose file is named so.
func openFiles(t *testing.T, name string) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if file, _ := os.Readlink("/proc/self/fd/" + fd.Name()); file == name {
			n++
		}
	}
	return n
}

// session makes a session of the user. user is a function: its value counts when it
// is asked for.
func (l *login1Fake) session(name string, user func() any) dbus.ObjectPath {
	l.t.Helper()
	object := dbus.ObjectPath(path + "/session/" + name)
	if err := l.conn.Export(properties{l, map[string]any{"User": user}}, object, "org.freedesktop.DBus.Properties"); err != nil {
		l.t.Fatal(err)
	}
	return object
}

func userOf(uid int) func() any {
	return func() any {
		return struct {
			UID  uint32
			Path dbus.ObjectPath
		}{uint32(uid), dbus.ObjectPath(fmt.Sprintf("%s/user/_%d", path, uid))}
	}
}

// properties of an object, as functions.
type properties struct {
	of     *login1Fake
	values map[string]any
}

// Get is the method.
func (p properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	value, ok := p.values[name].(func() any)
	if !ok {
		return dbus.Variant{}, &dbus.ErrMsgUnknownInterface
	}
	if p.of.hangs != nil {
		<-p.of.hangs
	}
	return dbus.MakeVariant(value()), nil
}

func (l *login1Fake) sleep(start bool) { emit(l.t, l.conn, path, manager+".PrepareForSleep", start) }

func (l *login1Fake) lockSession(object dbus.ObjectPath) {
	emit(l.t, l.conn, object, session+".Lock")
}

// emit sends a signal, and returns when the bus has handed it on.
func emit(t *testing.T, conn *dbus.Conn, object dbus.ObjectPath, name string, values ...any) {
	t.Helper()
	if err := conn.Emit(object, name, values...); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, conn)
}

// roundTrip: the bus takes what one client sends in its order.
func roundTrip(t *testing.T, conn *dbus.Conn) {
	t.Helper()
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
}
