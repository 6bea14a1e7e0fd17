package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

var errByTest = errors.New("an error that the test has made")

// seed puts two records, for the next step to disturb.
func (s *store) seed() contents {
	s.Helper()
	s.make()
	s.put(token("old"), `"old"`)
	s.put(token("gone"), `"gone"`)
	return s.dump()
}

// disturb does all that an Update can do to the records of seed.
func disturb(w keystore.Writer) error {
	return errors.Join(
		w.Put(token("old"), []byte(`"changed"`)),
		w.Put(token("new"), []byte(`"new"`)),
		w.Delete(token("gone")),
	)
}

// rekey says that the store has its n-th key and writes every record anew.
func (s *suite) rekey(w keystore.Writer, n int) error {
	if err := w.SetHeader(s.Header(w.Header().StoreID, n)); err != nil {
		return err
	}
	return rewrite(w)
}

func rewrite(w keystore.Writer) error {
	keys, err := allKeys(w)
	if err != nil {
		return err
	}
	for _, k := range keys {
		payload, err := w.Get(k)
		if err == nil {
			err = w.Put(k, payload)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func changesAllOrNone(s *store) {
	before := s.seed()
	for what, fn := range map[string]func(keystore.Writer) error{
		"puts and deletes": disturb,
		"a header change":  func(w keystore.Writer) error { return errors.Join(s.rekey(w, 1), disturb(w)) },
		"nothing":          func(keystore.Writer) error { return nil },
	} {
		err := s.Update(s.ctx, func(w keystore.Writer) error {
			if err := fn(w); err != nil {
				return err
			}
			return errByTest
		})
		s.fails("Update of "+what, err, errByTest)
		s.stays(before, "after a failed Update of "+what)
		s.other().stays(before, "after a failed Update of "+what+", in another handle,")
	}
	s.update(disturb)
	s.wants(token("old"), `"changed"`)
	s.wants(token("new"), `"new"`)
}

func survivesPanic(s *store) {
	before := s.seed()
	func() {
		defer func() {
			if recover() == nil {
				s.Error("the panic of fn was swallowed")
			}
		}()
		s.Update(s.ctx, func(w keystore.Writer) error {
			s.ok("disturb", disturb(w))
			panic(errByTest)
		})
	}()
	s.stays(before, "after a panic in Update")
	s.update(disturb)
	s.wants(token("new"), `"new"`)
}

func readsOwnWrites(s *store) {
	s.seed()
	s.update(func(w keystore.Writer) error {
		if err := disturb(w); err != nil {
			return err
		}
		c, err := dump(w)
		if err != nil {
			return err
		}
		delete(c.records, keystore.MetaKey)
		if len(c.records) != 2 {
			return fmt.Errorf("after Put and Delete the Update sees %v", c.records)
		}
		return errors.Join(holds(w, token("old"), `"changed"`), holds(w, token("new"), `"new"`))
	})
	s.update(func(w keystore.Writer) error {
		next := s.Header(w.Header().StoreID, 1)
		if err := s.rekey(w, 1); err != nil {
			return err
		}
		if got := w.Header(); !sameHeader(got, next) {
			return fmt.Errorf("after SetHeader the Update sees header %v, want %v", got, next)
		}
		return nil
	})
}

// keepsSnapshots takes an adapter that calls fn again for one that does not: what each
// call sees is whole, and stays.
func keepsSnapshots(s *store) {
	want := s.seed()
	other := s.other()
	calls := 0
	s.view(func(r keystore.Reader) error {
		if calls++; calls > 1 {
			want = other.dump()
		}
		first, err := dump(r)
		if err != nil {
			return err
		}
		if calls == 1 {
			err = aside(func() error { return other.Update(s.ctx, disturb) })
		}
		if err != nil {
			return fmt.Errorf("Update beside a View: %w", err)
		}
		second, err := dump(r)
		if err == nil && !(first.equal(second) && first.equal(want)) {
			err = fmt.Errorf("the snapshot was %v, then %v; want %v", first, second, want)
		}
		return err
	})
	s.wants(token("new"), `"new"`)
}

func viewsBesideUpdate(s *store) {
	before := s.seed()
	view := func(from *store) error {
		return aside(func() error {
			return from.View(s.ctx, func(r keystore.Reader) error {
				got, err := dump(r)
				if err == nil && !got.equal(before) {
					err = fmt.Errorf("sees %v, want %v", got, before)
				}
				return err
			})
		})
	}
	other := s.other()
	s.update(func(w keystore.Writer) error {
		if err := disturb(w); err != nil {
			return err
		}
		return errors.Join(view(s), view(other))
	})
	s.wants(token("new"), `"new"`)
}

func readsWholeUpdates(s *store) {
	s.make()
	other := s.other()
	var done atomic.Bool
	write := func() error {
		defer done.Store(true)
		for range 50 {
			err := s.Update(s.ctx, func(w keystore.Writer) error {
				return errors.Join(increment(w, token("a")), increment(w, token("b")))
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	read := func() error {
		for last := false; !last; {
			last = done.Load() // one more read after the last write
			var a, b int
			err := other.View(s.ctx, func(r keystore.Reader) (err error) {
				if a, err = number(r, token("a")); err != nil {
					return err
				}
				b, err = number(r, token("b"))
				return err
			})
			if err != nil || a != b || last && a != 50 {
				return fmt.Errorf("a View sees a = %d, b = %d, error %v", a, b, err)
			}
		}
		return nil
	}
	s.together(3, func(i int) error {
		if i == 0 {
			return write()
		}
		return read()
	})
}

func countsGoroutines(s *store) {
	s.make()
	handles := []*store{s, s.other()}
	const goroutines, each = 8, 25
	s.together(goroutines, func(i int) error {
		for range each {
			err := handles[i%2].Update(s.ctx, func(w keystore.Writer) error { return increment(w, token("n")) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.wants(token("n"), strconv.Itoa(goroutines*each))
}

func obeysEndedContext(s *store) {
	before := s.seed()
	reason := errors.New("the user has left")
	ended, cancel := context.WithCancelCause(s.ctx)
	cancel(reason)
	s.fails("View says why", s.View(ended, func(keystore.Reader) error { return nil }), reason)
	s.fails("Update says why", s.Update(ended, disturb), reason)
	s.fails("View", s.View(ended, func(keystore.Reader) error { return nil }), context.Canceled)
	s.fails("Update", s.Update(ended, disturb), context.Canceled)
	_, err := s.LockCredential(ended, token("old"))
	s.fails("LockCredential", err, context.Canceled)
	s.stays(before, "after calls with an ended context")
	unlock, err := s.LockCredential(s.ctx, token("old"))
	s.ok("LockCredential afterwards", err)
	s.ok("unlock", unlock())
}

func obeysContextInside(s *store) {
	before := s.seed()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	err := s.Update(ctx, func(w keystore.Writer) error {
		err := disturb(w)
		cancel()
		return err
	})
	after := s.dump()
	if err == nil && after.equal(before) {
		s.Error("Update returned nil, and nothing was stored")
	}
	if err != nil {
		s.fails("Update", err, context.Canceled)
	}
	if after.equal(before) {
		s.update(disturb)
	}
	s.wants(token("old"), `"changed"`)
	s.wants(token("new"), `"new"`)
	s.view(func(r keystore.Reader) error {
		_, err := r.Get(token("gone"))
		s.fails("Get of what was deleted", err, keystore.ErrNotFound)
		return nil
	})
}

func writerGivesUp(s *store) {
	s.make()
	for _, second := range []*store{s, s.other()} {
		var once sync.Once
		s.update(func(w keystore.Writer) error {
			once.Do(func() {
				ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
				defer cancel()
				err := aside(func() error {
					return second.Update(ctx, func(w keystore.Writer) error { return w.Put(token("second"), []byte(`1`)) })
				})
				s.fails("Update of the one who waits", err, context.DeadlineExceeded)
			})
			return w.Put(token("first"), []byte(`1`))
		})
		s.wants(token("first"), `1`)
		if _, there := s.dump().records[token("second")]; there {
			s.Error("the Update that gave up was applied")
		}
	}
}

func changesHeader(s *store) {
	s.seed()
	other := s.other()
	s.wants(token("old"), `"old"`)
	other.wants(token("old"), `"old"`)
	for i, handles := range [][2]*store{{other, s}, {s, other}, {s, s}} {
		changer, witness, n := handles[0], handles[1], i+1
		want := s.Header(s.dump().header.StoreID, n)
		changer.update(func(w keystore.Writer) error { return s.rekey(w, n) })
		witness.wants(token("old"), `"old"`)
		if got := witness.dump().header; !sameHeader(got, want) {
			s.Errorf("after SetHeader the other handle sees %v, want %v", got, want)
		}
		witness.put(token("witness"), strconv.Itoa(n))
		changer.wants(token("witness"), strconv.Itoa(n))
		changer.put(token("changer"), strconv.Itoa(n))
		witness.wants(token("changer"), strconv.Itoa(n))
	}
	s.other().wants(token("old"), `"old"`)
}

func rekeysStepByStep(s *store) {
	s.seed()
	s.update(func(w keystore.Writer) error {
		id := w.Header().StoreID
		if err := w.SetHeader(s.Header(id, 1)); err != nil {
			return err
		}
		if err := holds(w, token("gone"), `"gone"`); err != nil {
			return fmt.Errorf("a record not rewritten yet: %w", err)
		}
		if err := w.Put(token("new"), []byte(`"new"`)); err != nil {
			return err
		}
		if err := errors.Join(holds(w, token("new"), `"new"`), holds(w, token("old"), `"old"`)); err != nil {
			return fmt.Errorf("one record rewritten, one not: %w", err)
		}
		return rewrite(w)
	})
	for _, u := range []*store{s, s.other()} {
		u.wants(token("old"), `"old"`)
		u.wants(token("gone"), `"gone"`)
		u.wants(token("new"), `"new"`)
	}
}

func closes(s *store) {
	s.make()
	closed := make(chan error, 1)
	var ended atomic.Bool
	var once sync.Once
	s.view(func(r keystore.Reader) error {
		once.Do(func() {
			go func() {
				err := s.Close()
				if !ended.Load() {
					err = errors.New("Close did not wait for a View under way")
				}
				closed <- err
			}()
			// Time for a Close that does not wait to be found out.
			for range 100 {
				runtime.Gosched()
			}
			time.Sleep(time.Millisecond)
		})
		_, err := dump(r)
		ended.Store(true)
		return err
	})
	s.ok("Close", <-closed)
	if err := s.View(s.ctx, func(keystore.Reader) error { return nil }); err == nil {
		s.Error("View after Close succeeded")
	}
	if err := s.Update(s.ctx, func(keystore.Writer) error { return nil }); err == nil {
		s.Error("Update after Close succeeded")
	}
	if _, err := s.LockCredential(s.ctx, token("x")); err == nil {
		s.Error("LockCredential after Close succeeded")
	}
}
