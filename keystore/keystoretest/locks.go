package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// Two credentials may share a lock, so that nothing is said here of the lock
// of another.

// countLocked adds one to the number in k, in two steps that only the lock of
// k makes one.
func countLocked(ctx context.Context, a keystore.StorageAdapter, k keystore.RecordKey) (err error) {
	unlock, err := a.LockCredential(ctx, k)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var n int
	err = a.View(ctx, func(r keystore.Reader) (err error) {
		n, err = number(r, k)
		return err
	})
	if err != nil {
		return err
	}
	return a.Update(ctx, func(w keystore.Writer) error { return w.Put(k, []byte(strconv.Itoa(n+1))) })
}

func locksGoroutines(s *store) {
	s.make()
	handles := []*store{s, s.other()}
	const goroutines, each = 8, 25
	s.together(goroutines, func(i int) error {
		for range each {
			if err := countLocked(s.ctx, handles[i%2], token("n")); err != nil {
				return err
			}
		}
		return nil
	})
	s.wants(token("n"), strconv.Itoa(goroutines*each))
}

func locksBusy(s *store) {
	s.make()
	for _, second := range []*store{s, s.other()} {
		unlock, err := s.LockCredential(s.ctx, token("x"))
		s.ok("LockCredential", err)
		err = second.busy(token("x"))
		if err != nil && !strings.Contains(err.Error(), "this process") && !names(err, os.Getpid()) {
			s.Errorf("the error %q does not name this process, %d", err, os.Getpid())
		}
		s.ok("unlock", unlock())
		unlock, err = second.LockCredential(s.ctx, token("x"))
		s.ok("LockCredential of what was freed", err)
		s.ok("unlock", unlock())
	}
}

// busy checks that the lock of k is taken.
func (s *store) busy(k keystore.RecordKey) error {
	s.Helper()
	s.view(func(keystore.Reader) error { return nil }) // what takes long the first time
	ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
	defer cancel()
	unlock, err := s.LockCredential(ctx, k)
	if err == nil {
		unlock()
	}
	s.fails("LockCredential of what is locked", err, keystore.ErrBusy)
	s.fails("LockCredential of what is locked", err, context.DeadlineExceeded)
	return err
}

func names(err error, pid int) bool {
	return strings.Contains(err.Error(), strconv.Itoa(pid))
}

func locksOnlyItself(s *store) {
	s.seed()
	unlock, err := s.LockCredential(s.ctx, token("old"))
	s.ok("LockCredential", err)
	for i, u := range []*store{s, s.other()} {
		u.put(token("old"), strconv.Itoa(i))
		u.wants(token("old"), strconv.Itoa(i))
	}
	s.ok("unlock", unlock())
}

func unlocksOnce(s *store) {
	s.make()
	first, err := s.LockCredential(s.ctx, token("x"))
	s.ok("LockCredential", err)
	s.ok("unlock", first())
	s.ok("unlock again", first())
	second, err := s.LockCredential(s.ctx, token("x"))
	s.ok("LockCredential again", err)
	s.ok("unlock of the first holder", first())
	s.other().busy(token("x"))
	s.ok("unlock", second())
	var freed atomic.Int32
	s.together(2, func(int) error { // unlock is safe for several goroutines
		freed.Add(1)
		return second()
	})
	if freed.Load() != 2 {
		s.Error("unlock did not return")
	}
	third, err := s.LockCredential(s.ctx, token("x"))
	s.ok("LockCredential", err)
	s.ok("unlock", third())
}

func countsProcesses(s *store) {
	s.needsProcesses()
	s.make()
	const processes, each = 16, 25
	s.crowd(processes, job{Do: "count", N: each})
	s.wants(token("n"), strconv.Itoa(processes*each))
}

func locksProcesses(s *store) {
	s.needsProcesses()
	s.make()
	const processes, each = 16, 3
	s.crowd(processes, job{Do: "count locked", N: each})
	s.wants(token("n"), strconv.Itoa(processes*each))
}

// crowd lets n processes do one job at the same time.
func (s *store) crowd(n int, j job) {
	s.Helper()
	var all []*process
	for range n {
		all = append(all, s.start(j))
	}
	for _, p := range all {
		p.goOn()
	}
	for _, p := range all {
		p.ends()
	}
}

func locksUntilDeath(s *store) {
	s.needsProcesses()
	s.make()
	holder := s.start(job{Do: "hold"})
	holder.goOn()
	holder.says("locked")
	if err := s.busy(token("n")); err != nil && !names(err, holder.pid()) {
		s.Errorf("the error %q does not name the holder, process %d", err, holder.pid())
	}
	s.put(token("n"), `1`)
	s.wants(token("n"), `1`)
	holder.kill()
	unlock, err := s.LockCredential(s.ctx, token("n"))
	s.ok("LockCredential after the holder's death", err)
	s.ok("unlock", unlock())
}

func diesInUpdate(s *store) {
	s.needsProcesses()
	before := s.seed()
	writer := s.start(job{Do: "disturb"})
	writer.goOn()
	writer.says("written")
	s.stays(before, "beside another process's Update")
	writer.kill()
	s.stays(before, "after the death of the writer")
	s.update(disturb)
	s.wants(token("new"), `"new"`)
}

func changesHeaderElsewhere(s *store) {
	s.needsProcesses()
	s.seed()
	want := s.Header(s.dump().header.StoreID, 1)
	changer := s.start(job{Do: "rekey", N: 1})
	changer.goOn()
	changer.ends()
	s.wants(token("old"), `"old"`)
	s.put(token("new"), `"new"`)
	if got := s.dump().header; !sameHeader(got, want) {
		s.Errorf("after another process's SetHeader the store has header %v, want %v", got, want)
	}
	s.other().wants(token("new"), `"new"`)
}

// do is what a process does when it is told to go on.
func (s *suite) do(ctx context.Context, a keystore.StorageAdapter, j job, told *conversation) error {
	switch j.Do {
	case "count":
		return repeat(j.N, func() error {
			return a.Update(ctx, func(w keystore.Writer) error { return increment(w, token("n")) })
		})
	case "count locked":
		return repeat(j.N, func() error { return countLocked(ctx, a, token("n")) })
	case "hold":
		if _, err := a.LockCredential(ctx, token("n")); err != nil {
			return err
		}
		told.say("locked")
		return told.wait()
	case "disturb":
		return a.Update(ctx, func(w keystore.Writer) error {
			if err := disturb(w); err != nil {
				return err
			}
			told.say("written")
			return told.wait()
		})
	case "rekey":
		return a.Update(ctx, func(w keystore.Writer) error { return s.rekey(w, j.N) })
	}
	return fmt.Errorf("there is no job %q", j.Do)
}

func repeat(n int, fn func() error) error {
	for range n {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}
