package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
)

// TestKeychainTroubles is every state a desktop can be in when the key of an
// existing store is needed: the right exit code and hint within the limit, for
// reading and writing; no new key over the store; nothing is asked that nobody
// can answer; no connection and no process is left; dbus-launch never runs.
func TestKeychainTroubles(t *testing.T) {
	const (
		tryLater  = "hint: .*(desktop session|log out)"
		unlockIt  = "hint: .*unlock"
		keyIsLost = "hint: .*keychain's own file"
	)
	for name, c := range map[string]struct {
		trouble func(s *session, service *secretservicetest.Service)
		code    int
		words   []string
	}{
		"no bus": {func(s *session, _ *secretservicetest.Service) {
			s.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
			s.bus.Setenv("XDG_RUNTIME_DIR", s.t.TempDir())
		}, 6, []string{"bus", tryLater}},
		"disabled": {func(s *session, _ *secretservicetest.Service) {
			s.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:")
		}, 6, []string{"disabled", tryLater}},
		"autolaunch": {func(s *session, _ *secretservicetest.Service) {
			s.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "autolaunch:")
		}, 6, []string{"autolaunch", tryLater}},
		"stale socket": {func(s *session, _ *secretservicetest.Service) { s.bus.Stop() }, 6, []string{tryLater}},
		"dead socket": {func(s *session, _ *secretservicetest.Service) {
			s.bus.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+deadSocket(s.t, s.bus.Dir))
		}, 6, []string{"answer", tryLater}},
		"bus stopped": {func(s *session, _ *secretservicetest.Service) { s.bus.Freeze() }, 6, []string{"answer", tryLater}},
		"no service":  {func(_ *session, service *secretservicetest.Service) { service.Stop() }, 6, []string{tryLater}},
		"service hangs": {func(_ *session, service *secretservicetest.Service) {
			service.Change(func(o *secretservicetest.Options) { o.Hang = "SearchItems" })
		}, 6, []string{"answer", tryLater}},
		"activation exits 1": {func(s *session, service *secretservicetest.Service) {
			service.Stop()
			s.bus.Provide("org.freedesktop.secrets", "exit 1")
		}, 6, []string{"start", "hint: "}},
		"activation never ends": {func(s *session, service *secretservicetest.Service) {
			service.Stop()
			s.bus.Provide("org.freedesktop.secrets", "exec sleep 1000")
		}, 6, []string{"hint: "}},
		"locked without a display": {func(_ *session, service *secretservicetest.Service) {
			service.Change(func(o *secretservicetest.Options) { o.Locked = true })
		}, 5, []string{"locked", unlockIt}},
		"locked, nobody to ask": {func(s *session, service *secretservicetest.Service) {
			s.bus.Setenv("DISPLAY", ":0")
			s.bus.Setenv("GLOBUS_KEYS_NO_PROMPT", "1")
			service.Change(func(o *secretservicetest.Options) { o.Locked = true })
		}, 5, []string{"locked", unlockIt}},
		"prompt dismissed": {func(s *session, service *secretservicetest.Service) {
			s.bus.Setenv("DISPLAY", ":0")
			service.Change(func(o *secretservicetest.Options) {
				o.Locked, o.Prompts = true, secretservicetest.Dismissed
			})
		}, 2, []string{"declined", "hint: .*dialog"}},
		"service vanishes at the prompt": {func(s *session, service *secretservicetest.Service) {
			s.bus.Setenv("DISPLAY", ":0")
			service.Change(func(o *secretservicetest.Options) {
				o.Locked, o.Prompts = true, secretservicetest.Vanish
			})
		}, 6, []string{"hint: "}},
		"plain sessions only": {func(_ *session, service *secretservicetest.Service) {
			service.Change(func(o *secretservicetest.Options) { o.PlainOnly = true })
		}, 6, []string{"encrypt", "hint: "}},
		"item gone": {func(s *session, service *secretservicetest.Service) {
			service.Change(func(o *secretservicetest.Options) {
				o.Reply = map[string][]any{"SearchItems": {[]dbus.ObjectPath{}, []dbus.ObjectPath{}}}
			})
		}, 7, []string{"gone", keyIsLost}},
		"item twice": {func(s *session, service *secretservicetest.Service) {
			service.Add(s.item(), "gk1.key.another")
		}, 7, []string{"item"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a bus of its own, and most of the time waits for what does not answer
			s := newSession(t, desktoptest.StartBus(t))
			service := secretservicetest.New(t, s.bus, secretservicetest.Options{})
			launched := s.fakeLaunch()
			s.must("import", s.plain())
			before := s.read(s.storeFile())
			clients := len(s.bus.Clients())
			c.trouble(s, service)
			s.refuses(c.code, c.words, "token", "transfer")
			s.refuses(c.code, nil, "import", s.other())
			s.refuses(c.code, nil, "rekey")
			if s.read(s.storeFile()) != before {
				t.Error("the store has changed")
			}
			if _, err := os.Stat(launched); err == nil {
				t.Error("dbus-launch was run")
			}
			if s.reachable() {
				desktoptest.Until(t, "no connection is left", func() bool { return len(s.bus.Clients()) <= clients })
			}
		})
	}
}

// other is a login that is not in the store yet.
func (s *session) other() string {
	path := filepath.Join(s.bus.Dir, "other.json")
	os.WriteFile(path, []byte(strings.ReplaceAll(plainLogin, "transfer.api", "groups.api")), 0o600)
	return path
}

// fakeLaunch puts a dbus-launch first on PATH, and returns the file that it
// makes when it runs.
func (s *session) fakeLaunch() string {
	dir := s.t.TempDir()
	ran := filepath.Join(dir, "ran")
	os.WriteFile(filepath.Join(dir, "dbus-launch"), []byte("#!/bin/sh\n: >"+ran+"\n"), 0o700)
	s.bus.Setenv("PATH", dir+":"+s.bus.Getenv("PATH"))
	return ran
}

// reachable reports whether the bus still answers, so that it can be asked who
// is connected.
func (s *session) reachable() bool {
	return s.bus.Getenv("DBUS_SESSION_BUS_ADDRESS") == s.bus.Address && !strings.Contains(s.t.Name(), "stopped") && !strings.Contains(s.t.Name(), "stale")
}

// deadSocket listens, and never answers.
func deadSocket(t *testing.T, dir string) string {
	path := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}

// TestDamagedKeyItems: the value is empty, cut, or another's.
func TestDamagedKeyItems(t *testing.T) {
	for name, value := range map[string]string{"empty": "", "cut": "gk1.key.0123", "something else": "hunter2"} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, desktoptest.StartBus(t))
			service := secretservicetest.New(t, s.bus, secretservicetest.Options{})
			s.must("import", s.plain())
			before := s.read(s.storeFile())
			service.Stop()
			desktoptest.Until(t, "the service is gone", func() bool { return !s.bus.Owns("org.freedesktop.secrets") })
			secretservicetest.New(t, s.bus, secretservicetest.Options{}).Add(s.item(), value)
			s.refuses(7, []string{"item v1/", "hint: .*keychain's own file"}, "token", "transfer")
			s.refuses(7, nil, "import", s.other())
			if o := s.run("status"); o.code != 7 || !strings.Contains(o.out, "transfer.api.globus.org") {
				t.Errorf("status ends with %d and does not list the logins:\n%s%s", o.code, o.out, o.errors)
			}
			if s.read(s.storeFile()) != before {
				t.Error("the store has changed")
			}
		})
	}
}

// TestNewStoreByDesktop: where the key of a new store goes.
func TestNewStoreByDesktop(t *testing.T) {
	for name, c := range map[string]struct {
		opts    secretservicetest.Options
		trouble func(s *session, service *secretservicetest.Service)
		code    int
		words   []string
		made    bool
	}{
		"ready":              {made: true},
		"locked, answered":   {opts: secretservicetest.Options{Locked: true}, trouble: func(s *session, _ *secretservicetest.Service) { s.bus.Setenv("DISPLAY", ":0") }, made: true},
		"locked, no display": {opts: secretservicetest.Options{Locked: true}, code: 5, words: []string{"locked", "hint: .*unlock"}},
		"no collection":      {opts: secretservicetest.Options{Default: secretservicetest.Nothing}, code: 5, words: []string{"there is no keychain here", "passphrase"}},
		"collection of the session": {opts: secretservicetest.Options{Default: secretservicetest.Volatile}, code: 5,
			words: []string{"there is no keychain here", "passphrase"}},
		"no service":          {trouble: func(_ *session, service *secretservicetest.Service) { service.Stop() }, code: 5, words: []string{"there is no keychain here", "passphrase"}},
		"plain sessions only": {opts: secretservicetest.Options{PlainOnly: true}, code: 6, words: []string{"encrypt", "hint: --key passphrase"}},
		"service hangs":       {opts: secretservicetest.Options{Hang: "ReadAlias"}, code: 6, words: []string{"answer", "hint: .*--key passphrase"}},
		"activation exits 1": {trouble: func(s *session, service *secretservicetest.Service) {
			service.Stop()
			s.bus.Provide("org.freedesktop.secrets", "exit 1")
		}, code: 6, words: []string{"start", "hint: .*--key passphrase"}},
		"create is declined": {opts: secretservicetest.Options{AskBeforeCreate: true, Prompts: secretservicetest.Dismissed},
			trouble: func(s *session, _ *secretservicetest.Service) { s.bus.Setenv("DISPLAY", ":0") }, code: 2, words: []string{"declined"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, desktoptest.StartBus(t))
			service := secretservicetest.New(t, s.bus, c.opts)
			if c.trouble != nil {
				c.trouble(s, service)
			}
			s.refuses(c.code, c.words, "import", s.plain())
			_, err := os.Stat(s.storeFile())
			if c.made != (err == nil) {
				t.Errorf("the store file: %v, want made %t", err, c.made)
			}
		})
	}
}

// TestUnansweredPrompt: the user is told at once what to answer; ^C ends the
// command, and the dialog with it.
func TestUnansweredPrompt(t *testing.T) {
	s := newSession(t, desktoptest.StartBus(t))
	service := secretservicetest.New(t, s.bus, secretservicetest.Options{})
	s.must("import", s.plain())
	s.bus.Setenv("DISPLAY", ":0")
	shown := make(chan struct{}, 1)
	service.Change(func(o *secretservicetest.Options) {
		o.Locked, o.Prompts = true, secretservicetest.Ignored
		o.Shown = func() { shown <- struct{}{} }
	})
	cmd := s.command(t.Context(), "token", "transfer")
	errs, err := os.Create(filepath.Join(s.bus.Dir, "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-shown
	desktoptest.Until(t, "the user is told of the dialog", func() bool { return strings.Contains(s.read(errs.Name()), "asks in a window") })
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2\n%s", code, s.read(errs.Name()))
	}
	if n := service.Calls("Dismiss"); n != 1 {
		t.Errorf("the dialog was dismissed %d times, want 1", n)
	}
}

// TestKilledAtEveryBusCall of the command that makes the store, and of the one
// that gives it another key: afterwards the store has a key that exists, and
// what was there is there.
func TestKilledAtEveryBusCall(t *testing.T) {
	s := newSession(t, desktoptest.StartBus(t))
	service := secretservicetest.New(t, s.bus, secretservicetest.Options{})
	for _, args := range [][]string{{"import", s.plain()}, {"rekey"}} {
		killed := 0
		for n, done := 1, false; !done; n++ {
			os.RemoveAll(filepath.Dir(s.storeFile()))
			if args[0] == "rekey" {
				s.must("import", s.plain())
			}
			done = s.killedAt(service, n, args)
			if !done {
				killed++
			}
			if args[0] == "import" && !done {
				s.must("status")
				s.must("import", s.plain())
			}
			if got := s.must("token", "transfer"); got != "FakeAccessDesktop\n" {
				t.Errorf("%v killed at bus call %d: token %q", args, n, got)
			}
			s.must("verify")
		}
		t.Logf("%v: killed at %d bus calls", args, killed)
		if killed < 5 {
			t.Errorf("%v was killed %d times only", args, killed)
		}
	}
}

// killedAt runs the command and kills it at its n-th call of the service. It
// reports whether the command came to its end before that.
func (s *session) killedAt(service *secretservicetest.Service, n int, args []string) (done bool) {
	s.t.Helper()
	cmd := s.command(s.t.Context(), args...)
	started := make(chan struct{})
	var calls atomic.Int32
	service.Change(func(o *secretservicetest.Options) {
		o.Before = func(string) {
			<-started
			if calls.Add(1) == int32(n) {
				cmd.Process.Kill()
			}
		}
	})
	defer service.Change(func(o *secretservicetest.Options) { o.Before = nil })
	err := cmd.Start()
	close(started)
	if err != nil {
		s.t.Fatal(err)
	}
	return cmd.Wait() == nil
}
