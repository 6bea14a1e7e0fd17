// Package memory keeps a store in the memory of one process. Nothing is
// encrypted, and nothing survives the process: it is for tests, and for
// programs so short that they have no second run to keep a login for.
//
// It obeys the contract of [keystore.StorageAdapter] like every other adapter,
// limits and locks included, so that what works over it works over a disk.
package memory

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"sync"

	"github.com/globus-keys/globus-keys/internal/turn"
	"github.com/globus-keys/globus-keys/keystore"
)

// Adapter is a keystore.StorageAdapter. Make it with New.
type Adapter struct {
	writer turn.Turn // who holds it may replace now

	mu     sync.Mutex
	now    *state                           // guarded by mu; what it points to never changes
	locks  map[keystore.RecordKey]turn.Turn // guarded by mu; grows with the credentials ever locked
	closed bool                             // guarded by mu
	calls  sync.WaitGroup                   // calls under way; Add only under mu
}

// New returns an empty store with a header of its own. Two adapters never
// share a record.
func New() *Adapter {
	a := NewEmpty()
	rand.Read(a.now.header.StoreID[:]) // never fails: crypto/rand ends the process instead
	return a
}

// NewEmpty returns an adapter without a store yet: its Header is zero until
// SetHeader makes one. It is for tests of how stores are made.
func NewEmpty() *Adapter {
	return &Adapter{writer: turn.New(), now: &state{}, locks: make(map[keystore.RecordKey]turn.Turn)}
}

// View implements keystore.StorageAdapter. It waits for nobody: the snapshot
// is the state that the last finished Update has left.
func (a *Adapter) View(ctx context.Context, fn func(keystore.Reader) error) error {
	end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return fn(&reader{a.current()})
}

// Update implements keystore.StorageAdapter. It takes effect when its copy of
// the state becomes the state, in one assignment after fn.
func (a *Adapter) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := a.writer.Take(ctx); err != nil {
		return busy(err, "update", keystore.RecordKey{})
	}
	defer a.writer.Give()
	w := &writer{reader{a.current().clone()}}
	if err := fn(w); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &keystore.Error{Err: keystore.Ended(ctx)}
	}
	a.replace(w.state)
	return nil
}

// LockCredential implements keystore.StorageAdapter. No two credentials share
// a lock.
func (a *Adapter) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := k.Check(); err != nil {
		return nil, err
	}
	lock := a.lock(k)
	if err := lock.Take(ctx); err != nil {
		return nil, busy(err, "lock", k)
	}
	var once sync.Once
	return func() error { once.Do(lock.Give); return nil }, nil
}

// Close ends the store; what it held is gone. Calls under way end first. Later
// calls fail with keystore.ErrUnavailable.
func (a *Adapter) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.calls.Wait()
	a.replace(&state{})
	return nil
}

// begin admits a call, which calls end when it is over.
func (a *Adapter) begin(ctx context.Context) (end func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the adapter is closed"}
	}
	if ctx.Err() != nil {
		return nil, &keystore.Error{Err: keystore.Ended(ctx)}
	}
	a.calls.Add(1)
	return a.calls.Done, nil
}

func (a *Adapter) current() *state {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

func (a *Adapter) replace(s *state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = s
}

func (a *Adapter) lock(k keystore.RecordKey) turn.Turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.locks[k]; !ok {
		a.locks[k] = turn.New()
	}
	return a.locks[k]
}

func busy(cause error, op string, k keystore.RecordKey) error {
	return &keystore.Error{Op: op, Key: k, Err: fmt.Errorf("%w (%w)", keystore.ErrBusy, cause),
		Detail: "this process holds the lock"}
}

// state is one state of the store. Once others can see it, it and the payloads
// in it never change.
type state struct {
	header  keystore.Header
	records map[keystore.RecordKey][]byte
}

// clone returns a state whose records can be replaced; the payloads are shared.
func (s *state) clone() *state {
	c := &state{header: s.header, records: maps.Clone(s.records)}
	if c.records == nil {
		c.records = make(map[keystore.RecordKey][]byte)
	}
	return c
}
