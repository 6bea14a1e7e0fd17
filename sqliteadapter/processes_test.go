package sqliteadapter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

const crowd = 16 // processes

// started returns so many processes that have the store open.
func (s site) started(t *testing.T, n int) (all []*process) {
	t.Helper()
	for range n {
		all = append(all, s.start(t))
	}
	return all
}

// together has all processes do the same at once.
func together(all []*process, line string) {
	for _, p := range all {
		p.tell(line)
	}
	for _, p := range all {
		p.answers(line)
	}
}

// TestSixteenProcessesCountOnOneRecord: no error, and no update is lost.
func TestSixteenProcessesCountOnOneRecord(t *testing.T) {
	for mode, each := range map[string]int{"WAL": 50, "TRUNCATE": 20, "hidden": 10} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			a := s.made(t)
			together(s.started(t, crowd), fmt.Sprint("count ", each))
			if got, err := get(t.Context(), a, "n"); err != nil || got != strconv.Itoa(crowd*each) {
				t.Errorf("%d processes have counted %d each, to %q (%v)", crowd, each, got, err)
			}
		})
	}
}

// TestSixteenProcessesOpenAFreshPath, 20 times: one makes the store, and all are in it.
func TestSixteenProcessesOpenAFreshPath(t *testing.T) {
	s := newSite(t, "WAL")
	all := s.started(t, crowd)
	for n := range 20 {
		fresh := s.at(filepath.Join(filepath.Dir(s.path), strconv.Itoa(n)))
		for i, p := range all {
			p.does("close")
			p.tell("open " + fresh.path)
			p.tell("join p" + strconv.Itoa(i))
		}
		want := make(map[string]string)
		for i, p := range all {
			name := "p" + strconv.Itoa(i)
			want[name] = name
			p.answers("open")
			p.answers("join")
		}
		holds(t, fresh.open(t), want, fresh.path)
	}
}

// TestProcessesAndGoroutinesReadAndWrite at once, in one store: no error, nothing lost.
func TestProcessesAndGoroutinesReadAndWrite(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		writers, readers := s.started(t, 2), s.started(t, 2)
		for _, p := range writers {
			p.tell("count 20")
		}
		for _, p := range readers {
			p.tell("views 20")
		}
		const goroutines, each = 64, 3
		var wg sync.WaitGroup
		for i := range goroutines {
			wg.Go(func() {
				for range each {
					if _, err := read(t.Context(), a); err != nil {
						t.Errorf("View: %v", err)
					}
					if i%8 > 0 {
						continue
					}
					if err := increment(t.Context(), a); err != nil {
						t.Errorf("Update: %v", err)
					}
				}
			})
		}
		wg.Wait()
		for _, p := range append(writers, readers...) {
			p.answers("its lines")
		}
		want := strconv.Itoa(2*20 + goroutines/8*each)
		if got, err := get(t.Context(), a, "n"); err != nil || got != want {
			t.Errorf("the count is %q (%v), want %s", got, err, want)
		}
	})
}

// TestProcessGoesOnAfterAnotherHasRekeyed, in every mode.
func TestProcessGoesOnAfterAnotherHasRekeyed(t *testing.T) {
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			a := s.made(t)
			holds(t, a, base, "at first")
			p := s.start(t)
			for i, slot := range []string{slotB, slotA} {
				p.does("rekey " + slot)
				holds(t, a, with("two", map[bool]string{true: "2", false: strconv.Itoa(i + 1)}[i == 0]), "after "+slot)
				ok(t, "put", put(t.Context(), a, "two", strconv.Itoa(i+2)))
				if got := p.does("get two"); got != strconv.Itoa(i+2) {
					t.Errorf("the other process reads %q", got)
				}
				holds(t, s.open(t), with("two", strconv.Itoa(i+2)), "for a third")
			}
		})
	}
}

// TestRekeyWhileAKeyIsWaitedFor: a writer who has got the key of a store, and then its lock,
// finds another key, and asks for that: nothing is sealed with the old one.
func TestRekeyWhileAKeyIsWaitedFor(t *testing.T) {
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			p, asked := s.start(t), 0
			a := s.openWith(t, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
				if asked++; asked == 1 {
					p.does("rekey " + slotB)
				}
				return s.keys.Unseal(ctx, h, meta)
			})
			ok(t, "put", put(t.Context(), a, "two", "x"))
			if asked != 2 {
				t.Errorf("the key was asked for %d times", asked)
			}
			holds(t, s.open(t), with("two", "x"), "afterwards")
		})
	}
}

// TestNoDescriptorsAreLeft when an adapter is closed, whatever it has been through, and no
// goroutines.
func TestNoDescriptorsAreLeft(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		before, goroutines := descriptors(t), runtime.NumGoroutine()
		for range 3 {
			a := s.open(t)
			ok(t, "join", join(t.Context(), a, "x"))
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { read(t.Context(), a) })
			}
			wg.Wait()
			_, err := a.Reset(t.Context())
			ok(t, "Reset", err)
			ok(t, "join", join(t.Context(), a, "y"))
			ok(t, "Close", a.Close())
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open, and %d were", after, before)
		}
		for range 500 { // those of database/sql end soon after its Close
			if runtime.NumGoroutine() <= goroutines {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d goroutines are there, and %d were", runtime.NumGoroutine(), goroutines)
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("open descriptors are counted in /proc, which only Linux has; CI does so there")
	}
	all, err := os.ReadDir("/proc/self/fd")
	ok(t, "count the descriptors", err)
	return len(all)
}
