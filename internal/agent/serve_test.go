package agent

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimesOfAClient: how long one is waited for that does not ask, does not end its
// line, or does not read its answer.
func TestTimesOfAClient(t *testing.T) {
	const status = "{\"v\":1,\"op\":\"status\"}\n"
	for what, c := range map[string]struct {
		does  func(c net.Conn)
		stays time.Duration
	}{
		"silent":      {func(net.Conn) {}, quietTime},
		"half a line": {func(c net.Conn) { io.WriteString(c, status[:5]) }, requestTime},
		"a byte each second": {func(c net.Conn) {
			for _, err := io.WriteString(c, " "); err == nil; _, err = io.WriteString(c, " ") {
				time.Sleep(time.Second)
			}
		}, requestTime},
		"does not read": {func(c net.Conn) { io.WriteString(c, status) }, requestTime},
		"asks now and then": {func(c net.Conn) {
			for range 3 {
				time.Sleep(quietTime - time.Second)
				io.WriteString(c, status)
				c.Read(make([]byte, maxLine))
			}
		}, 3*(quietTime-time.Second) + quietTime},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				ours, theirs := net.Pipe()
				var client sync.WaitGroup
				defer client.Wait() // the bubble ends with all that is in it
				defer theirs.Close()
				defer ours.Close()
				began := time.Now()
				client.Go(func() { c.does(theirs) })
				b.serve(ours)
				if d := time.Since(began); d != c.stays {
					t.Errorf("it was hung up on after %v, want %v", d, c.stays)
				}
			})
		})
	}
}

// TestLogOfARequest has its kind, if it is one, whatever else the request says.
func TestLogOfARequest(t *testing.T) {
	var log bytes.Buffer
	s, err := NewServer(&ServerOptions{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.keys.close()
	for line, want := range map[string]string{
		`{"v":1,"op":"derive","store":"canary","name":"canary","salt":"canary"}`: "op=derive",
		`{"v":1,"op":"unlock","key":"canary","place":"canary"}`:                  "op=unlock",
		`{"v":1,"op":"canary"}`:            "op=unknown",
		`{"v":1,"op":"lock","canary":1}`:   "op=lock",
		`{"v":1,"op":{"canary":"canary"}}`: "no request",
		`canary`:                           "no request",
	} {
		log.Reset()
		s.respond([]byte(line), nil)
		if text := log.String(); !strings.Contains(text, want) || strings.Contains(text, "canary") {
			t.Errorf("%s: the log is %q, want %q", line, text, want)
		}
	}
}

// TestLockCollects: what use has left of a key is erased when it is locked, whoever
// says so.
func TestLockCollects(t *testing.T) {
	for who, lock := range map[string]func(b *bench){
		"a client": func(b *bench) { b.ask("lock", benchStore) },
		"logind":   func(b *bench) { b.Lock("the session was locked") },
	} {
		b := newBench(t)
		b.unlock(`"ttl_seconds":60`)
		b.ask("derive", benchSeal)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		lock(b)
		runtime.ReadMemStats(&after)
		if n := after.NumForcedGC - before.NumForcedGC; n < 2 || !b.erased() {
			t.Errorf("%s: %d collections, erased: %v", who, n, b.erased())
		}
	}
}
