package sqliteadapter

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// prober is asked wherever a caller may be kept waiting: by Unseal, by a Sealer, by fn.
type prober struct {
	t    *testing.T
	s    site
	seen map[string]int
}

// at checks that there is no transaction: another program can write, empty the -wal with
// that, and take the whole database, at once.
func (p *prober) at(where string) {
	p.t.Helper()
	p.seen[where]++
	other := p.s.plain(p.t)
	execute(p.t, other, "PRAGMA user_version = 1") // as it is
	var busy, pages, moved int
	err := other.QueryRowContext(p.t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err != nil || busy != 0 {
		p.t.Errorf("in %s the -wal cannot be emptied: busy=%d, %v", where, busy, err)
	}
	if _, err := other.ExecContext(p.t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		p.t.Errorf("in %s a transaction is open: %v", where, err)
		return
	}
	execute(p.t, other, "ROLLBACK")
	other.Close()
}

// unseal is the site's, and asks in all that it returns.
func (p *prober) unseal(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	p.at("Unseal")
	sealer, err := p.s.keys.Unseal(ctx, h, meta)
	return probedSealer{sealer.(keystore.Blinder), p}, err
}

type probedSealer struct {
	keystore.Blinder
	p *prober
}

func (s probedSealer) Seal(ctx context.Context, k keystore.RecordKey, payload []byte) ([]byte, error) {
	s.p.at("Seal")
	return s.Blinder.Seal(ctx, k, payload)
}

func (s probedSealer) Open(ctx context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	s.p.at("Open")
	return s.Blinder.Open(ctx, k, sealed)
}

func (s probedSealer) Blind(ctx context.Context, k keystore.RecordKey) ([32]byte, error) {
	s.p.at("Blind")
	return s.Blinder.Blind(ctx, k)
}

// TestNoTransactionWhileAnythingIsWaitedFor: not for a key, not for a Sealer, not for fn.
func TestNoTransactionWhileAnythingIsWaitedFor(t *testing.T) {
	for _, mode := range []string{"WAL", "TRUNCATE", "hidden"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			p := &prober{t, s, make(map[string]int)}
			a := s.openWith(t, p.unseal)
			err := a.View(t.Context(), func(r keystore.Reader) error {
				p.at("fn of View")
				for key, err := range r.Keys(keystore.KindToken) {
					p.at("the loop over Keys")
					if err == nil {
						_, err = r.Get(key)
					}
					ok(t, "Get", err)
				}
				p.at("fn of View")
				return nil
			})
			ok(t, "View", err)
			err = a.Update(t.Context(), func(w keystore.Writer) error {
				p.at("fn of Update")
				defer p.at("fn of Update")
				return putAll(w, map[string]string{"one": "x", "new": "y"})
			})
			ok(t, "Update", err)
			ok(t, "rekey", rekey(t.Context(), a, slotB))
			for _, where := range []string{"Unseal", "Open", "Seal", "fn of View", "the loop over Keys", "fn of Update"} {
				if p.seen[where] == 0 {
					t.Errorf("%s was never asked", where)
				}
			}
		})
	}
}

// TestViewThatBeginsAnew holds no writer up, whatever its fn waits for. Its last try is
// over a snapshot.
func TestViewThatBeginsAnew(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		calls, last := 0, map[string]int{"WAL": 2, "TRUNCATE": 5}[mode]
		err := a.View(t.Context(), func(r keystore.Reader) error {
			calls++
			before, err := text(r, "one")
			if calls < last {
				ok(t, "Get", err)
			}
			ok(t, "a put meanwhile", put(t.Context(), a, "one", time.Now().String()))
			execute(t, s.plain(t), "BEGIN IMMEDIATE", "ROLLBACK")
			after, err := text(r, "one")
			if calls == last && (err != nil || after != before) {
				t.Errorf("the snapshot changes from %q to %q (%v)", before, after, err)
			}
			return err
		})
		if err != nil || calls != last {
			t.Errorf("View has called fn %d times: %v", calls, err)
		}
	})
}

// TestViewIsCopiedOnlyInTheEnd: outside of WAL mode one Update that comes between costs
// no copy of the database.
func TestViewIsCopiedOnlyInTheEnd(t *testing.T) {
	for updates, copied := range map[int]bool{1: false, 3: false, 4: true} {
		a, calls := newSite(t, "TRUNCATE").made(t), 0
		var last source
		err := a.View(t.Context(), func(r keystore.Reader) error {
			last = r.(*reader).src
			if calls++; calls <= updates {
				ok(t, "a put meanwhile", put(t.Context(), a, "one", strconv.Itoa(calls)))
			}
			_, err := text(r, "one")
			return err
		})
		db, isDatabase := last.(*database)
		if err != nil || calls != updates+1 || isDatabase == copied || !copied && db.wal {
			t.Errorf("with %d Updates between fn was called %d times, at last over %T: %v", updates, calls, last, err)
		}
	}
}
