package agent

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// bench is a server whose requests are given to it by hand, with clocks that are set.
type bench struct {
	*Server
	t   *testing.T
	now Instant
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: Instant{Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	s, err := NewServer(&ServerOptions{Clock: func() Instant { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.keys.close() })
	b.Server = s
	return b
}

const (
	benchStore = `"store":"01000000000000000000000000000000"`
	benchKey   = benchStore + `,"key_id":"AQAAAA"`
	benchSeal  = benchKey + `,"namespace":"DEFAULT","kind":"token","name":"x","salt":"AAAAAAAAAAAAAAAAAAAAAA"`
	benchTo    = `,"recipient":"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"`
)

var benchSecret = bytes.Repeat([]byte("K"), seal.KeySize)

// ask returns the answer to a request of these members, or its code.
func (b *bench) ask(op, members string) string {
	b.t.Helper()
	line, _ := b.respond([]byte(`{"v":1,"op":"`+op+`",`+members+`}`), nil)
	a, err := parseAnswer(line)
	if err != nil {
		b.t.Fatalf("%s: %q: %v", op, line, err)
	}
	if a.Error != "" {
		return a.Error
	}
	return string(line)
}

func (b *bench) unlock(terms string) {
	b.t.Helper()
	key := encodeSecret(keystore.NewSecret(string(benchSecret)))
	if got := b.ask("unlock", benchKey+benchTo+`,"key":"`+key+`",`+terms); got != "{\"v\":1}\n" {
		b.t.Fatalf("unlock: %s", got)
	}
}

func (b *bench) locked() bool {
	b.t.Helper()
	return b.ask("derive", benchSeal) == codeLocked
}

// erased reports whether no byte of a key is in the memory.
func (b *bench) erased() bool {
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	all := b.keys.memory.Bytes()
	return bytes.Equal(all, make([]byte, len(all)))
}

// passes is what happens to both clocks.
type passes struct {
	what         string
	wall, steady time.Duration
	locked       bool
}

// TestTimeToLive ends as soon as one of the clocks says so.
func TestTimeToLive(t *testing.T) {
	const s, h = time.Second, time.Hour
	for _, p := range []passes{
		{"nothing", 0, 0, false},
		{"all but a second", 8*h - s, 8*h - s, false},
		{"8 hours", 8 * h, 8 * h, true},
		{"8 hours of sleep", 8 * h, s, true},
		{"less sleep", 8*h - s, s, false},
		{"8 hours, and the clock was set back", -100 * h, 8 * h, true},
		{"less, and the clock was set back", -100 * h, 8*h - s, false},
		{"the clock was set forward by a year", 365 * 24 * h, s, true},
	} {
		b := newBench(t)
		b.unlock(`"ttl_seconds":28800`)
		b.now.Wall, b.now.Steady = b.now.Wall.Add(p.wall), b.now.Steady+p.steady
		if b.locked() != p.locked || b.erased() != p.locked {
			t.Errorf("%s: locked: %v, erased: %v, want %v", p.what, b.locked(), b.erased(), p.locked)
		}
	}
}

// TestIdleLimit is prolonged by use, and by nothing else; the time to live by nothing.
func TestIdleLimit(t *testing.T) {
	const minute = time.Minute
	b := newBench(t)
	pass := func(wall, steady time.Duration) {
		b.now.Wall, b.now.Steady = b.now.Wall.Add(wall), b.now.Steady+steady
	}
	for _, use := range []struct{ op, members string }{
		{"derive", benchSeal},
		{"new", benchSeal + `,"count":1`},
	} {
		b.unlock(`"ttl_seconds":28800,"idle_seconds":3600`)
		for range 7 {
			pass(59*minute, 59*minute)
			if got := b.ask(use.op, use.members); got == codeLocked {
				t.Fatalf("%s: locked, though it was used", use.op)
			}
		}
		for range 2 {
			pass(34*minute, 34*minute)
			b.ask(use.op, use.members)
		}
		if got := b.ask(use.op, use.members); got != codeLocked || !b.erased() {
			t.Errorf("%s: use has prolonged the time to live: %s", use.op, got)
		}
	}
	for _, no := range []struct{ op, members string }{
		{"status", benchStore},
		{"keys", benchStore},
		{"derive", strings.Replace(benchSeal, "AQAAAA", "AgAAAA", 1)}, // of another key
		{"derive", strings.Replace(benchSeal, `"token"`, `"no kind"`, 1)},
		{"new", benchSeal + `,"count":17`},
		{"unlock", benchKey + benchTo + `,"key":"AAAA","ttl_seconds":60`},
	} {
		b.unlock(`"ttl_seconds":28800,"idle_seconds":3600`)
		pass(59*minute, 59*minute)
		b.ask(no.op, no.members)
		pass(minute, minute)
		if !b.locked() {
			t.Errorf("%s %s: it was no use, and has prolonged the idle limit", no.op, no.members)
		}
	}
	for what, p := range map[string]passes{"sleep": {wall: time.Hour}, "the clock set back": {wall: -time.Hour, steady: time.Hour}} {
		b.unlock(`"ttl_seconds":28800,"idle_seconds":3600`)
		if pass(p.wall, p.steady); !b.locked() {
			t.Errorf("%s has prolonged the idle limit", what)
		}
	}
}

// TestSuccessorEndsWithItsPredecessor, whose idle limit goes on too.
func TestSuccessorEndsWithItsPredecessor(t *testing.T) {
	next := strings.Replace(benchKey, "AQAAAA", "AgAAAA", 1)
	key := `,"key":"` + encodeSecret(keystore.NewSecret(strings.Repeat("N", seal.KeySize))) + `"`
	succeed := next + benchTo + key + `,"successor":true,"ttl_seconds":2592000`
	for what, after := range map[string]time.Duration{"ttl": 10 * time.Minute, "idle": 3 * time.Minute} {
		b := newBench(t)
		if got := b.ask("unlock", succeed); got != codeLocked {
			t.Errorf("a successor of nothing: %s", got)
		}
		b.unlock(`"ttl_seconds":600,"idle_seconds":180`)
		b.now.Steady += time.Minute
		for range 2 { // it may be sent twice
			if got := b.ask("unlock", succeed); got != "{\"v\":1}\n" {
				t.Fatalf("successor: %s", got)
			}
		}
		b.ask("lock", benchKey)
		use := strings.Replace(benchSeal, "AQAAAA", "AgAAAA", 1)
		if what == "ttl" {
			for range 8 {
				b.now.Steady += time.Minute
				if b.ask("derive", use) == codeLocked {
					t.Fatal("ttl: it has ended too soon")
				}
			}
		}
		b.now.Steady = after - time.Second
		if st := b.ask("status", benchStore); !strings.Contains(st, `"key_id":"AgAAAA"`) {
			t.Errorf("%s: it has ended too soon: %s", what, st)
		}
		b.now.Steady = after
		if got := b.ask("derive", use); got != codeLocked || !b.erased() {
			t.Errorf("%s: it has outlived its predecessor: %s", what, got)
		}
	}
}

// TestTermsThatCannotBe are refused, and nothing is held.
func TestTermsThatCannotBe(t *testing.T) {
	b := newBench(t)
	key := `,"key":"` + encodeSecret(keystore.NewSecret(string(benchSecret))) + `",`
	for _, terms := range []string{`"ttl_seconds":0`, `"ttl_seconds":-1`, `"ttl_seconds":2592001`, `"ttl_seconds":9223372036854775807`,
		`"ttl_seconds":60,"idle_seconds":-1`, `"ttl_seconds":60,"idle_seconds":2592001`, `"idle_seconds":60`} {
		if got := b.ask("unlock", benchKey+benchTo+key+terms); got != codeInvalid || !b.erased() {
			t.Errorf("%s: %s", terms, got)
		}
	}
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Second: 1, time.Second + 1: 2} {
		if seconds(d) != want {
			t.Errorf("%v are %d seconds, want %d", d, seconds(d), want)
		}
	}
}

// waiter is a listener to which nobody comes.
type waiter struct {
	at     string
	closed chan struct{}
	once   sync.Once
}

func (w *waiter) Accept() (net.Conn, error) { <-w.closed; return nil, net.ErrClosed }
func (w *waiter) Close() error              { w.once.Do(func() { close(w.closed) }); return nil }
func (w *waiter) Addr() net.Addr            { return &net.UnixAddr{Name: w.at, Net: "unix"} }

// TestSweepErasesThoughNobodyAsks, and an agent without a key ends by itself.
func TestSweepErasesThoughNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, err := NewServer(&ServerOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{Server: s, t: t}
		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background(), &waiter{closed: make(chan struct{})}) }()
		b.unlock(`"ttl_seconds":3600`)
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if b.erased() {
			t.Error("the key was erased too soon")
		}
		time.Sleep(time.Second + sweepEvery)
		synctest.Wait()
		if !b.erased() {
			t.Error("nobody has erased the key")
		}
		if err := <-done; err != nil || !strings.Contains(log.String(), "its time is over") {
			t.Errorf("%v; the log: %s", err, &log)
		}
		if d := time.Since(began); d < time.Hour+linger || d > time.Hour+linger+3*sweepEvery {
			t.Errorf("it has ended after %v", d)
		}
	})
}

// TestKeyThatIsFoundToBeOver by a request is told of by the next sweep, which has
// the rest of it erased.
func TestKeyThatIsFoundToBeOver(t *testing.T) {
	b := newBench(t)
	b.unlock(`"ttl_seconds":60`)
	b.now.Steady += time.Minute
	if !b.locked() {
		t.Error("it is not over")
	}
	for _, want := range []int{1, 0} {
		if ended, left := b.keys.sweep(); ended != want || left != 0 {
			t.Errorf("sweep: %d have ended, %d are left, want %d", ended, left, want)
		}
	}
}
