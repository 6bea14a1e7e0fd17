//go:build unix

package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// strangeAgent listens where an agent does, and does with its n-th client what serve
// says.
func strangeAgent(t *testing.T, serve func(c net.Conn, n int)) *Client {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "globus-keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "globus-keys", SocketName))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c, n)
			c.Close()
		}
	})
	c := Open(func(name string) string {
		if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
			return dir
		}
		return ""
	})
	t.Cleanup(func() {
		c.Close()
		l.Close()
		served.Wait()
	})
	return c
}

// TestClientThatHadToGoComesAgain: an agent with more clients than it serves has
// hung up before it was heard.
func TestClientThatHadToGoComesAgain(t *testing.T) {
	c := strangeAgent(t, func(c net.Conn, n int) {
		newLines(c, 0, 0).next()
		if n == 3 {
			io.WriteString(c, "{\"v\":1,\"pid\":7}\n")
		}
	})
	if st, err := c.Status(context.Background()); err != nil || st.PID != 7 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestAgentThatAlwaysHangsUp(t *testing.T) {
	c := strangeAgent(t, func(c net.Conn, n int) {})
	if _, err := c.Status(context.Background()); !errors.Is(err, keystore.ErrLocked) || errors.Is(err, ErrNoAgent) {
		t.Errorf("%v, want ErrLocked", err)
	}
}

// TestBadAnswers are ErrUnavailable, and the connection is not used again.
func TestBadAnswers(t *testing.T) {
	for _, text := range []string{"\n", "x\n", "{}\n", "{\"v\":2}\n", "{\"v\":1,\"Keys\":[]}\n", "{\"v\":1,\"pid\":\"x\"}\n", "{\"v\":1,\"error\":\"new\",\"detail\":\"x\"}\n"} {
		c := strangeAgent(t, func(c net.Conn, n int) {
			newLines(c, 0, 0).next()
			io.WriteString(c, text)
		})
		if _, err := c.Status(context.Background()); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%q: %v, want ErrUnavailable", text, err)
		}
	}
	c := strangeAgent(t, func(c net.Conn, n int) {
		newLines(c, 0, 0).next()
		io.WriteString(c, strings.Repeat("x", maxLine+1))
	})
	if _, err := c.Status(context.Background()); !errors.Is(err, keystore.ErrUnavailable) || c.conn != nil {
		t.Errorf("a line that is too long: %v", err)
	}
}

// TestAnswersThatAreNotAsked for.
func TestAnswersThatAreNotAsked(t *testing.T) {
	c := strangeAgent(t, func(c net.Conn, n int) {
		newLines(c, 0, 0).next()
		io.WriteString(c, "{\"v\":1,\"seals\":[{\"salt\":\"x\",\"key\":\"y\"}],\"key\":\"AAAA\"}\n")
	})
	h := holder{Client: c}
	if _, err := h.WrapKey(context.Background(), keystore.MetaKey, [16]byte{}); err == nil {
		t.Error("a short key was taken")
	}
	for _, n := range []int{1, 2} {
		if _, err := h.Fresh(context.Background(), keystore.MetaKey, n); err == nil {
			t.Errorf("a strange answer was taken for %d seals", n)
		}
	}
}

// cancelled is a connection whose caller gives up when its request has been written.
type cancelled struct {
	net.Conn
	t      *testing.T
	cancel context.CancelFunc
	given  chan struct{} // closed when the deadline was set that ends all waiting
	until  time.Time     // the deadline as it is; set before given is closed, or by the caller
}

func (c *cancelled) Write(b []byte) (int, error) {
	c.cancel()
	<-c.given
	return len(b), nil
}

func (c *cancelled) SetDeadline(d time.Time) error {
	c.until = d
	close(c.given)
	return nil
}

func (c *cancelled) SetReadDeadline(d time.Time) error {
	c.until = d
	return nil
}

func (c *cancelled) Read([]byte) (int, error) {
	if c.until.After(time.Now()) {
		c.t.Errorf("its caller has gone, and it waits until %v", c.until)
	}
	return 0, os.ErrDeadlineExceeded
}

func (c *cancelled) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func (c *cancelled) Close() error { return nil }

// TestCallerThatGoesBetweenWritingAndReading is not forgotten.
func TestCallerThatGoesBetweenWritingAndReading(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := Open(func(string) string { return "" })
	c.conn = &cancelled{t: t, cancel: cancel, given: make(chan struct{})}
	c.in = newLines(c.conn, 0, 0)
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// TestStopReturnsWhenTheKeysAreErased.
func TestStopReturnsWhenTheKeysAreErased(t *testing.T) {
	dir := t.TempDir()
	env := func(name string) string {
		if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
			return dir
		}
		return ""
	}
	l, release, err := Listen(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	done := make(chan error, 1)
	go func() { done <- b.Serve(context.Background(), l) }()
	b.unlock(`"ttl_seconds":60`)
	c := Open(env)
	defer c.Close()
	if err := c.Stop(context.Background()); err != nil || !b.erased() {
		t.Errorf("%v, erased: %v", err, b.erased())
	}
	if err := errors.Join(<-done, release()); err != nil {
		t.Error(err)
	}
	if err := b.keys.add(keyName{}, benchSecret, heldKey{}, time.Minute); !errors.Is(err, errEnding) {
		t.Errorf("it takes a key afterwards: %v", err)
	}
}

// TestAgentsInTwoPlaces, as after a job that had no runtime directory: nobody finds the
// second one, and what it has is locked with the rest.
func TestAgentsInTwoPlaces(t *testing.T) {
	for what, lock := range map[string]func(*Client) (int, error){
		"one":  func(c *Client) (int, error) { return c.Lock(context.Background(), keystore.StoreID{1}) },
		"all":  func(c *Client) (int, error) { return c.Lock(context.Background(), keystore.StoreID{}) },
		"stop": func(c *Client) (int, error) { return 1, c.Stop(context.Background()) },
	} {
		t.Run(what, func(t *testing.T) {
			dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()} // an agent, none, and another
			benches := map[string]*bench{dirs[0]: newBench(t), dirs[2]: newBench(t)}
			for dir, b := range benches {
				l, err := bind(filepath.Join(dir, SocketName))
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- b.Serve(t.Context(), l) }()
				t.Cleanup(func() {
					if err := <-done; err != nil {
						t.Error(err)
					}
				})
			}
			benches[dirs[2]].unlock(`"ttl_seconds":60`)
			c := newClient(func() ([]string, error) { return dirs, nil })
			defer c.Close()
			if n, err := lock(c); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			if !benches[dirs[2]].locked() {
				t.Error("the second agent still has the key")
			}
		})
	}
}
