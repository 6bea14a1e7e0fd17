package secretservice

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// A bus that falls silent at any point of the introduction holds nobody up.
func TestDialEndsWithItsContext(t *testing.T) {
	answers := []string{"REJECTED EXTERNAL\r\n", "DATA\r\n", "OK 0123456789abcdef\r\n"}
	for n := range len(answers) + 1 {
		path := silentBus(t, answers[:n])
		goroutines := runtime.NumGoroutine()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("long enough")
		timer := time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
		_, err := dial(ctx, "unix:path="+path)
		if !errors.Is(err, why) {
			t.Errorf("after %d answers: %v", n, err)
		}
		timer.Stop()
		desktoptest.Until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
	}
}

// Who waits for another to connect is not held up by it.
func TestWaitForAConnectionEndsWithItsContext(t *testing.T) {
	path := silentBus(t, nil)
	c := New(func(name string) string {
		return map[string]string{"DBUS_SESSION_BUS_ADDRESS": "unix:path=" + path}[name]
	})
	slow, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Do(slow, nil) }()
	desktoptest.Until(t, "it connects", func() bool { return len(c.turn) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Do(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
}

// silentBus gives these answers, to a line each, and no more.
func silentBus(t *testing.T, answers []string) (path string) {
	path = filepath.Join(testenv.ShortDir(t), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ready := make(chan struct{})
	go func() {
		close(ready)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
		lines := bufio.NewReader(conn)
		for _, answer := range answers {
			lines.ReadString('\n')
			conn.Write([]byte(answer))
		}
	}()
	<-ready
	return path
}

func TestNextAddressIsTried(t *testing.T) {
	bus := desktoptest.StartBus(t)
	c, err := dial(t.Context(), "unix:path=/nonexistent/bus;"+bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	c.bus.Close()
	_, err = dial(t.Context(), "unix:path=/nonexistent/bus;unix:path=/nonexistent/too")
	if !errors.Is(err, ErrNoBus) {
		t.Errorf("two that are missing: %v", err)
	}
}

func TestDoCallsAgainOnlyWhatIsGone(t *testing.T) {
	bus := desktoptest.StartBus(t)
	secretservicetest.New(t, bus, secretservicetest.Options{})
	c := New(bus.Getenv)
	defer c.Close()
	for _, test := range []struct {
		err  error
		want int
	}{{nil, 1}, {ErrGone, 2}, {ErrVanished, 1}, {ErrLocked, 1}, {ErrMalformed, 1}} {
		calls := 0
		err := c.Do(t.Context(), func(*Service) error {
			calls++
			return test.err
		})
		if calls != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: called %d times, %v", test.err, calls, err)
		}
	}
}

// TestBusOfAnotherUserIsRefused: who listens where a stale socket was would be
// given the key.
func TestBusOfAnotherUserIsRefused(t *testing.T) {
	testenv.NeedRoot(t)
	dir := testenv.ShortDir(t)
	os.Chmod(dir, 0o777)
	path := filepath.Join(dir, "bus")
	listener := exec.Command(testenv.Need(t, "setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups",
		testenv.Need(t, "dbus-daemon"), "--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:path="+path)
	out, err := listener.StdoutPipe()
	if err == nil {
		err = listener.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Wait()
	defer listener.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_, err = dialOne(t.Context(), "unix:path="+path)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("%v, want that it belongs to another", err)
	}
}
