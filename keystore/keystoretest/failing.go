package keystoretest

import (
	"context"
	"iter"
	"sync"

	"github.com/globus-keys/globus-keys/keystore"
)

// Failing is an adapter whose n-th operation fails. Operations are counted
// from 1 across all calls: each View, each LockCredential, each Get, Put,
// Delete, SetHeader and Keys, and three for an Update: its begin, its commit
// (when fn has succeeded, nothing is applied) and its end (all is applied, but
// the caller hears an error, as after a failed sync). A test walks n = 1, 2,
// 3, … until Failed reports that nothing failed any more.
//
// The inner adapter stays the caller's to look at. Close closes it and never
// fails.
type Failing struct {
	inner keystore.StorageAdapter
	err   error

	mu     sync.Mutex
	left   int    // guarded by mu; operations until the one that fails
	failed string // guarded by mu; which it was
}

// FailAt returns inner with the n-th operation failing with err.
func FailAt(inner keystore.StorageAdapter, n int, err error) *Failing {
	return &Failing{inner: inner, err: err, left: n}
}

// Failed returns the name of the operation that failed, "" if none has.
func (f *Failing) Failed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// next counts one operation and returns the error if it is the one to fail.
func (f *Failing) next(operation string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left != 0 {
		return nil
	}
	f.failed = operation
	return f.err
}

// View implements keystore.StorageAdapter.
func (f *Failing) View(ctx context.Context, fn func(keystore.Reader) error) error {
	if err := f.next("View"); err != nil {
		return err
	}
	return f.inner.View(ctx, func(r keystore.Reader) error { return fn(failingReader{r, f}) })
}

// Update implements keystore.StorageAdapter.
func (f *Failing) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if err := f.next("Update begin"); err != nil {
		return err
	}
	err := f.inner.Update(ctx, func(w keystore.Writer) error {
		if err := fn(failingWriter{failingReader{w, f}, w}); err != nil {
			return err
		}
		return f.next("Update commit")
	})
	if err != nil {
		return err
	}
	return f.next("Update end")
}

// LockCredential implements keystore.StorageAdapter.
func (f *Failing) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if err := f.next("LockCredential"); err != nil {
		return nil, err
	}
	return f.inner.LockCredential(ctx, k)
}

// Close implements keystore.StorageAdapter.
func (f *Failing) Close() error { return f.inner.Close() }

type failingReader struct {
	keystore.Reader
	f *Failing
}

func (r failingReader) Get(k keystore.RecordKey) ([]byte, error) {
	if err := r.f.next("Get"); err != nil {
		return nil, err
	}
	return r.Reader.Get(k)
}

func (r failingReader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		if err := r.f.next("Keys"); err != nil {
			yield(keystore.RecordKey{}, err)
			return
		}
		r.Reader.Keys(kind, namespaces...)(yield)
	}
}

type failingWriter struct {
	failingReader
	w keystore.Writer
}

func (w failingWriter) Put(k keystore.RecordKey, payload []byte) error {
	if err := w.f.next("Put"); err != nil {
		return err
	}
	return w.w.Put(k, payload)
}

func (w failingWriter) Delete(k keystore.RecordKey) error {
	if err := w.f.next("Delete"); err != nil {
		return err
	}
	return w.w.Delete(k)
}

func (w failingWriter) SetHeader(h keystore.Header) error {
	if err := w.f.next("SetHeader"); err != nil {
		return err
	}
	return w.w.SetHeader(h)
}
