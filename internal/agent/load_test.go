//go:build unix

package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
)

// TestManyClients: 64 of them, 10,000 requests in total, alone and beside 300 that
// are slow, silent or worse, which are more than an agent serves. Each right client
// gets each of its keys.
func TestManyClients(t *testing.T) {
	for _, hostile := range []int{0, 300} {
		t.Run(fmt.Sprint(hostile, " hostile"), func(t *testing.T) {
			env := home(t)
			c := startAt(t, env, nil)
			key := fakeKey(1)
			if err := c.Unlock(context.Background(), key, "", hour); err != nil {
				t.Fatal(err)
			}
			end := beset(t, c, hostile)
			var failed atomic.Int32
			var clients sync.WaitGroup
			const each, rest = 10_000 / 64, 10_000 % 64
			for i := range 64 {
				n := each
				if i < rest {
					n++
				}
				clients.Go(func() { failed.Add(askMany(t, env, key, i, n)) })
			}
			clients.Wait()
			if n := failed.Load(); n > 0 {
				t.Errorf("%d of 10,000 requests failed", n)
			}
			if n := end(); hostile > 0 && n < hostile {
				t.Errorf("the hostile clients have connected %d times, want %d at least", n, hostile)
			}
		})
	}
}

func askMany(t *testing.T, env func(string) string, key seal.Key, client, n int) (failed int32) {
	c := agent.Open(env)
	defer c.Close()
	secret := []byte(key.Secret.Reveal())
	record := testRecord
	record.Name = fmt.Sprint("server", client)
	for i := range n {
		salt := seal.Salt{byte(client), byte(i), byte(i >> 8)}
		got, err := c.Holder(key.Public).WrapKey(context.Background(), record, salt)
		if err != nil || !got.Equal(seal.WrapKey(secret, key.Store, record, salt)) {
			t.Logf("client %d, request %d: %v", client, i, err)
			failed++
		}
	}
	return failed
}

// hostileClients are what comes to an agent besides requests. Each ends when it is
// hung up on; none reads but where it says so.
var hostileClients = []func(c net.Conn) error{
	silent,
	func(c net.Conn) error { return say(c, `{"v":1,`, silent) }, // half a line
	drip,
	func(c net.Conn) error { return say(c, strings.Repeat("x", 16<<10+1), silent) },   // one byte too much
	func(c net.Conn) error { return flood(c, 100<<20) },                               // 100 MB without an end
	func(c net.Conn) error { return say(c, "\x00\xff{}}\n", silent) },                 // no request
	func(c net.Conn) error { return say(c, "{\"v\":1,\"op\":\"status\"}\n", silent) }, // does not read the answer
	func(c net.Conn) error { return say(c, "", halfClosed) },
	func(c net.Conn) error { return say(c, "{\"v\":1,\"op\":\"status\"}", halfClosed) },
	neverReads,
}

func silent(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

func say(c net.Conn, text string, then func(net.Conn) error) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return then(c)
}

func halfClosed(c net.Conn) error {
	c.(*net.UnixConn).CloseWrite()
	return silent(c)
}

func drip(c net.Conn) error {
	for {
		if _, err := c.Write([]byte(" ")); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// pause leaves the processor to others.
const pause = 20 * time.Millisecond

func flood(c net.Conn, size int) error {
	for range size >> 16 {
		if _, err := c.Write(make([]byte, 1<<16)); err != nil {
			return err
		}
	}
	return silent(c)
}

// neverReads sends requests until it is stuck, because nobody reads its answers.
func neverReads(c net.Conn) error {
	requests := []byte(strings.Repeat("{\"v\":1,\"op\":\"status\"}\n", 1000))
	for {
		if _, err := c.Write(requests); err != nil {
			return err
		}
	}
}

// beset keeps n hostile clients connected until it is told to end, and says how
// many connections that were.
func beset(t *testing.T, c *agent.Client, n int) (end func() int) {
	t.Helper()
	st, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var connected atomic.Int32
	var all, first sync.WaitGroup
	first.Add(n)
	for i := range n {
		all.Go(func() {
			once := sync.OnceFunc(first.Done)
			for ctx.Err() == nil {
				conn, err := net.Dial("unix", st.Socket)
				if err != nil {
					t.Error(err)
					once()
					return
				}
				connected.Add(1)
				once()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				hostileClients[i%len(hostileClients)](conn)
				stop()
				conn.Close()
				time.Sleep(pause)
			}
		})
	}
	first.Wait()
	return func() int {
		cancel()
		all.Wait()
		return int(connected.Load())
	}
}

// TestWhatNoClientShouldSend is answered with "invalid", and with nothing else.
func TestWhatNoClientShouldSend(t *testing.T) {
	c := start(t, nil)
	st, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"too long":          strings.Repeat("x", 16<<10+1),
		"too long, a line":  `{"v":1,"op":"status","place":"` + strings.Repeat("x", 16<<10) + "\"}\n",
		"no JSON":           "x\n",
		"an empty line":     "\n",
		"no object":         "[1]\n",
		"two in one":        "{\"v\":1,\"op\":\"status\"}{\"v\":1,\"op\":\"status\"}\n",
		"a key twice":       "{\"v\":1,\"op\":\"status\",\"op\":\"stop\"}\n",
		"another case":      "{\"v\":1,\"OP\":\"status\"}\n",
		"another version":   "{\"v\":2,\"op\":\"status\"}\n",
		"no version":        "{\"op\":\"status\"}\n",
		"broken UTF-8":      "{\"v\":1,\"op\":\"\xff\"}\n",
		"a number too many": "{\"v\":1,\"op\":\"status\",\"count\":1e99}\n",
	} {
		conn, err := net.Dial("unix", st.Socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, text)
		got, err := io.ReadAll(conn) // until it hangs up
		if !bytes.HasPrefix(got, []byte(`{"v":1,"error":"invalid","detail":"`)) || bytes.Count(got, []byte("\n")) != 1 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		conn.Close()
	}
	if filepath.Base(st.Socket) != agent.SocketName {
		t.Errorf("the socket is %q", st.Socket)
	}
}

// TestLastLineOfAHalfClosedClient is answered.
func TestLastLineOfAHalfClosedClient(t *testing.T) {
	c := start(t, nil)
	st, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", st.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "{\"v\":1,\"op\":\"keys\",\"store\":\"01020300000000000000000000000000\"}\n{\"v\":1")
	conn.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if string(got) != "{\"v\":1}\n" || err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("%q, %v", got, err)
	}
}
