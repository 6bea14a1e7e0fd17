package keychain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

func TestAdapterConformance(t *testing.T) {
	open := func(dir string) (keystore.StorageAdapter, error) {
		items := dir + ".keychain" // no part of what is searched for payloads
		if err := os.MkdirAll(items, 0o700); err != nil {
			return nil, err
		}
		return keychain.OpenAdapter(filepath.Join(dir, "index.json"), keychaintest.New(items), nil)
	}
	keystoretest.Run(t, open, &keystoretest.Options{MaxValue: keychain.MaxRecord, Persistent: true, Processes: true})
}

func TestOpenAdapterReadsAndMakesNothing(t *testing.T) {
	p := newPlace(t)
	b := p.keychain()
	p.over(b)
	if _, err := os.Stat(filepath.Dir(p.index)); !errors.Is(err, os.ErrNotExist) || b.Calls() > 0 {
		t.Errorf("OpenAdapter has made the directory (%v) or called the keychain %d times", err, b.Calls())
	}
	if _, err := keychain.OpenAdapter(p.index, nil, nil); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("without a keychain: %v, want ErrInvalid", err)
	}
}

// TestKeychainIsCalledOnlyForRecords: names, deletes and headers are had while
// it is locked, or gone.
func TestKeychainIsCalledOnlyForRecords(t *testing.T) {
	p := made(t, change{"one": "1", "two": "2"})
	b := p.keychain()
	a := p.over(b)
	names := 0
	err := a.View(t.Context(), func(r keystore.Reader) error {
		for range r.Keys(keystore.KindToken) {
			names++
		}
		_, err := r.Get(tokenKey("missing"))
		if r.Header().StoreID != testStore || !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("header %v, Get of what is not there %v", r.Header(), err)
		}
		return nil
	})
	err = errors.Join(err, change{"one": ""}.update(t.Context(), a))
	err = errors.Join(err, a.Update(t.Context(), func(w keystore.Writer) error { return w.SetHeader(header("v1/y")) }))
	if err != nil || names != 2 || b.Calls() != 0 {
		t.Errorf("%v, %d names, %d calls of the keychain", err, names, b.Calls())
	}
	p.holds(map[string]string{"two": "2"})
}

func TestLockedKeychainIsItsProblem(t *testing.T) {
	p := made(t, change{"one": "1"})
	before := p.bytes()
	for state, want := range map[keychain.State]error{
		keychain.Locked: keystore.ErrLocked, keychain.Absent: keystore.ErrUnavailable, keychain.Declined: keystore.ErrDeclined,
	} {
		b := p.keychain()
		b.Before = func(string, int) error { return &keychain.Problem{State: state, Detail: "so it is"} }
		_, err := read(t.Context(), p.over(b))
		for what, err := range map[string]error{"Get": err, "Put": change{"two": "2"}.update(t.Context(), p.over(b))} {
			var problem *keychain.Problem
			if !errors.Is(err, want) || !errors.As(err, &problem) || problem.State != state || !strings.Contains(err.Error(), p.index) {
				t.Errorf("%s in state %v: %v", what, state, err)
			}
		}
	}
	p.holds(map[string]string{"one": "1"})
	if bytes.Equal(before, p.bytes()) {
		t.Error("what may have been made is not listed")
	}
}

func TestNoChangeNoWrite(t *testing.T) {
	p := made(t, change{"one": "1"})
	before, err := os.Stat(p.index)
	if err != nil {
		t.Fatal(err)
	}
	for what, fn := range map[string]func(keystore.Writer) error{
		"Get":            func(w keystore.Writer) error { _, err := w.Get(tokenKey("one")); return err },
		"the same slots": func(w keystore.Writer) error { return w.SetHeader(header("v1/x")) },
		"Put and Delete": func(w keystore.Writer) error {
			return errors.Join(change{"new": "2"}.write(w), change{"new": ""}.write(w))
		},
	} {
		b := p.keychain()
		if err := p.over(b).Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
		if after, err := os.Stat(p.index); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the index was replaced (%v)", what, err)
		}
	}
}

// TestSizes: what a keychain store takes, and what it says of more.
func TestSizes(t *testing.T) {
	p := made(t, nil)
	for size, want := range map[int]bool{0: true, 2000: true, 30 << 10: true, keychain.MaxRecord - 2: true, keychain.MaxRecord - 1: false, 60<<10 - 2: false, 70 << 10: false} {
		value := strings.Repeat("x", size)
		err := p.open().Update(t.Context(), func(w keystore.Writer) error {
			return w.Put(tokenKey("big"), []byte(`"`+value+`"`))
		})
		if want {
			if err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			p.holds(map[string]string{"big": value})
		} else if !errors.Is(err, keystore.ErrTooLarge) || !strings.Contains(err.Error(), "--store file:PATH") {
			t.Errorf("%d bytes: %v, want ErrTooLarge with advice", size, err)
		}
	}
	for value, want := range map[string]bool{strings.Repeat("é", 5_000): true, strings.Repeat("日", 4_000): true, strings.Repeat("\U0001F511", 1000): true,
		strings.Repeat("é", 12_000): false, strings.Repeat("%", 13_000): false} {
		err := change{"big": value}.update(t.Context(), p.open())
		if want {
			p.holds(map[string]string{"big": value})
		}
		if want != (err == nil) || !want && !errors.Is(err, keystore.ErrTooLarge) {
			t.Errorf("%d × %.4s: %v", len(value), value, err)
		}
	}
}

// TestLargestRecordFitsEveryName: also the names that take most room.
func TestLargestRecordFitsEveryName(t *testing.T) {
	payload := []byte(`"` + strings.Repeat("~", keychain.MaxRecord-2) + `"`)
	for _, letter := range []string{"x", `"`, `\`, "%", "é", "日", "\u2028", "\U0010ffff"} {
		name := strings.Repeat(letter, keystore.MaxName/len(letter))
		name += strings.Repeat("%", keystore.MaxName-len(name))
		k := keystore.RecordKey{Namespace: name, Kind: keystore.KindAccount, Name: name}
		accounts, _, err := keychain.RecordItems(testStore, k, payload)
		if err != nil || len(accounts) > keychain.MaxParts {
			t.Errorf("%q: %d items, %v", letter, len(accounts), err)
		}
	}
}

// TestIndexHoldsNoSecret, nor does anything else beside it.
func TestIndexHoldsNoSecret(t *testing.T) {
	const canary = `secret-canary-"é"`
	p := made(t, nil)
	payload, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		for _, found := range keystoretest.FindCanary(filepath.Dir(p.index), canary) {
			t.Errorf("%s: %s", when, found)
		}
	}
	b := p.keychain()
	b.After = func(call string, n int) error {
		check(fmt.Sprint(call, n))
		if n == 4 {
			return errors.New("broken off")
		}
		return nil
	}
	for range 2 {
		p.over(b).Update(t.Context(), func(w keystore.Writer) error { return w.Put(tokenKey("x"), payload) })
	}
	check("afterwards")
	if found := keystoretest.FindCanary(p.items, "secret-canary"); len(found) == 0 {
		t.Error("the test cannot find what is there")
	}
}

func TestStoreIDCannotChange(t *testing.T) {
	p := made(t, change{"one": "1"})
	err := p.open().Update(t.Context(), func(w keystore.Writer) error {
		return w.SetHeader(keystore.Header{StoreID: keystore.StoreID{9}})
	})
	if !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	p.holds(map[string]string{"one": "1"})
}

// TestResetLeavesAllThatCanBeOpened where it is then.
func TestResetLeavesAllThatCanBeOpened(t *testing.T) {
	p := made(t, change{"one": "1"})
	a := p.open()
	moved, err := a.Reset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.read(); got != nil || err != nil {
		t.Errorf("after Reset there is %v, %v", got, err)
	}
	old, err := keychain.OpenAdapter(filepath.Join(moved, filepath.Base(p.index)), p.keychain(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), old); err != nil || got["one"] != "1" {
		t.Errorf("what was moved holds %v, %v", got, err)
	}
	err = a.Update(t.Context(), func(w keystore.Writer) error { return w.SetHeader(keystore.Header{StoreID: keystore.StoreID{9}}) })
	if err != nil {
		t.Errorf("a new store in its place: %v", err)
	}
}

func TestAdapterErrorsNameTheIndex(t *testing.T) {
	p := made(t, nil)
	if err := os.WriteFile(p.index, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func(*keychain.Adapter) error{
		"View": func(a *keychain.Adapter) error {
			return a.View(t.Context(), func(keystore.Reader) error { return nil })
		},
		"Update": change{"one": "1"}.updateIn(t),
		"Sweep":  func(a *keychain.Adapter) error { return a.Sweep(t.Context()) },
		"LockCredential": func(a *keychain.Adapter) error {
			_, err := a.LockCredential(t.Context(), tokenKey("one"))
			return err
		},
	} {
		if err := call(p.open()); !errors.Is(err, keystore.ErrCorrupt) || !strings.Contains(err.Error(), p.index) {
			t.Errorf("%s: %v, want ErrCorrupt that names %s", what, err, p.index)
		}
	}
}

func (c change) updateIn(t *testing.T) func(*keychain.Adapter) error {
	return func(a *keychain.Adapter) error { return c.update(t.Context(), a) }
}

// TestIndexHasALimit that is told before anything is made.
func TestIndexHasALimit(t *testing.T) {
	p := made(t, nil)
	b := p.keychain()
	long := strings.Repeat("\U0001F511", keystore.MaxName/4)
	err := p.over(b).Update(t.Context(), func(w keystore.Writer) error {
		for i := range keychain.MaxIndex / 1000 {
			k := keystore.RecordKey{Namespace: long, Kind: keystore.KindConfig, Name: fmt.Sprintf("%s%d", long[:400], i)}
			if err := w.Put(k, []byte("1")); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, keystore.ErrTooLarge) || b.Calls() > 0 {
		t.Errorf("%v after %d calls, want ErrTooLarge after none", err, b.Calls())
	}
	p.holds(map[string]string{})
}

func TestFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there it is the directory's access list")
	}
	p := made(t, change{"one": "1"})
	p.later(2 * time.Minute)
	p.update(change{"one": "2"})
	filepath.Walk(filepath.Dir(p.index), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if left, _ := filepath.Glob(p.index + ".bak"); len(left) > 0 {
		t.Error("there is a backup, of an index that names deleted items")
	}
}

// TestWriterSharesNoSlices: what is given and what is got is the caller's, and
// later Gets of the Update see what was put.
func TestWriterSharesNoSlices(t *testing.T) {
	p := made(t, nil)
	err := p.open().Update(t.Context(), func(w keystore.Writer) error {
		given := []byte(`"as it was"`)
		if err := w.Put(tokenKey("x"), given); err != nil {
			return err
		}
		given[1] = '#'
		for range 2 {
			got, err := w.Get(tokenKey("x"))
			if err != nil || string(got) != `"as it was"` {
				t.Errorf("%s, %v", got, err)
			}
			got[1] = '#'
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	p.holds(map[string]string{"x": "as it was"})
}
