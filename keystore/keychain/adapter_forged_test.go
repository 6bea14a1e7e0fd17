package keychain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// indexText is the index as its editor sees it.
type indexText struct {
	Version int              `json:"globus_keys_keychain"`
	Store   string           `json:"store"`
	Slots   []map[string]any `json:"slots"`
	Records []map[string]any `json:"records"`
	Pending []map[string]any `json:"pending"`
	Retired []map[string]any `json:"retired"`
}

// forge changes the index as JSON.
func (p *place) forge(change func(*indexText)) {
	p.t.Helper()
	var text indexText
	if err := json.Unmarshal(p.bytes(), &text); err != nil {
		p.t.Fatal(err)
	}
	change(&text)
	forged, err := json.Marshal(text)
	if err != nil {
		p.t.Fatal(err)
	}
	p.edit(string(p.bytes()), string(forged))
}

func (f *indexText) record(name string) map[string]any {
	for _, r := range f.Records {
		if r["name"] == name {
			return r
		}
	}
	return nil
}

// TestSwappedRecords are both refused by name, and the third is not.
func TestSwappedRecords(t *testing.T) {
	p := made(t, change{"one": sized(2, "1"), "two": sized(2, "2"), "three": "3"})
	p.forge(func(f *indexText) {
		one, two := f.record("one"), f.record("two")
		one["generation"], two["generation"] = two["generation"], one["generation"]
	})
	err := p.open().View(t.Context(), func(r keystore.Reader) error {
		for _, name := range []string{"one", "two"} {
			if _, err := r.Get(tokenKey(name)); !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), tokenKey(name).String()) {
				t.Errorf("%s: %v, want ErrTampered with its name", name, err)
			}
		}
		_, err := r.Get(tokenKey("three"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOneGenerationForTwo: the wrong one is refused, and when it is deleted the
// items of the other stay.
func TestOneGenerationForTwo(t *testing.T) {
	p := made(t, change{"one": "1", "two": "2"})
	p.forge(func(f *indexText) { f.record("two")["generation"] = f.record("one")["generation"] })
	if _, err := p.read(); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("%v, want ErrTampered", err)
	}
	p.update(change{"two": ""})
	p.later(2 * time.Minute)
	p.update(change{"three": "3"})
	p.holds(map[string]string{"one": "1", "three": "3"})
}

// TestWrongNumberOfParts is no other record.
func TestWrongNumberOfParts(t *testing.T) {
	for parts, want := range map[int]error{1: keystore.ErrTampered, 2: keystore.ErrTampered, 4: keystore.ErrTampered, 0: keystore.ErrCorrupt, 17: keystore.ErrCorrupt} {
		p := made(t, change{"one": sized(3, "1")})
		p.forge(func(f *indexText) { f.record("one")["parts"] = parts })
		if _, err := p.read(); !errors.Is(err, want) {
			t.Errorf("%d instead of 3 parts: %v, want %v", parts, err, want)
		}
	}
}

// TestSwappedItems: parts of one record, and items of two.
func TestSwappedItems(t *testing.T) {
	p := made(t, change{"one": counted(4), "two": sized(2, "2")})
	accounts := p.accounts()
	swaps := 0
	for i, a := range accounts {
		for _, b := range accounts[:i] {
			q := p.copy(t)
			valueA, errA := q.keychain().Get(t.Context(), a)
			valueB, errB := q.keychain().Get(t.Context(), b)
			err := errors.Join(errA, errB, q.keychain().Set(a, valueB.Reveal()), q.keychain().Set(b, valueA.Reveal()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := q.read(); !errors.Is(err, keystore.ErrTampered) {
				t.Errorf("items %s and %s swapped: %v, want ErrTampered", a, b, err)
			}
			swaps++
		}
	}
	if swaps != 21 {
		t.Errorf("%d swaps of 7 items", swaps)
	}
}

// counted is sized with another text in every item, so that the envelope around
// it is whole even when two of them change places.
func counted(parts int) string {
	var b strings.Builder
	for n := 0; b.Len() < len(sized(parts, "x")); n++ {
		fmt.Fprintf(&b, "%06d", n)
	}
	return b.String()[:len(sized(parts, "x"))]
}

// TestItemsOfAnotherStore are refused, though they are the same user's.
func TestItemsOfAnotherStore(t *testing.T) {
	p := made(t, change{"one": "1"})
	before := p.accounts()
	other := strings.Replace(string(p.bytes()), testStore.String(), keystore.StoreID{9}.String(), 1)
	if err := p.open().View(t.Context(), func(keystore.Reader) error { return nil }); err != nil {
		t.Fatal(err)
	}
	p.edit(string(p.bytes()), other)
	if _, err := p.read(); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("another store's index in this place: %v, want ErrTampered", err)
	}
	entry := map[string]any{"store": keystore.StoreID{9}.String(), "generation": "0123456789abcdef", "parts": 1, "at": 1}
	for what, change := range map[string]func(*indexText){
		"record":  func(f *indexText) { f.record("one")["store"] = entry["store"] },
		"retired": func(f *indexText) { f.Retired = append(f.Retired, entry) },
		"pending": func(f *indexText) { f.Pending = append(f.Pending, entry) },
	} {
		q := made(t, change0("one"))
		q.forge(change)
		if _, err := q.read(); !errors.Is(err, keystore.ErrCorrupt) {
			t.Errorf("another store's id in a %s: %v, want ErrCorrupt", what, err)
		}
	}
	if after := p.accounts(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("items were changed")
	}
}

func change0(name string) change { return change{name: "0"} }

// TestForgedListsDeleteNothingThatIsNeeded.
func TestForgedListsDeleteNothingThatIsNeeded(t *testing.T) {
	p := made(t, change{"one": sized(2, "1"), "two": "2"})
	p.forge(func(f *indexText) {
		for _, r := range f.Records {
			entry := map[string]any{"generation": r["generation"], "parts": r["parts"], "at": 1}
			f.Pending = append(f.Pending, entry)
			f.Retired = append(f.Retired, entry, map[string]any{"generation": r["generation"], "parts": 16, "at": 0})
		}
	})
	want := map[string]string{"one": sized(2, "1"), "two": "2"}
	if err := p.open().Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	p.holds(want)
	p.update(change{"three": "3"})
	want["three"] = "3"
	p.holds(want)
	if _, litter, err := keychain.Accounts(p.bytes()); err != nil || len(litter) > 0 {
		t.Errorf("still listed: %v, %v", litter, err)
	}
}

// TestTimesOfAClockAhead do not keep items for ever, and young ones stay.
func TestTimesOfAClockAhead(t *testing.T) {
	p := made(t, change{"one": "1"})
	p.later(1000 * time.Hour)
	p.update(change{"one": "2"})
	p.later(-1000 * time.Hour)
	p.update(change{"two": "2"})
	for range 2 {
		if len(p.strays()) != 1 {
			t.Fatalf("left over: %v, want the first value", p.strays())
		}
		p.later(30 * time.Second)
		p.update(change{"two": ""})
		p.update(change{"two": "2"})
		if len(p.strays()) > 1 {
			break // by the second round it has its minute
		}
	}
	p.later(2 * time.Minute)
	if err := p.open().Sweep(t.Context()); err != nil || len(p.strays()) > 0 {
		t.Errorf("left over: %v (%v)", p.strays(), err)
	}
}

// TestNothingYoungIsSwept, not even by Sweep.
func TestNothingYoungIsSwept(t *testing.T) {
	p := made(t, change{"one": "1"})
	p.update(change{"one": "2"})
	for _, age := range []time.Duration{0, 59 * time.Second, time.Second} {
		p.later(age)
		b := p.keychain()
		if err := p.over(b).Sweep(t.Context()); err != nil || b.Calls() > 0 || len(p.strays()) != 1 {
			t.Errorf("%v, %d calls, left over: %v", err, b.Calls(), p.strays())
		}
	}
	p.later(time.Second)
	if err := p.open().Sweep(t.Context()); err != nil || len(p.strays()) != 0 {
		t.Errorf("%v, left over: %v", err, p.strays())
	}
}

// TestForgedBeginningIsNoEmptyStore: an index that says "making" where a store
// was would have the next login stored into nothing.
func TestForgedBeginningIsNoEmptyStore(t *testing.T) {
	p := made(t, change{"one": "1"})
	forged := strings.Replace(strings.Replace(unmadeIndex, "a1020300000000000000000000000000", testStore.String(), 1),
		`{"generation":"00000000000000aa","parts":2,"at":1800000000}`, "", 1)
	p.edit(string(p.bytes()), forged)
	a := p.open()
	if err := a.View(t.Context(), func(keystore.Reader) error { return nil }); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("view: %v, want ErrTampered", err)
	}
	if err := (change{"one": "2"}).create(t.Context(), a); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("make it again: %v, want ErrTampered", err)
	}
	if string(p.bytes()) != forged {
		t.Error("the index was overwritten")
	}
}

const goodIndex = `{"globus_keys_keychain": 1, "store": "a1020300000000000000000000000000", "slots": [{"kind":"keychain","item":"v1/x"}],
 "records": [
  {"namespace":"","kind":"meta","name":"store","generation":"0123456789abcdef","parts":1},
  {"namespace":"DEFAULT","kind":"token","name":"<é>","generation":"fedcba9876543210","parts":16}],
 "pending": [
  {"generation":"00000000000000aa","parts":2,"at":1800000000}],
 "retired": [
  {"generation":"00000000000000bb","parts":1,"at":0}]}
`

const unmadeIndex = `{"globus_keys_keychain": 1, "store": "a1020300000000000000000000000000", "making": true, "slots": [],
 "records": [],
 "pending": [
  {"generation":"00000000000000aa","parts":2,"at":1800000000}],
 "retired": []}
`

// TestIndexIsRead as it was written, and in no other way.
func TestIndexIsRead(t *testing.T) {
	for _, good := range []string{goodIndex, unmadeIndex} {
		if again, err := keychain.Reformat([]byte(good)); err != nil || string(again) != good {
			t.Errorf("%v\n%s", err, again)
		}
	}
	for _, oldnew := range [][2]string{
		{`"globus_keys_keychain": 1`, `"globus_keys_keychain": 2`},
		{`"globus_keys_keychain": 1`, `"globus_keys": 1`},
		{`"store": "a1`, `"store": "A1`},
		{`"store": "a1020300000000000000000000000000"`, `"store": "00000000000000000000000000000000"`},
		{`"store": "a1`, `"x": 1, "store": "a1`},
		{`"store": "a1`, `"store": "a1020300000000000000000000000000", "store": "a1`},
		{`"slots"`, `"Slots"`}, {`"records"`, `"Records"`}, {`"parts"`, `"pArts"`}, {`"at"`, `"At"`},
		{`"slots": [{"kind":"keychain","item":"v1/x"}]`, `"slots": null`},
		{`"slots": [{"kind":"keychain","item":"v1/x"}],`, ``},
		{`"kind":"keychain"`, `"kind":"passphrase"`}, {`"kind":"keychain"`, `"kind":"nowhere"`},
		{`"item":"v1/x"`, `"item":"v1/x","file":"y"`}, {`"item":"v1/x"`, `"item":""`},
		{`"kind":"token"`, `"kind":"Token"`}, {`"namespace":"DEFAULT"`, `"namespace":""`}, {`"<é>"`, `"\u0001"`},
		{`"namespace":"DEFAULT","kind":"token","name":"<é>"`, `"namespace":"","kind":"meta","name":"store"`},
		{`fedcba9876543210`, `fedcba987654321`}, {`fedcba9876543210`, `FEDCBA9876543210`}, {`fedcba9876543210`, `../cba9876543210`},
		{`fedcba9876543210`, `fedcba98765432100`}, {`fedcba9876543210`, `fedcba987654321\n`},
		{`"parts":16`, `"parts":17`}, {`"parts":16`, `"parts":0`}, {`"parts":16`, `"parts":-1`}, {`"parts":16`, `"parts":1.5`},
		{`"parts":16`, `"parts":"16"`}, {`"at":0`, `"at":-1`}, {`"at":0`, `"at":253402300800`},
		{`{"generation":"00000000000000aa"`, `{"store":"b1020300000000000000000000000000","generation":"00000000000000aa"`},
		{`{"generation":"00000000000000bb"`, `{"store":"b1020300000000000000000000000000","generation":"00000000000000bb"`},
		{`"slots": [{`, `"making": true, "slots": [{`},
		{` "retired": [`, ` "retired": null, "x": [`}, {"\n", "\n1"},
	} {
		bad := strings.Replace(goodIndex, oldnew[0], oldnew[1], 1)
		if bad == goodIndex {
			t.Fatalf("there is no %q", oldnew[0])
		}
		if _, err := keychain.Reformat([]byte(bad)); !errors.Is(err, keystore.ErrCorrupt) {
			t.Errorf("%q instead of %q: %v, want ErrCorrupt", oldnew[1], oldnew[0], err)
		}
	}
}

// TestDamagedIndexIsNeverOverwritten: cut off at any byte.
func TestDamagedIndexIsNeverOverwritten(t *testing.T) {
	p := made(t, change{"one": "1"})
	good := p.bytes()
	a := p.open()
	for n := range len(good) - 1 { // the last is a newline
		p.edit(string(p.bytes()), string(good[:n])+" ")
		cut := p.bytes()
		if err := (change{"one": "2"}).update(t.Context(), a); !errors.Is(err, keystore.ErrCorrupt) || !bytes.Equal(p.bytes(), cut) {
			t.Fatalf("cut off at byte %d: %v", n, err)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(goodIndex))
	f.Add([]byte(unmadeIndex))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := keychain.Reformat(data)
		if err != nil {
			if !errors.Is(err, keystore.ErrCorrupt) {
				t.Fatalf("refused with %v, which is not ErrCorrupt", err)
			}
			return
		}
		live, litter, err := keychain.Accounts(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, account := range append(live, litter...) {
			if err := keychain.CheckItem(account, keystore.NewSecret("x")); err != nil {
				t.Fatal(err)
			}
		}
		if twice, err := keychain.Reformat(once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("what was read cannot be written and read again: %v\n%s", err, once)
		}
	})
}
