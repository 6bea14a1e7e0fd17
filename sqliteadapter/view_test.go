package sqliteadapter

import (
	"context"
	"runtime"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestKeyOfAViewThatBeginsAnew: if another key has come meanwhile it is asked for before the
// snapshot is taken, in which nothing is waited for.
func TestKeyOfAViewThatBeginsAnew(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		ok(t, "Close", s.made(t).Close())
		other, p := s.start(t), &prober{t, s, make(map[string]int)}
		a := s.openWith(t, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
			p.at("Unseal")
			return s.keys.Unseal(ctx, h, meta)
		})
		calls := 0
		err := a.View(t.Context(), func(r keystore.Reader) error {
			calls++
			if _, err := text(r, "one"); err != nil {
				return err
			}
			if calls == 1 {
				other.does("rekey " + slotB)
			}
			_, err := text(r, "two")
			return err
		})
		if err != nil || calls != 2 || p.seen["Unseal"] != 2 {
			t.Errorf("fn was called %d times, Unseal %d times: %v", calls, p.seen["Unseal"], err)
		}
	})
}

// TestDatabaseIsClosedAfterItsLastCall: a View goes on in a store that is moved aside
// meanwhile, and leaves no descriptor of it open.
func TestDatabaseIsClosedAfterItsLastCall(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		ok(t, "Close", s.made(t).Close())
		before := descriptors(t)
		a := s.open(t)
		ok(t, "View", a.View(t.Context(), func(r keystore.Reader) error {
			_, err := a.Reset(t.Context())
			ok(t, "Reset", err)
			ok(t, "join", join(t.Context(), a, "x")) // in the next store
			if got, err := text(r, "two"); err != nil || got != "2" {
				t.Errorf("two is %q (%v)", got, err)
			}
			return nil
		}))
		ok(t, "Close", a.Close())
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open, and %d were", after, before)
		}
	})
}

// TestValueThatIsTooLongIsNotRead: it costs no memory, whatever it says that it is.
func TestValueThatIsTooLongIsNotRead(t *testing.T) {
	s := newSite(t, "WAL")
	a := s.made(t)
	execute(t, s.plain(t), "UPDATE records SET age = zeroblob(50000000) WHERE name = 'two'")
	var was, is runtime.MemStats
	runtime.ReadMemStats(&was)
	_, err := get(t.Context(), a, "two")
	runtime.ReadMemStats(&is)
	fails(t, "get", err, keystore.ErrCorrupt, s.path)
	if n := is.TotalAlloc - was.TotalAlloc; n > 10<<20 {
		t.Errorf("%d bytes were allocated for it", n)
	}
}
