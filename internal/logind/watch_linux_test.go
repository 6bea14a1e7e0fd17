package logind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

const (
	goesToSleep = "the machine goes to sleep"
	wasLocked   = "the session was locked"
	whose       = "a session was locked, and logind does not say whose"
)

// watching is a Watch that runs until the end of the test.
type watching struct {
	*testing.T
	calls chan string // what lock was called with
	stop  context.CancelFunc
	err   chan error
}

// watch begins to watch. At the end Watch must return nil and leave nothing.
func watch(t *testing.T, getenv func(string) string, lock func()) *watching {
	t.Helper()
	return watchWith(t, getenv, 5*time.Second, lock)
}

func watchWith(t *testing.T, getenv func(string) string, patience time.Duration, lock func()) *watching {
	t.Helper()
	percent := debug.SetGCPercent(-1) // which closes files that nobody has closed
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	goroutines := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{t, make(chan string, 100), cancel, make(chan error, 1)}
	under := &watcher{pause: 10 * time.Millisecond, patience: patience, lock: func(why string) {
		if lock != nil {
			lock()
		}
		w.calls <- why
	}}
	go func() { w.err <- under.run(ctx, getenv) }()
	t.Cleanup(func() {
		cancel()
		if err := <-w.err; err != nil {
			t.Errorf("Watch: %v", err)
		}
		desktoptest.Until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
		if len(w.calls) > 0 {
			t.Errorf("locked once more: %s", <-w.calls)
		}
	})
	return w
}

// locks waits for the next call of lock, which must have this reason.
func (w *watching) locks(why string) {
	w.Helper()
	select {
	case got := <-w.calls:
		if got != why {
			w.Fatalf("locked: %q, want %q", got, why)
		}
	case <-time.After(20 * time.Second):
		w.Fatalf("not locked, want %q", why)
	}
}

func systemBus(t *testing.T) *desktoptest.Bus {
	bus := desktoptest.StartBus(t)
	bus.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address)
	return bus
}

// TestSleepWaitsForTheLock: the inhibitor is held while lock is called, and no longer;
// it is taken again for the next time.
func TestSleepWaitsForTheLock(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, nil)
	w := watch(t, bus.Getenv, func() {
		if !l.held() {
			t.Error("the machine may sleep before it is locked")
		}
	})
	for range 3 {
		desktoptest.Until(t, "the inhibitor is taken", l.held)
		l.sleep(true)
		w.locks(goesToSleep)
		desktoptest.Until(t, "the inhibitor is released", func() bool { return !l.held() })
		l.sleep(false)
	}
	desktoptest.Until(t, "the inhibitor is taken", l.held)
	w.stop()
	desktoptest.Until(t, "the inhibitor is released at the end", func() bool { return !l.held() })
	if got := l.asked(); got != "sleep delay, sleep delay, sleep delay, sleep delay" {
		t.Errorf("inhibitors: %s", got)
	}
}

// TestLockOfASession: it counts if it is of this user, or of nobody knows whom.
func TestLockOfASession(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, nil)
	w := watch(t, bus.Getenv, nil)
	desktoptest.Until(t, "the inhibitor is taken", l.held)
	own := l.session("_31", userOf(os.Geteuid()))
	other := l.session("_32", userOf(os.Geteuid()+1))
	malformed := l.session("_33", func() any { return "root" })
	for range 2 {
		l.lockSession(other)
		l.lockSession(own)
		w.locks(wasLocked)
	}
	l.lockSession(path + "/session/_34") // gone
	w.locks(whose)
	l.lockSession(malformed)
	w.locks(whose)
	l.lockSession(other)
	l.sleep(true)
	w.locks(goesToSleep)
}

// TestForgedSignals: any client of the bus can send what logind sends, to all and to
// us; it is not logind for that. Nor is one that was.
func TestForgedSignals(t *testing.T) {
	bus := systemBus(t)
	first := startLogin1(t, bus, nil)
	known := bus.Clients()
	w := watch(t, bus.Getenv, nil)
	desktoptest.Until(t, "the inhibitor is taken", first.held)
	forger := bus.Dial()
	var us string
	desktoptest.Until(t, "we are the only client that is left", func() bool {
		others := slices.DeleteFunc(bus.Clients(), func(c string) bool { return slices.Contains(append(known, forger.Names()[0]), c) })
		us = strings.Join(others, " ")
		return len(others) == 1
	})
	own := first.session("_31", userOf(os.Geteuid()))
	forge(t, forger, us, own)
	first.lockSession(own)
	w.locks(wasLocked)

	second := startLogin1(t, bus, nil)
	desktoptest.Until(t, "the inhibitor is taken of the other, and given back to the first", func() bool { return second.held() && !first.held() })
	forge(t, first.conn, us, own)
	forge(t, forger, us, own)
	second.sleep(true)
	w.locks(goesToSleep)
}

// forge sends what should have no effect.
func forge(t *testing.T, conn *dbus.Conn, to string, session dbus.ObjectPath) {
	t.Helper()
	self := conn.Names()[0]
	for _, dest := range []string{"", to} {
		signal(t, conn, dest, busName, "/org/freedesktop/DBus", "NameOwnerChanged", login1, "", self)
		signal(t, conn, dest, manager, path, "PrepareForSleep", true)
		signal(t, conn, dest, "org.freedesktop.login1.Session", session, "Lock")
	}
	roundTrip(t, conn)
}

// signal sends a signal to one client, or to all.
func signal(t *testing.T, conn *dbus.Conn, dest, iface string, object dbus.ObjectPath, name string, body ...any) {
	t.Helper()
	msg := &dbus.Message{Type: dbus.TypeSignal, Flags: dbus.FlagNoReplyExpected, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(object),
		dbus.FieldInterface: dbus.MakeVariant(iface),
		dbus.FieldMember:    dbus.MakeVariant(name),
	}}
	if dest != "" {
		msg.Headers[dbus.FieldDestination] = dbus.MakeVariant(dest)
	}
	if len(body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	conn.Send(msg, nil)
}

// TestNobodyCanFillOurFiles: a client that sends descriptors with its signals leaves
// none with us.
func TestNobodyCanFillOurFiles(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, nil)
	known := bus.Clients()
	w := watch(t, bus.Getenv, nil)
	desktoptest.Until(t, "the inhibitor is taken", l.held)
	sender := bus.Dial()
	if !sender.SupportsUnixFDs() {
		t.Fatal("the bus takes no descriptors")
	}
	name := filepath.Join(t.TempDir(), "sent")
	sent, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer sent.Close()
	known = append(known, sender.Names()[0])
	for _, client := range bus.Clients() {
		if !slices.Contains(known, client) {
			signal(t, sender, client, manager, path, "PrepareForSleep", dbus.UnixFD(sent.Fd()))
		}
	}
	roundTrip(t, sender)
	l.sleep(true)
	w.locks(goesToSleep)
	if n := openFiles(t, name); n != 1 {
		t.Errorf("it is open %d times, want once", n)
	}
}

// TestBusRestart: what happens afterwards is seen.
func TestBusRestart(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, nil)
	w := watch(t, bus.Getenv, nil)
	for range 2 {
		desktoptest.Until(t, "the inhibitor is taken", l.held)
		bus.Stop()
		desktoptest.Until(t, "the inhibitor is released", func() bool { return !l.held() })
		bus.Start()
		l = startLogin1(t, bus, nil)
	}
	desktoptest.Until(t, "the inhibitor is taken", l.held)
	l.sleep(true)
	w.locks(goesToSleep)
}

// TestLastWordOfABus: what logind has said counts, also if the bus ends before there
// was time for it.
func TestLastWordOfABus(t *testing.T) {
	bus := systemBus(t)
	busy, free := make(chan struct{}), make(chan struct{})
	w := watch(t, bus.Getenv, func() { busy <- struct{}{}; <-free })
	for range 5 {
		l := startLogin1(t, bus, nil)
		desktoptest.Until(t, "the inhibitor is taken", l.held)
		l.lockSession(l.session("_31", userOf(os.Geteuid())))
		<-busy
		l.sleep(true)
		roundTrip(t, l.conn) // the bus has written to us what it has taken
		bus.Stop()
		desktoptest.Until(t, "the end is noticed", func() bool { return !l.conn.Connected() })
		free <- struct{}{}
		w.locks(wasLocked)
		<-busy
		free <- struct{}{}
		w.locks(goesToSleep)
		bus.Start()
	}
}

// TestSleepHasBegun: who comes when the machine is about to sleep locks at once.
func TestSleepHasBegun(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, func(l *login1Fake) { l.preparing = true })
	w := watch(t, bus.Getenv, nil)
	w.locks(goesToSleep)
	desktoptest.Until(t, "the inhibitor is released", func() bool { return !l.held() })
}

// TestLogindComesLater: it is waited for, and not started.
func TestLogindComesLater(t *testing.T) {
	bus := systemBus(t)
	bus.Provide(login1, "exec sleep 60")
	w := watch(t, bus.Getenv, nil)
	desktoptest.Until(t, "it listens", func() bool { return len(bus.Matches()) == 3 })
	for range 2 {
		l := startLogin1(t, bus, nil)
		desktoptest.Until(t, "the inhibitor is taken", l.held)
		l.sleep(true)
		w.locks(goesToSleep)
		l.conn.Close()
		desktoptest.Until(t, "it is gone", func() bool { return !bus.Owns(login1) })
	}
	if pids := bus.Activated(); len(pids) > 0 {
		t.Errorf("the bus has started %v", pids)
	}
}

// TestInhibitorIsRefused: then there is no time for it, but it is locked.
func TestInhibitorIsRefused(t *testing.T) {
	bus := systemBus(t)
	l := startLogin1(t, bus, func(l *login1Fake) {
		l.refuses = dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"})
	})
	w := watch(t, bus.Getenv, nil)
	desktoptest.Until(t, "it is asked for", func() bool { return l.asked() != "" })
	l.sleep(true)
	w.locks(goesToSleep)
	l.sleep(false)
	desktoptest.Until(t, "it is asked for again", func() bool { return l.asked() == "sleep delay, sleep delay" })
}

// TestLogindThatHangs: its answers are not waited for long.
func TestLogindThatHangs(t *testing.T) {
	bus := systemBus(t)
	hangs := make(chan struct{})
	defer close(hangs)
	l := startLogin1(t, bus, func(l *login1Fake) { l.hangs = hangs })
	w := watchWith(t, bus.Getenv, 100*time.Millisecond, nil)
	desktoptest.Until(t, "it listens", func() bool { return len(bus.Matches()) == 3 })
	own := l.session("_31", userOf(os.Geteuid()))
	l.lockSession(own)
	w.locks(whose)
	l.sleep(true)
	w.locks(goesToSleep)
}

// TestNoBus: an error at once says so, and no program is started.
func TestNoBus(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{
		"unix:path=/nonexistent/bus",
		"unix:path=" + file + "/bus",
		"unix:path=/nonexistent/bus;unix:path=/nonexistent/too",
		"autolaunch:",
		"unixexec:path=/usr/bin/touch,argv1=" + started,
		"tcp:host=localhost,port=1",
		"nonsense",
	} {
		err := Watch(t.Context(), func(name string) string {
			return map[string]string{"DBUS_SYSTEM_BUS_ADDRESS": list}[name]
		}, func(why string) { t.Errorf("%s: locked: %s", list, why) })
		if !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %v", list, err)
		}
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("a program was started")
	}
}

// TestAddressOfTheSystem: without a variable it is the one of the system.
func TestAddressOfTheSystem(t *testing.T) {
	got, err := address(func(string) string { return "" })
	if want := "unix:path=/run/dbus/system_bus_socket"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, name := range []string{"/a b,c", "@x/y;z"} {
		if list, err := address(func(string) string { return busAddress(name) }); err != nil || list != busAddress(name) {
			t.Errorf("%s: %q, %v", name, list, err)
		}
	}
}

// TestDeadSocket: a bus that was there may come back.
func TestDeadSocket(t *testing.T) {
	bus := systemBus(t)
	bus.Stop()
	w := watch(t, bus.Getenv, nil)
	bus.Start()
	l := startLogin1(t, bus, nil)
	desktoptest.Until(t, "the inhibitor is taken", l.held)
	l.sleep(true)
	w.locks(goesToSleep)
}

// TestSilentBus: one that accepts and says nothing is given up, and tried again.
func TestSilentBus(t *testing.T) {
	dir := testenv.ShortDir(t)
	silent, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	watchWith(t, func(name string) string {
		return map[string]string{"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=" + filepath.Join(dir, "bus")}[name]
	}, 100*time.Millisecond, nil)
	for n := range 3 {
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, strings.Repeat("REJECTED EXTERNAL\r\n", n)) // falls silent a step later each time
	}
}
