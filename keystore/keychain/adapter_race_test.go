package keychain_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// TestReadersBesideAWriter whose clock runs fast, so that what a reader looks at
// is swept before its eyes: what it gets is whole, and of one Update.
func TestReadersBesideAWriter(t *testing.T) {
	const updates = 300
	value := func(n int) string { return fmt.Sprintf("%06d", n) + sized(n%3+1, string(rune('a'+n%26))) }
	p := made(t, change{"a": value(0), "b": value(0)})
	fast := func() time.Time { p.later(2 * time.Minute); return p.clock() }
	writer, err := keychain.OpenAdapter(p.index, p.keychain(), &keychain.AdapterOptions{Clock: fast})
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var reads, tries, busy atomic.Int64
	reader := func() {
		a := p.open()
		for !done.Load() {
			var got [2]string
			err := a.View(t.Context(), func(r keystore.Reader) error {
				tries.Add(1)
				for i, name := range []string{"a", "b"} {
					payload, err := r.Get(tokenKey(name))
					if err != nil {
						return err
					}
					got[i] = strings.Trim(string(payload), `"`)
				}
				return nil
			})
			var n int
			switch {
			case errors.Is(err, keystore.ErrBusy):
				busy.Add(1) // ten Updates in one View: with a true clock it takes ten minutes
			case err != nil:
				t.Error(err)
				return
			default:
				reads.Add(1)
				fmt.Sscanf(got[0], "%06d", &n)
				if got[0] != value(n) || got[1] != value(n) {
					t.Errorf("mixed: %s", brief(map[string]string{"a": got[0], "b": got[1]}))
					return
				}
			}
		}
	}
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(reader)
	}
	for n := 1; n <= updates; n++ {
		if err := (change{"a": value(n), "b": value(n)}).update(t.Context(), writer); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	readers.Wait()
	if err := writer.Sweep(t.Context()); err != nil || len(p.strays()) > 0 {
		t.Errorf("left over: %v (%v)", p.strays(), err)
	}
	t.Logf("%d reads in %d tries beside %d updates, %d gave up", reads.Load(), tries.Load(), updates, busy.Load())
}

// TestViewBeginsAnew when an item that it needs is swept, also if fn swallows
// what Get says.
func TestViewBeginsAnew(t *testing.T) {
	for _, then := range []change{{"one": "new"}, {"one": ""}} {
		p := made(t, change{"one": "old", "two": "2"})
		calls := 0
		var got string
		err := p.open().View(t.Context(), func(r keystore.Reader) error {
			if calls++; calls == 1 {
				p.update(then)
				p.later(2 * time.Minute)
				p.update(change{"two": "3"})
			}
			payload, err := r.Get(tokenKey("one"))
			got = string(payload)
			if _, second := r.Get(tokenKey("two")); calls == 1 && !errors.Is(second, keystore.ErrBusy) {
				t.Errorf("after a stale record another one can be read: %v", second)
			}
			if calls == 2 && err != nil && !errors.Is(err, keystore.ErrNotFound) {
				return err
			}
			return nil
		})
		if err != nil || calls != 2 || got != map[bool]string{true: `"new"`}[then["one"] != ""] {
			t.Errorf("%v after %d calls: %s", err, calls, got)
		}
	}
}

// TestViewGivesUp when this happens again and again, and when its context ends.
func TestViewGivesUp(t *testing.T) {
	p := made(t, change{"one": "old"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range []struct {
		when  int // the call at which the context ends
		calls int
		want  error
	}{{0, 10, keystore.ErrBusy}, {3, 3, context.Canceled}} {
		calls := 0
		err := p.open().View(ctx, func(r keystore.Reader) error {
			calls++
			p.update(change{"one": fmt.Sprint(calls)})
			p.later(2 * time.Minute)
			p.update(change{"two": fmt.Sprint(calls)})
			_, err := r.Get(tokenKey("one"))
			if calls == c.when {
				cancel()
			}
			return err
		})
		if !errors.Is(err, c.want) || calls != c.calls {
			t.Errorf("%v after %d calls, want %v after %d", err, calls, c.want, c.calls)
		}
	}
}

// TestLongViewKeepsItsSnapshot as long as a minute lasts.
func TestLongViewKeepsItsSnapshot(t *testing.T) {
	p := made(t, change{"one": "old", "two": "old"})
	err := p.open().View(t.Context(), func(r keystore.Reader) error {
		p.update(change{"one": "new", "two": ""})
		p.later(time.Minute)
		p.update(change{"three": "new"})
		for _, name := range []string{"one", "two"} {
			if got, err := r.Get(tokenKey(name)); err != nil || string(got) != `"old"` {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
