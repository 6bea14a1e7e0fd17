package keychain_test

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// killed is what a hook throws: no code of the adapter runs after it but what is
// deferred, as none does in a process that is killed.
type killed struct{}

// dies runs op with a keychain at whose n-th call the process dies, before or
// after the work. It reports whether op came to its end instead.
func dies(p *place, op func(context.Context, *keychain.Adapter) error, n int, after bool) (ended bool) {
	b := p.keychain()
	hook := func(_ string, call int) error {
		if call == n {
			panic(killed{})
		}
		return nil
	}
	if after {
		b.After = hook
	} else {
		b.Before = hook
	}
	defer func() {
		if thrown := recover(); thrown != nil && thrown != (killed{}) {
			panic(thrown)
		}
	}()
	if err := op(p.t.Context(), p.over(b)); err != nil {
		p.t.Errorf("without being killed: %v", err)
	}
	return true
}

// changes are the Updates that are killed, by the number of items of a record.
func changes(parts int) map[string]change {
	return map[string]change{
		"new":      {"new": sized(parts, "n")},
		"replaced": {"one": sized(parts, "r")},
		"deleted":  {"one": ""},
		"several":  {"new": sized(parts, "n"), "one": sized(parts, "r"), "two": "", "three": sized(1, "r")},
	}
}

// TestKillAtEveryKeychainCall: the store is old or new, whole; what is left over
// is swept.
func TestKillAtEveryKeychainCall(t *testing.T) {
	var kills atomic.Int64
	t.Cleanup(func() { t.Logf("%d kills", kills.Load()) })
	for parts := 1; parts <= keychain.MaxParts; parts++ {
		t.Run(fmt.Sprintf("%d items", parts), func(t *testing.T) {
			t.Parallel()
			if accounts, _, err := keychain.RecordItems(testStore, tokenKey("new"), []byte(`"`+sized(parts, "n")+`"`)); len(accounts) != parts || err != nil {
				t.Fatalf("the test's record takes %d items (%v)", len(accounts), err)
			}
			n := killEverywhere(t, parts)
			if n < int64(12*parts) { // three changes make items, each twice called for, and killed on both sides
				t.Errorf("only %d kills", n)
			}
			kills.Add(n)
		})
	}
}

func killEverywhere(t *testing.T, parts int) (kills int64) {
	before := change{"one": sized(parts, "o"), "two": sized(1, "o"), "three": sized(2, "o")}
	from := made(t, before)
	from.update(change{"two": sized(parts, "p")}) // leaves something to be swept
	state := change{"two": sized(parts, "p")}.apply(before)
	from.later(2 * time.Minute)
	for name, c := range changes(parts) {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				p := from.copy(t)
				if dies(p, c.update, n, after) {
					break
				}
				kills++
				checkKilled(p, fmt.Sprintf("%s, call %d, after %v", name, n, after), state, c.apply(state))
			}
		}
	}
	return kills
}

func checkKilled(p *place, when string, before, after map[string]string) {
	p.t.Helper()
	got, err := p.read()
	if err != nil || !maps.Equal(got, before) && !maps.Equal(got, after) {
		p.t.Fatalf("%s: the store holds %s (%v)", when, brief(got), err)
	}
	checkSwept(p, when, got)
}

// checkSwept makes Updates until nothing is left over, as few as the limit of
// one allows. want is the store then.
func checkSwept(p *place, when string, want map[string]string) {
	p.t.Helper()
	p.later(2 * time.Minute)
	_, litter, err := keychain.Accounts(p.bytes())
	if err != nil {
		p.t.Fatal(err)
	}
	last := ""
	for left := len(litter); last == "" || left > 0; left -= keychain.SweepItems - keychain.MaxParts {
		last = fmt.Sprint("next ", left)
		p.update(change{"next": last})
		p.later(2 * time.Minute)
	}
	want = change{"next": last}.apply(want)
	live, litter, err := keychain.Accounts(p.bytes())
	if err != nil {
		p.t.Fatal(err)
	}
	// What "next" was before is all that may be there, and is listed.
	if strays := p.strays(); len(strays) > 1 || len(litter) != len(strays) || len(live)+len(strays) != len(p.accounts()) {
		p.t.Fatalf("%s: %d items are left over, %d are listed", when, len(strays), len(litter))
	}
	p.holds(want)
}

// TestOneUpdateSweepsAKilledOne, if it has not left too much.
func TestOneUpdateSweepsAKilledOne(t *testing.T) {
	from := made(t, change{"one": sized(3, "o")})
	for n := 1; ; n++ {
		p := from.copy(t)
		ended := dies(p, change{"one": sized(4, "r")}.update, n, true)
		p.later(2 * time.Minute)
		p.update(change{"next": "5"})
		if strays := p.strays(); len(strays) > 0 {
			t.Errorf("killed after call %d: %v are left over", n, strays)
		}
		if ended {
			break
		}
	}
}

// TestKillWhileAStoreIsMade: there is none, or a whole one, and the next to make
// one sweeps.
func TestKillWhileAStoreIsMade(t *testing.T) {
	content := change{"one": sized(3, "o")}
	for _, id := range []keystore.StoreID{testStore, {7}} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				p := newPlace(t)
				if dies(p, content.create, n, after) {
					break
				}
				if got, err := p.read(); got != nil || err != nil {
					t.Fatalf("killed at call %d: there is %s, %v", n, brief(got), err)
				}
				if _, err := p.open().LockCredential(t.Context(), tokenKey("x")); err == nil {
					t.Error("a store that is not made has credentials")
				}
				err := p.open().Update(t.Context(), func(w keystore.Writer) error {
					if err := w.Put(tokenKey("x"), []byte("1")); err == nil {
						t.Error("a store that is not made takes records")
					}
					if err := w.SetHeader(keystore.Header{StoreID: id}); err != nil {
						return err
					}
					return w.Put(keystore.MetaKey, []byte("{}"))
				})
				if err != nil {
					t.Fatalf("making it again: %v", err)
				}
				if id == testStore { // items of an id that nobody has any more stay where they are
					checkSwept(p, fmt.Sprintf("killed at call %d", n), map[string]string{})
				} else {
					p.holds(map[string]string{})
				}
			}
		}
	}
}

// TestSweepKilled at every call: nothing but litter is gone.
func TestSweepKilled(t *testing.T) {
	from := made(t, change{"one": "1", "two": sized(2, "t")})
	from.update(change{"one": sized(3, "2")})
	from.update(change{"one": "3", "two": ""})
	from.later(2 * time.Minute)
	sweep := func(ctx context.Context, a *keychain.Adapter) error { return a.Sweep(ctx) }
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			p := from.copy(t)
			if dies(p, sweep, n, after) {
				if n < 6 {
					t.Errorf("Sweep has made %d calls only", n-1)
				}
				break
			}
			p.holds(map[string]string{"one": "3"})
			checkSwept(p, fmt.Sprint("call ", n), map[string]string{"one": "3"})
		}
	}
}
