// Package lockfile locks one file at a time among all goroutines and all
// processes. The kernel frees the lock when its holder dies.
//
// The lock is flock (LockFileEx on Windows) on a file of its own, which is never
// deleted: removing a lock file lets two processes each hold a lock of "the"
// file. POSIX fcntl locks would be lost when any part of the process closes any
// descriptor of the file.
//
// A thread that waits in flock cannot be called back, and closing the file does
// not wake it. So in each process one goroutine per file waits there, for all;
// the others stand in a queue before it that obeys their contexts.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Lock waits until it holds the lock of the file at path, among all goroutines
// and processes, or ctx ends. Those who wait in this process get it in the order
// in which they came; between processes the kernel decides. The lock is not
// re-entrant. The file is made with mode 0600 if missing; its directory must
// exist. When ctx ends just as the lock comes free, either may win.
//
// Errors: ErrBusy, which also wraps the cause of ctx and names the holder, if
// ctx ends first; ErrTampered for what is not a file of ours with one name;
// ErrReadOnly if the file cannot be written; ErrUnavailable if the file system
// has no locks: never is a weaker lock taken instead.
//
// unlock may be called by any goroutine; after the first time it does nothing,
// and returns the same again.
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, &keystore.Error{Store: path, Err: keystore.Ended(ctx)}
	}
	q, turn := enter(path)
	if turn == nil { // nobody in this process is before us
		l, err := acquire(path, false)
		if !errors.Is(err, errHeld) {
			return q.hold(result{l, err})
		}
		turn = q.goFirst()
		go q.await()
	}
	return q.wait(ctx, turn)
}

// registry is the one piece of state that belongs to the whole process, because
// the thread that waits in the kernel does: a second one would only wait behind
// the first. Two names of one file (through a link) are two queues, which the
// kernel keeps apart like two processes.
var registry = struct {
	mu sync.Mutex
	// queues maps absolute paths to those queues in which somebody holds the
	// lock or is about to: an entry that nobody uses does not exist.
	queues map[string]*queue
}{queues: make(map[string]*queue)}

// queue is those of this process who want the lock of one file.
type queue struct {
	path    string
	waiting []chan result // in order; guarded by registry.mu

	// held is the lock while somebody has it, guarded by registry.mu. It is
	// there for the garbage collector, which closes a file, and so unlocks it,
	// when a holder who means to keep the lock for good forgets its unlock.
	held *locked
}

// result is what is given to one who waits. Its channel has room for it.
type result struct {
	lock *locked
	err  error
}

// enter returns the queue of path and a place in it, or nil if the queue was
// empty: then the caller must try for the lock itself, and answer for the queue
// until it calls hold or goFirst.
func enter(path string) (*queue, chan result) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	q := registry.queues[path]
	if q == nil {
		q = &queue{path: path}
		registry.queues[path] = q
		return q, nil
	}
	turn := make(chan result, 1)
	q.waiting = append(q.waiting, turn)
	return q, turn
}

// goFirst returns the place before all others.
func (q *queue) goFirst() chan result {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	turn := make(chan result, 1)
	q.waiting = slices.Insert(q.waiting, 0, turn)
	return turn
}

// leave gives up a place. It reports false if its turn has come already.
func (q *queue) leave(turn chan result) bool {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	i := slices.Index(q.waiting, turn)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// first takes the first out of the queue; nil if nobody waits.
func (q *queue) first() chan result {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	turn := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return turn
}

// next is called by whoever answers for the queue and has no lock: others wait
// in the kernel from now on, or the queue ends.
func (q *queue) next() {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if len(q.waiting) == 0 {
		delete(registry.queues, q.path)
		return
	}
	go q.await()
}

// await waits in the kernel and hands what comes of it to the first who is still
// there.
func (q *queue) await() {
	l, err := acquire(q.path, true)
	if turn := q.first(); turn != nil {
		turn <- result{l, err}
		return
	}
	if err == nil {
		l.release() // nobody is there to be told of an error
	}
	q.next()
}

func (q *queue) wait(ctx context.Context, turn chan result) (unlock func() error, err error) {
	select {
	case r := <-turn:
		return q.hold(r)
	case <-ctx.Done():
	}
	if !q.leave(turn) {
		return q.hold(<-turn)
	}
	return nil, busy(ctx, q.path)
}

// hold makes the caller the holder, or lets the next one try. The kernel's lock
// is given back between two holders of one process, so that other processes get
// their turn.
func (q *queue) hold(r result) (unlock func() error, err error) {
	if r.err != nil {
		q.next()
		return nil, r.err
	}
	q.keep(r.lock)
	return sync.OnceValue(func() error {
		q.keep(nil)
		err := r.lock.release()
		q.next()
		return atomicfile.About(q.path, err)
	}), nil
}

func (q *queue) keep(l *locked) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	q.held = l
}

func busy(ctx context.Context, path string) error {
	return &keystore.Error{
		Store:  path,
		Err:    fmt.Errorf("%w: %w", keystore.ErrBusy, keystore.Ended(ctx)),
		Detail: "held by " + holder(path),
	}
}

// locked is an open file whose lock we hold.
type locked struct{ file atomicfile.File }

// errHeld says that somebody else holds the lock.
var errHeld = errors.New("held")

// acquire opens the file and takes its lock. If somebody has it, acquire waits,
// or returns errHeld.
func acquire(path string, wait bool) (*locked, error) {
	for {
		l, err := open(path)
		if err != nil {
			return nil, err
		}
		if err := flock(l.file, wait); err != nil {
			l.file.Close()
			return nil, explain(path, err)
		}
		if l.isAt(path) {
			sign(l.file)
			return l, nil
		}
		l.release() // somebody deleted or moved it while we waited
	}
}

func open(path string) (*locked, error) {
	f, _, err := atomicfile.Open(atomicfile.OS(), path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = atomicfile.SetMode(f, 0o600)
	if err == nil {
		err = oneName(f, path)
	}
	if err != nil {
		f.Close()
		return nil, atomicfile.About(path, err)
	}
	return &locked{f}, nil
}

// oneName refuses a file with a second name, whose lock others may take by that.
// A file without a name was deleted just now, which acquire sees.
func oneName(f atomicfile.File, path string) error {
	n, err := links(f)
	if err != nil || n <= 1 {
		return err
	}
	return atomicfile.Refuse(path, fmt.Sprintf("has %d names (hard links): remove it", n))
}

func (l *locked) isAt(path string) bool {
	ours, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, there)
}

// release unlocks before it closes: a child between fork and exec still has a
// copy of the descriptor, which would keep the lock.
func (l *locked) release() error {
	return errors.Join(funlock(l.file), l.file.Close())
}

// explain says in words that a file system has no locks.
func explain(path string, err error) error {
	if errors.Is(err, errHeld) {
		return err
	}
	if !noLocks(err) {
		return atomicfile.About(path, fmt.Errorf("lock: %w", err))
	}
	return &keystore.Error{Store: path, Err: fmt.Errorf("%w: %w", keystore.ErrUnavailable, err),
		Detail: "this file system has no locks, and without them processes destroy each other's logins; " +
			"put the store on a local disk with --store file:PATH"}
}
