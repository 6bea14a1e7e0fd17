package keychain

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// hangs is the limit of tests in which nothing answers: it is reached anyway.
const hangs = 300 * time.Millisecond

const secretsName = "org.freedesktop.secrets"

func TestLimitsAreThoseOfTheContract(t *testing.T) {
	got := newSecretService(Options{}).limits
	if got.probe != 2*time.Second || got.silent != 3*time.Second || got.answer != 2*time.Minute || got.settle != 6*time.Second || got.saved != 5*time.Second || got.shown > time.Second {
		t.Errorf("%+v", got)
	}
}

func TestWithoutABusItIsAbsentAndNothingIsStarted(t *testing.T) {
	bus := desktoptest.StartBus(t)
	bus.Setenv("XDG_RUNTIME_DIR", bus.Dir) // has no socket named bus
	ran := fakeLaunch(t)
	program := filepath.Join(bus.Dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"", "disabled:", "autolaunch:", "autolaunch:scope=*user", "unixexec:path=" + program, "autolaunch:;unixexec:path=" + program,
		"tcp:host=127.0.0.1,port=1", "nonce-tcp:host=127.0.0.1,port=1,noncefile=/x", "launchd:env=X", "systemd:",
		"unix:", "unix:tmpdir=/tmp", "unix:runtime=yes", "unix:path=relative", "unix:path=/a,abstract=b", "unix:path=%zz",
		"rubbish", ";", "unix:path=" + bus.Dir + "/missing", "unix:path=/dev/null/bus",
	} {
		t.Run(address, func(t *testing.T) {
			bus.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
			k := newKit(t, bus)
			k.wantTidy(func() { k.wantAll(Absent, "no D-Bus bus") })
		})
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program was started")
	}
}

func TestFirstAddressThatAnswersIsUsed(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{})
	ran := fakeLaunch(t)
	k.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "autolaunch:;unix:path="+k.bus.Dir+"/missing;"+k.bus.Address+",guid=0123")
	k.wantState(Ready, "")
	if _, err := os.Stat(ran); err == nil {
		t.Error("dbus-launch was started")
	}
}

func TestSocketOfTheRuntimeDirectoryIsUsed(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{})
	k.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	k.wantState(Ready, "")
}

func TestStaleSocketIsAbsent(t *testing.T) {
	bus := desktoptest.StartBus(t)
	path := filepath.Join(bus.Dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+path)
	newKit(t, bus).wantAll(Absent, "no D-Bus bus")
}

func TestDeadSocketIsUnreachable(t *testing.T) {
	bus := desktoptest.StartBus(t)
	path := filepath.Join(bus.Dir, "dead")
	listen(t, path)
	bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+path)
	k := newKit(t, bus)
	k.limit(hangs)
	goroutines, files := k.counts()
	k.wantAll(Unreachable, "does not answer")
	k.wantClosed(goroutines, files+4) // the listener's ends
}

func TestBusThatIsNoBusIsUnreachable(t *testing.T) {
	for name, says := range map[string]string{"hangs up": "", "refuses": "REJECTED\r\n", "is something else": "HTTP/1.1 400 Bad Request\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			bus := desktoptest.StartBus(t)
			path := filepath.Join(bus.Dir, "odd")
			accepted := listen(t, path)
			go func() {
				for range 4 {
					conn := <-accepted
					conn.Write([]byte(says))
					conn.Close()
				}
			}()
			bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+path)
			newKit(t, bus).wantAll(Unreachable, "cannot be reached")
		})
	}
}

func TestStoppedBusIsUnreachable(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{})
	k.wantState(Ready, "")
	k.limit(hangs)
	k.bus.Freeze()
	k.wantAll(Unreachable, "does not answer")
}

func TestWithoutAServiceItIsAbsent(t *testing.T) {
	k := newKit(t, desktoptest.StartBus(t))
	k.wantTidy(func() { k.wantAll(Absent, "no program") })
}

func TestServiceThatCannotStartIsUnreachable(t *testing.T) {
	bus := desktoptest.StartBus(t)
	bus.Provide(secretsName, "exit 1")
	k := newKit(t, bus)
	k.wantTidy(func() { k.wantAll(Unreachable, "could not be started") })
	if n := len(bus.Activated()); n != 4 {
		t.Errorf("started %d times by 4 calls", n)
	}
	_, err := k.backend.Probe(k.ctx)
	var problem *Problem
	if !errors.As(err, &problem) || !strings.Contains(problem.Advice, "--key passphrase") {
		t.Errorf("no advice: %v", err)
	}
}

func TestServiceThatNeverStartsIsUnreachable(t *testing.T) {
	bus := desktoptest.StartBus(t)
	bus.Provide(secretsName, "exec sleep 1000")
	k := newKit(t, bus)
	k.limit(hangs)
	k.wantTidy(func() { k.wantAll(Unreachable, "does not answer") })
}

func TestServiceIsStartedWhenItIsNeeded(t *testing.T) {
	bus := desktoptest.StartBus(t)
	daemon := testenv.Need(t, "gnome-keyring-daemon")
	password := filepath.Join(bus.Dir, "password")
	if err := os.WriteFile(password, []byte("testpw"), 0o600); err != nil {
		t.Fatal(err)
	}
	bus.Provide(secretsName, "exec "+daemon+" --foreground --unlock --components=secrets <"+password+" 2>/dev/null")
	k := newKit(t, bus)
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	k.wantValue(testValue)
	k.wantState(Ready, "")
}

func TestServiceThatHangsIsUnreachable(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Add(testAccount, testValue)
	k.limit(hangs)
	for method, call := range map[string]func() error{
		"ReadAlias":   k.probe,
		"Get":         k.probe,
		"SearchItems": k.getError,
		"OpenSession": k.getError,
		"GetSecret":   k.getError,
		"CreateItem":  k.create,
		"Delete":      k.delete,
	} {
		service.Change(func(o *secretservicetest.Options) { o.Hang = method })
		k.wantProblem(method, call(), Unreachable, "does not answer")
		k.backend.Close()
	}
}

func TestAnswersOfWrongTypesAreErrors(t *testing.T) {
	wrong := [][]any{{}, {"text"}, {uint32(7), uint32(7)}, {[]string{"a"}, []string{"b"}}, {[]byte{1}, []byte{2}}}
	for method, call := range map[string]func(*kit) error{
		"ReadAlias":   (*kit).probe,
		"Get":         (*kit).probe,
		"SearchItems": (*kit).getError,
		"OpenSession": (*kit).getError,
		"CreateItem":  (*kit).create,
		"Delete":      (*kit).delete,
	} {
		k, service := scripted(t, secretservicetest.Options{})
		service.Add(testAccount, testValue)
		for _, reply := range wrong {
			service.Change(func(o *secretservicetest.Options) { o.Reply = map[string][]any{method: reply} })
			k.wantProblem(method, call(k), Unreachable, "not of its protocol")
		}
	}
}

func TestErrorRepliesAreUnreachable(t *testing.T) {
	for _, method := range []string{"ReadAlias", "OpenSession", "CreateItem"} {
		k, service := scripted(t, secretservicetest.Options{Error: map[string]string{method: "org.example.Odd"}})
		k.wantProblem(method, k.create(), Unreachable, "org.example.Odd")
		if len(service.Items()) > 0 {
			t.Errorf("%s: an item was made", method)
		}
	}
}

func TestWithoutACollectionItIsAbsent(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Default: "/"})
	k.wantAll(Absent, "no default keyring")
	service.Change(func(o *secretservicetest.Options) { o.Default = secretservicetest.Volatile })
	k.wantAll(Absent, "lost at logout")
	if len(service.Items()) > 0 {
		t.Error("an item was made")
	}
}

func TestServiceWithoutEncryptionIsUnsupported(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{PlainOnly: true})
	service.Add(testAccount, testValue)
	k.wantProblem("Get", k.getError(), Unsupported, "in clear")
	k.wantProblem("Create", k.create(), Unsupported, "in clear")
	if service.Calls("GetSecret")+service.Calls("CreateItem") > 0 {
		t.Error("a secret was asked for or sent")
	}
}

func TestContextEndsEveryMethod(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Hang: "ReadAlias"})
	for name, call := range map[string]func() error{"Probe": k.probe, "Get": k.getError, "Create": k.create, "Delete": k.delete} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user has gone away")
		service.Change(func(o *secretservicetest.Options) {
			o.Before = func(method string) {
				if method == "ReadAlias" {
					cancel(why)
				}
			}
		})
		k.ctx = ctx
		err := call()
		k.wantError(name, err, context.Canceled)
		k.wantError(name, err, why)
	}
}

func TestOpenAndImportDoNotConnect(t *testing.T) {
	bus := desktoptest.StartBus(t)
	path := filepath.Join(bus.Dir, "counting")
	accepted := listen(t, path)
	ran := fakeLaunch(t)
	for _, address := range []string{"unix:path=" + path, "", "autolaunch:"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOpeningProcess$")
		cmd.Env = append(os.Environ(), "DBUS_SESSION_BUS_ADDRESS="+address, "XDG_RUNTIME_DIR="+bus.Dir, "OPENING=yes", "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if len(accepted) > 0 {
		t.Error("it has connected")
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("dbus-launch was started")
	}
}

// TestOpeningProcess is what the test above runs, in a process of its own.
func TestOpeningProcess(t *testing.T) {
	if os.Getenv("OPENING") == "" {
		return
	}
	b := Open(nil)
	if b.Traits().Name != "Secret Service" || b.Traits().Unlock == "" {
		t.Errorf("%+v", b.Traits())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
