package keychain_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

var (
	_ keystore.StorageAdapter = (*keychain.Adapter)(nil)
	_ keystore.ResetAdapter   = (*keychain.Adapter)(nil)
)

// place is a store of the tests: an index, a keychain beside it, and a clock.
type place struct {
	t     testing.TB
	dir   string // holds both
	index string
	items string
	now   *atomic.Int64 // Unix time
}

func newPlace(t testing.TB) *place { return placeIn(t, t.TempDir()) }

// placeIn is the place in dir; without t it is there already.
func placeIn(t testing.TB, dir string) *place {
	p := &place{t: t, dir: dir, index: filepath.Join(dir, "store", "keychain.json"), items: filepath.Join(dir, "items"), now: new(atomic.Int64)}
	p.now.Store(1_800_000_000)
	if err := os.MkdirAll(p.items, 0o700); err != nil && t != nil {
		t.Fatal(err)
	}
	return p
}

// later moves the clock.
func (p *place) later(d time.Duration) { p.now.Add(int64(d / time.Second)) }

func (p *place) clock() time.Time { return time.Unix(p.now.Load(), 0) }

func (p *place) keychain() *keychaintest.Backend { return keychaintest.New(p.items) }

func (p *place) open() *keychain.Adapter { return p.over(p.keychain()) }

// over opens the store over a keychain with hooks.
func (p *place) over(b keychain.Backend) *keychain.Adapter {
	p.t.Helper()
	a, err := keychain.OpenAdapter(p.index, b, &keychain.AdapterOptions{Clock: p.clock})
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// copy is the same store in another place.
func (p *place) copy(t testing.TB) *place {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "store", "store/keychain.json.locks", "items"} {
		if err := os.Chmod(filepath.Join(to, dir), 0o700); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	other := placeIn(t, to)
	other.now.Store(p.now.Load())
	return other
}

func (p *place) bytes() []byte {
	p.t.Helper()
	data, err := os.ReadFile(p.index)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// edit changes the text of the index, as somebody with an editor would.
func (p *place) edit(oldnew ...string) {
	p.t.Helper()
	before := string(p.bytes())
	after := strings.NewReplacer(oldnew...).Replace(before)
	if after == before {
		p.t.Fatalf("there is no %q in the index\n%s", oldnew, before)
	}
	if err := os.WriteFile(p.index, []byte(after), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// strays returns the items that the index does not name as a record's.
func (p *place) strays() []string {
	p.t.Helper()
	live, _, err := keychain.Accounts(p.bytes())
	if err != nil {
		p.t.Fatal(err)
	}
	return slices.DeleteFunc(p.accounts(), func(a string) bool { return slices.Contains(live, a) })
}

func (p *place) accounts() []string {
	p.t.Helper()
	all, err := p.keychain().Accounts()
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

var testStore = keystore.StoreID{0xA1, 2, 3}

func header(slot string) keystore.Header {
	return keystore.Header{StoreID: testStore, Slots: []keystore.Slot{{Kind: keystore.SlotKeychain, Name: slot}}}
}

func tokenKey(name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: name}
}

// change is the content of an Update: values by name, "" deletes.
type change map[string]string

func (c change) write(w keystore.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		var err error
		if c[name] == "" {
			err = w.Delete(tokenKey(name))
		} else {
			err = w.Put(tokenKey(name), []byte(fmt.Sprintf("%q", c[name])))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c change) update(ctx context.Context, a *keychain.Adapter) error { return a.Update(ctx, c.write) }

// create makes the store with these records.
func (c change) create(ctx context.Context, a *keychain.Adapter) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		if err := w.SetHeader(header("v1/x")); err != nil {
			return err
		}
		if err := w.Put(keystore.MetaKey, []byte(`{}`)); err != nil {
			return err
		}
		return c.write(w)
	})
}

func (c change) apply(to map[string]string) map[string]string {
	after := maps.Clone(to)
	for name, value := range c {
		after[name] = value
		if value == "" {
			delete(after, name)
		}
	}
	return after
}

// made returns a place with a store.
func made(t testing.TB, records change) *place {
	t.Helper()
	p := newPlace(t)
	if err := records.create(t.Context(), p.open()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) update(c change) {
	p.t.Helper()
	if err := c.update(p.t.Context(), p.open()); err != nil {
		p.t.Fatal(err)
	}
}

// read returns all token records; nil if there is no store.
func (p *place) read() (records map[string]string, err error) { return read(p.t.Context(), p.open()) }

func read(ctx context.Context, a *keychain.Adapter) (records map[string]string, err error) {
	err = a.View(ctx, func(r keystore.Reader) error {
		records = nil
		if r.Header().IsZero() {
			return nil
		}
		records = make(map[string]string)
		if _, err := r.Get(keystore.MetaKey); err != nil {
			return err
		}
		for k, err := range r.Keys(keystore.KindToken) {
			if err != nil {
				return err
			}
			payload, err := r.Get(k)
			if err != nil {
				return err
			}
			records[k.Name] = strings.Trim(string(payload), `"`)
		}
		return nil
	})
	return records, err
}

func (p *place) holds(want map[string]string) {
	p.t.Helper()
	if got, err := p.read(); err != nil || !maps.Equal(got, want) {
		p.t.Errorf("the store holds %s (%v), want %s", brief(got), err, brief(want))
	}
}

func brief(records map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(records)) {
		value := records[name]
		fmt.Fprintf(&b, "%s: %d × %.6s… ", name, len(value), value)
	}
	return "{" + b.String() + "}"
}

// sized returns a value whose record takes this many items. Those of the
// largest have bytes that take three times their room.
func sized(parts int, letter string) string {
	room := (parts-1)*keychain.MaxText + 500
	escaped := 0
	if room > 30_000 {
		escaped = 1_800
	}
	return strings.Repeat(letter, room-3*escaped) + strings.Repeat("%", escaped)
}
