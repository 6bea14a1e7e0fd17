package keychain_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// liar is a keychain that lies at one call.
type liar struct {
	*keychaintest.Backend
	at, calls int
	lie       lie
}

// lie is what happens in place of a call's work.
type lie struct {
	fails  bool                        // the call says that it has failed: without having done its work,
	late   bool                        // or after it
	loses  bool                        // Create says that all is well, and does nothing
	twists func(string) (string, bool) // Get returns something else, or says that there is nothing
}

var lies = map[string]lie{
	"fails":           {fails: true},
	"fails when done": {fails: true, late: true},
	"loses":           {loses: true},
	"not found":       {twists: func(string) (string, bool) { return "", false }},
	"empty":           {twists: func(string) (string, bool) { return "", true }},
	"truncated":       {twists: func(v string) (string, bool) { return v[:len(v)/2], true }},
	"without its end": {twists: func(v string) (string, bool) { return v[:len(v)-1], true }},
	"one byte else":   {twists: func(v string) (string, bool) { return strings.Replace(v, "o", "p", 1), true }},
	"another store's": {twists: func(string) (string, bool) { return keychain.FormatRecordItem(keystore.StoreID{9}, "x.0.1.x"), true }},
	"another record's": {twists: func(string) (string, bool) {
		return keychain.FormatRecordItem(testStore, "0123456789abcdef.0.1.x"), true
	}},
	"another program's": {twists: func(string) (string, bool) { return "hunter2", true }},
}

var errLie = &keychain.Problem{State: keychain.Unreachable, Detail: "the keychain has failed"}

func (b *liar) now() bool {
	b.calls++
	return b.calls == b.at
}

func (b *liar) Get(ctx context.Context, account string) (keystore.Secret, error) {
	now := b.now()
	if now && b.lie.fails {
		return keystore.Secret{}, errLie
	}
	value, err := b.Backend.Get(ctx, account)
	if !now || b.lie.twists == nil || err != nil {
		return value, err
	}
	text, found := b.lie.twists(value.Reveal())
	if !found {
		return keystore.Secret{}, &keystore.Error{Err: keystore.ErrNotFound}
	}
	return keystore.NewSecret(text), nil
}

func (b *liar) Create(ctx context.Context, account string, value keystore.Secret) error {
	now := b.now()
	if now && (b.lie.loses || b.lie.fails && !b.lie.late) {
		return b.failure()
	}
	err := b.Backend.Create(ctx, account, value)
	if now && b.lie.fails {
		return errLie
	}
	return err
}

func (b *liar) Delete(ctx context.Context, account string) error {
	now := b.now()
	if now && b.lie.fails && !b.lie.late {
		return errLie
	}
	err := b.Backend.Delete(ctx, account)
	if now && b.lie.fails {
		return errLie
	}
	return err
}

func (b *liar) failure() error {
	if b.lie.fails {
		return errLie
	}
	return nil
}

// TestEveryLieAtEveryCallOfAnUpdate: what was said to be stored is stored, and
// otherwise nothing has changed and the record is named.
func TestEveryLieAtEveryCallOfAnUpdate(t *testing.T) {
	before := change{"one": sized(2, "o"), "two": sized(3, "o")}
	from := made(t, before)
	from.update(change{"two": "t"})
	from.later(2 * time.Minute)
	state := change{"two": "t"}.apply(before)
	c := change{"new": sized(3, "o"), "one": sized(2, "o") + "!", "two": ""}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for n := 1; ; n++ {
				p := from.copy(t)
				b := &liar{Backend: p.keychain(), at: n, lie: lie}
				err := c.update(t.Context(), p.over(b))
				want := state
				if err == nil {
					want = c.apply(state)
				} else if failed++; !strings.Contains(err.Error(), `token "`) || !strings.Contains(err.Error(), p.index) {
					t.Errorf("call %d: the error names no record: %v", n, err)
				}
				p.holds(want)
				checkSwept(p, fmt.Sprint("call ", n), want)
				if b.calls < n {
					break
				}
			}
			if failed < 5 {
				t.Errorf("the Update has failed %d times only", failed)
			}
		})
	}
}

// TestEveryLieAtEveryCallOfAView costs one record, which is named.
func TestEveryLieAtEveryCallOfAView(t *testing.T) {
	want := change{"one": sized(2, "o"), "two": sized(3, "o")}
	p := made(t, want)
	for name, lie := range lies {
		for n := 1; ; n++ {
			b := &liar{Backend: p.keychain(), at: n, lie: lie}
			if lie.loses {
				break // no Create in a View
			}
			good, bad := 0, 0
			err := p.over(b).View(t.Context(), func(r keystore.Reader) error {
				good, bad = 0, 0
				for _, record := range []string{"one", "two"} {
					payload, err := r.Get(tokenKey(record))
					switch {
					case err == nil && string(payload) == `"`+want[record]+`"`:
						good++
					case err == nil:
						t.Errorf("%s at call %d: %s has a wrong value of %d bytes", name, n, record, len(payload))
					case !lie.explains(err) || !strings.Contains(err.Error(), tokenKey(record).String()):
						t.Errorf("%s at call %d: %v", name, n, err)
					default:
						bad++
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s at call %d: %v", name, n, err)
			}
			if b.calls < n {
				break
			}
			if bad != 1 || good != 1 {
				t.Errorf("%s at call %d: %d records can be read, %d not", name, n, good, bad)
			}
		}
	}
}

func (l lie) explains(err error) bool {
	if l.fails {
		return errors.Is(err, keystore.ErrUnavailable)
	}
	return (errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrTampered)) && !errors.Is(err, keystore.ErrNotFound)
}

// TestItemOfALiveRecordIsGone: that record is damaged, the others are not, and a
// new value helps.
func TestItemOfALiveRecordIsGone(t *testing.T) {
	p := made(t, change{"one": sized(2, "o"), "two": "2"})
	for _, account := range p.accounts() {
		q := p.copy(t)
		if err := q.keychain().Delete(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		lost := 0
		err := q.open().View(t.Context(), func(r keystore.Reader) error {
			for _, k := range []keystore.RecordKey{keystore.MetaKey, tokenKey("one"), tokenKey("two")} {
				if _, err := r.Get(k); errors.Is(err, keystore.ErrCorrupt) && strings.Contains(err.Error(), "has lost it") {
					lost++
				} else if err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		if err != nil || lost != 1 {
			t.Errorf("%d records are lost (%v)", lost, err)
		}
		err = q.open().Update(t.Context(), func(w keystore.Writer) error {
			_, err := w.Get(tokenKey("one"))
			return errors.Join(change{"one": "new", "two": "new"}.write(w), w.Put(keystore.MetaKey, []byte("{}")),
				unless(err == nil || errors.Is(err, keystore.ErrCorrupt), err))
		})
		if err != nil {
			t.Error(err)
		}
		q.holds(map[string]string{"one": "new", "two": "new"})
	}
}

func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

// TestSweepFailuresAreForTheNext: an Update does not fail because of them, and
// nothing is forgotten that was not confirmed.
func TestSweepFailuresAreForTheNext(t *testing.T) {
	p := made(t, change{"one": sized(3, "o")})
	p.update(change{"one": "1"})
	p.later(2 * time.Minute)
	left := len(p.strays())
	for _, failing := range []string{"delete", "probe"} {
		b := p.keychain()
		b.Before = func(call string, _ int) error {
			if call == failing {
				return errLie
			}
			return nil
		}
		if err := (change{"two": "2"}).update(t.Context(), p.over(b)); err != nil {
			t.Errorf("%s fails, and so does an Update: %v", failing, err)
		}
		if err := p.over(b).Sweep(t.Context()); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s fails, and Sweep says %v", failing, err)
		}
		p.later(2 * time.Minute)
	}
	if left != 3 || len(p.strays()) != left+1 {
		t.Errorf("there were %d strays, now %v", left, p.strays())
	}
	p.update(change{"one": "2"})
	p.later(2 * time.Minute)
	p.update(change{"one": "3"})
	if strays := p.strays(); len(strays) != 1 {
		t.Errorf("left over: %v, want what the last Update has retired", strays)
	}
}

// TestOneUpdateSweepsSoMuch and no more: somebody waits for it.
func TestOneUpdateSweepsSoMuch(t *testing.T) {
	p := made(t, nil)
	for n := range 5 {
		p.update(change{"one": sized(12, string(rune('a'+n)))})
	}
	p.later(2 * time.Minute)
	for _, want := range []int{24, 24, 0} {
		deleted := 0
		b := p.keychain()
		b.Before = func(call string, _ int) error {
			if call == "delete" {
				deleted++
			}
			return nil
		}
		if err := (change{"two": "2"}).update(t.Context(), p.over(b)); err != nil || deleted != want {
			t.Errorf("%d items were deleted (%v), want %d", deleted, err, want)
		}
	}
}

// TestBacklogStopsGrowing: Updates that fail for want of a keychain do not fill
// the index.
func TestBacklogStopsGrowing(t *testing.T) {
	p := made(t, change{"one": "1"})
	b := p.keychain()
	b.Before = func(string, int) error { return &keychain.Problem{State: keychain.Locked, Detail: "locked"} }
	a := p.over(b)
	for range keychain.MaxPending + 20 {
		p.later(2 * time.Minute)
		if err := (change{"one": "2"}).update(t.Context(), a); !errors.Is(err, keystore.ErrLocked) {
			t.Fatal(err)
		}
	}
	if _, litter, err := keychain.Accounts(p.bytes()); err != nil || len(litter) != keychain.MaxPending {
		t.Errorf("%d items are listed (%v)", len(litter), err)
	}
	if err := (change{"one": ""}).update(t.Context(), a); err != nil {
		t.Errorf("a delete needs no keychain: %v", err)
	}
	p.update(change{"one": "3"})
	if got, err := p.read(); err != nil || !maps.Equal(got, map[string]string{"one": "3"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestContextEndsAtEveryCall: the Update is whole or undone, and says which.
func TestContextEndsAtEveryCall(t *testing.T) {
	c := change{"one": sized(2, "n"), "two": "2"}
	from := made(t, change{"one": "1"})
	for n := 1; ; n++ {
		p := from.copy(t)
		ctx, cancel := context.WithCancel(t.Context())
		b := p.keychain()
		b.After = func(_ string, call int) error {
			if call == n {
				cancel()
			}
			return nil
		}
		err := c.update(ctx, p.over(b))
		cancel()
		switch {
		case err == nil:
			p.holds(c)
		case errors.Is(err, context.Canceled):
			p.holds(map[string]string{"one": "1"})
		default:
			t.Error(err)
		}
		if b.Calls() < n {
			break
		}
		if err == nil {
			t.Errorf("the context ended at call %d, before the commit, and Update returned nil", n)
		}
	}
}
