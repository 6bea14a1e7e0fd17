package keystoretest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// suite is one call of Run.
type suite struct {
	Options
	open     Open
	test     string        // the name of the test that called Run
	patience time.Duration // ends what would hang; nothing is expected to take as long
}

func newSuite(t *testing.T, open Open, opts *Options) *suite {
	s := &suite{open: open, test: t.Name(), patience: 2 * time.Minute}
	if opts != nil {
		s.Options = *opts
	}
	if s.MaxValue == 0 {
		s.MaxValue = keystore.MaxPayload
	}
	if s.Header == nil {
		s.Header = passphraseSlot
	}
	if s.Meta == nil {
		s.Meta = []byte(`{}`)
	}
	return s
}

func passphraseSlot(id keystore.StoreID, n int) keystore.Header {
	return keystore.Header{StoreID: id, Slots: []keystore.Slot{
		{Kind: keystore.SlotPassphrase, Name: fmt.Sprintf("identity-%d.age", n)},
	}}
}

// store is a store under test as one of its users has it open, and the words
// in which the script speaks of it. Its methods end the test if they fail; in
// other goroutines than the test's, the adapter itself is used.
type store struct {
	*testing.T
	*suite
	keystore.StorageAdapter
	dir string
	ctx context.Context
}

// newStore opens a new place. Nothing is stored there, not even a header.
func (s *suite) newStore(t *testing.T) *store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.patience)
	t.Cleanup(cancel)
	st := &store{T: t, suite: s, dir: t.TempDir(), ctx: ctx}
	return st.again()
}

// again opens the same place once more.
func (s *store) again() *store {
	s.Helper()
	a, err := s.suite.open(s.dir)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	s.Cleanup(func() { a.Close() })
	other := *s
	other.StorageAdapter = a
	return &other
}

// other is a second handle, if the adapter can have one.
func (s *store) other() *store {
	if !s.Persistent {
		return s
	}
	return s.again()
}

// make makes the store, unless the adapter has one from the start.
func (s *store) make() *store {
	s.Helper()
	s.update(func(w keystore.Writer) error {
		if !w.Header().IsZero() {
			return nil
		}
		var id keystore.StoreID
		rand.Read(id[:])
		if err := w.SetHeader(s.Header(id, 0)); err != nil {
			return err
		}
		return w.Put(keystore.MetaKey, s.Meta)
	})
	return s
}

func (s *store) update(fn func(keystore.Writer) error) {
	s.Helper()
	s.ok("Update", s.Update(s.ctx, fn))
}

func (s *store) view(fn func(keystore.Reader) error) {
	s.Helper()
	s.ok("View", s.View(s.ctx, fn))
}

func (s *store) put(k keystore.RecordKey, payload string) {
	s.Helper()
	s.update(func(w keystore.Writer) error { return w.Put(k, []byte(payload)) })
}

func (s *store) wants(k keystore.RecordKey, payload string) {
	s.Helper()
	s.view(func(r keystore.Reader) error { return holds(r, k, payload) })
}

// ok ends the test if something that must succeed did not.
func (s *store) ok(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// fails reports an error that does not wrap want.
func (s *store) fails(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// dump is the whole store.
func (s *store) dump() contents {
	s.Helper()
	var c contents
	s.view(func(r keystore.Reader) error {
		var err error
		c, err = dump(r)
		return err
	})
	return c
}

// stays reports if the store is not as it was.
func (s *store) stays(before contents, after string) {
	s.Helper()
	if now := s.dump(); !now.equal(before) {
		s.Errorf("%s the store holds %v, want %v", after, now, before)
	}
}

// contents is all that a snapshot shows.
type contents struct {
	header  keystore.Header
	records map[keystore.RecordKey]string
}

func (c contents) equal(d contents) bool {
	return sameHeader(c.header, d.header) && maps.Equal(c.records, d.records)
}

func sameHeader(a, b keystore.Header) bool {
	return a.StoreID == b.StoreID && slices.Equal(a.Slots, b.Slots)
}

func dump(r keystore.Reader) (contents, error) {
	c := contents{r.Header(), make(map[keystore.RecordKey]string)}
	keys, err := allKeys(r)
	if err != nil {
		return c, err
	}
	for _, k := range keys {
		payload, err := r.Get(k)
		if err != nil {
			return c, fmt.Errorf("a key is listed whose record cannot be got: %w", err)
		}
		c.records[k] = string(payload)
	}
	return c, nil
}

func allKeys(r keystore.Reader) ([]keystore.RecordKey, error) {
	var all []keystore.RecordKey
	for _, kind := range keystore.Kinds() {
		keys, err := collect(r, kind)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

func collect(r keystore.Reader, kind keystore.Kind, namespaces ...string) ([]keystore.RecordKey, error) {
	var keys []keystore.RecordKey
	for k, err := range r.Keys(kind, namespaces...) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func holds(r keystore.Reader, k keystore.RecordKey, payload string) error {
	got, err := r.Get(k)
	if err != nil {
		return err
	}
	if string(got) != payload {
		return fmt.Errorf("%v: got %s, want %s", k, brief(string(got)), brief(payload))
	}
	return nil
}

// brief keeps a large payload out of a test's log.
func brief(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", s[:40], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func token(name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: name}
}

// increment adds one to the number in k.
func increment(w keystore.Writer, k keystore.RecordKey) error {
	n, err := number(w, k)
	if err != nil {
		return err
	}
	return w.Put(k, []byte(strconv.Itoa(n+1)))
}

// number reads the number in k; no record is 0.
func number(r keystore.Reader, k keystore.RecordKey) (int, error) {
	payload, err := r.Get(k)
	if errors.Is(err, keystore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(payload))
}

// together runs n goroutines and reports their errors.
func (s *store) together(n int, fn func(i int) error) {
	s.Helper()
	errs := make(chan error)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
	if s.Failed() {
		s.FailNow()
	}
}

// aside runs fn in another goroutine and returns its error.
func aside(fn func() error) error {
	done := make(chan error)
	go func() { done <- fn() }()
	return <-done
}
