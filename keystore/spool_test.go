package keystore_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// sealed is memory that has a Sealer, and that cannot be written while it is broken.
type sealed struct {
	keystore.StorageAdapter
	id     keystore.StoreID
	sealer keystore.Sealer
	broken atomic.Bool
	fails  error        // with which it is broken; nil: ErrReadOnly
	heals  atomic.Int64 // Updates that fail until it is whole by itself; 0: never
}

func (a *sealed) Sealer(context.Context) (keystore.StoreID, keystore.Sealer, error) {
	return a.id, a.sealer, nil
}

func (a *sealed) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if a.broken.Load() {
		if a.heals.Load() > 0 && a.heals.Add(-1) == 0 {
			a.broken.Store(false)
		}
		return &keystore.Error{Err: cmp.Or(a.fails, keystore.ErrReadOnly)}
	}
	return a.StorageAdapter.Update(ctx, fn)
}

func (a *sealed) Close() error { return nil }

// spooling is a store whose token is over, with a spool, and its issuer.
type spooling struct {
	*testing.T
	adapter *sealed
	issuer  *renewer
	runtime string // the runtime directory

	mu       sync.Mutex
	warnings []string // guarded by mu
}

func newSpooling(t *testing.T) *spooling {
	t.Helper()
	m := memory.New()
	s := &spooling{T: t, adapter: &sealed{StorageAdapter: m}, runtime: t.TempDir()}
	s.ok(m.View(t.Context(), func(r keystore.Reader) error { s.adapter.id = r.Header().StoreID; return nil }))
	s.adapter.sealer = newSealer(t, s.adapter.id)
	_, s.issuer = expired(t, s.adapter)
	return s
}

func newSealer(t *testing.T, id keystore.StoreID) keystore.Sealer {
	t.Helper()
	key, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(key, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func (s *spooling) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *spooling) dir() spool.Dir {
	return spool.Dir{Getenv: func(string) string { return s.runtime }}
}

// place is the directory of the spool's, which is there then.
func (s *spooling) place() string {
	s.Helper()
	dir, err := rundir.Make(s.dir().Getenv)
	s.ok(err)
	return dir
}

// plant puts a file in the place of that directory.
func (s *spooling) plant() {
	s.Helper()
	dir := s.place()
	s.ok(os.Remove(dir))
	s.ok(os.WriteFile(dir, nil, 0o600))
}

// store is another process's.
func (s *spooling) store() *keystore.Store {
	return keystore.New(s.adapter, &keystore.Options{Spool: s.dir(), Warn: func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.warnings = append(s.warnings, err.Error())
	}})
}

func (s *spooling) refresh(store *keystore.Store, stale func(keystore.Token) bool) (string, error) {
	t, err := store.Refresh(s.Context(), "rs", stale, s.issuer.renew, nil)
	return t.RefreshToken.Reveal(), err
}

// spool makes a refresh whose answer cannot be stored.
func (s *spooling) spool() {
	s.Helper()
	s.issuer.during = func() { s.adapter.broken.Store(true) }
	got, err := s.refresh(s.store(), over)
	if err != nil || got != "FakeRefresh1" {
		s.Fatalf("the one who refreshed has got %q, %v", got, err)
	}
	s.issuer.during = nil
	s.holds(1)
}

// holds checks how many answers are in the spool, and that they show no token.
func (s *spooling) holds(want int) {
	s.Helper()
	keys, err := s.dir().Keys(s.Context(), s.adapter.id)
	if err != nil || len(keys) != want {
		s.Errorf("the spool has %v, %v, want %d", keys, err, want)
	}
	for _, canary := range []string{"FakeRefresh", "FakeAccess"} {
		for _, found := range keystoretest.FindCanary(s.runtime, canary) {
			s.Errorf("the spool shows a token: %s", found)
		}
	}
}

func (s *spooling) warned(about string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(strings.Join(s.warnings, "\n"), about) {
		s.Errorf("warned of %q, want something about %q", s.warnings, about)
	}
}

func (s *spooling) posted(want int) {
	s.Helper()
	if s.issuer.posts != want || s.issuer.reused != 0 {
		s.Errorf("%d requests, %d of them with a spent token, want %d and 0", s.issuer.posts, s.issuer.reused, want)
	}
}

// TestAnswerThatCannotBeStoredIsSpooled, and stored by the next who needs it.
func TestAnswerThatCannotBeStoredIsSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		began := time.Now()
		s.spool()
		if took := time.Since(began); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("the store was tried for %v, want some 10 s", took)
		}
		s.warned("kept in the spool")
		s.adapter.broken.Store(false)
		if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
			t.Errorf("the next has got %q, %v", got, err)
		}
		if got, err := s.store().Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("the store has %q, %v", got.RefreshToken.Reveal(), err)
		}
		s.posted(1)
		s.holds(0)
	})
}

// TestAnswerOutlivesAStoreThatIsDamaged meanwhile: the user may restore it, at once or
// later.
func TestAnswerOutlivesAStoreThatIsDamaged(t *testing.T) {
	for _, damage := range []error{keystore.ErrTampered, keystore.ErrCorrupt, keystore.ErrNoSeal, keystore.ErrInvalid} {
		for when, tries := range map[string]int64{"at once": 3, "later": 0} {
			t.Run(damage.Error()+", restored "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSpooling(t)
					s.adapter.fails = damage
					s.adapter.heals.Store(tries)
					s.issuer.during = func() { s.adapter.broken.Store(true) }
					if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
						t.Errorf("the one who refreshed has got %q, %v", got, err)
					}
					s.issuer.during = nil
					if tries == 0 {
						s.holds(1)
						s.warned("kept in the spool")
					}
					s.adapter.broken.Store(false)
					if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
						t.Errorf("restored: %q, %v", got, err)
					}
					s.posted(1)
					s.holds(0)
				})
			})
		}
	}
}

// TestAnswerWithoutRefreshTokenIsNotKept: a client can log in again, and nothing would
// tell later that a person's login is not what it was for.
func TestAnswerWithoutRefreshTokenIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.ok(s.store().Delete(t.Context(), "rs"))
		own := fresh("")
		own.AccessToken, own.ClientID, own.ExpiresAt = keystore.NewSecret("FakeOld"), "service", time.Now().Add(-time.Hour)
		s.ok(s.store().Put(t.Context(), response(own)))
		own.AccessToken, own.ExpiresAt = keystore.NewSecret("FakeLost"), time.Now().Add(48*time.Hour).Truncate(time.Second)
		began := time.Now()
		_, err := s.store().Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
			s.adapter.broken.Store(true)
			return response(own), nil
		}, nil)
		if took := time.Since(began); !errors.Is(err, keystore.ErrReadOnly) || took < 10*time.Second || took > 20*time.Second {
			t.Errorf("%v after %v, want ErrReadOnly after some 10 s", err, took)
		}
		s.holds(0)
		s.adapter.broken.Store(false)
		person := fresh("")
		person.AccessToken = keystore.NewSecret("FakePersons")
		s.ok(s.store().Put(t.Context(), response(person)))
		s.ok(s.store().Recover(t.Context()))
		got, err := s.store().Refresh(t.Context(), "rs", over, s.issuer.renew, nil) // which nobody has locked
		if err != nil || got.AccessToken.Reveal() != "FakePersons" {
			t.Errorf("the store has %q, %v, want the person's login", got.AccessToken.Reveal(), err)
		}
		s.posted(0)
	})
}

// TestSpooledWithoutRefreshToken, as by who did keep such an answer, replaces nothing.
func TestSpooledWithoutRefreshToken(t *testing.T) {
	s := newSpooling(t)
	person := fresh("")
	person.AccessToken = keystore.NewSecret("FakePersons")
	s.ok(errors.Join(s.store().Delete(t.Context(), "rs"), s.store().Put(t.Context(), response(person))))
	others := memory.New()
	client := fresh("")
	client.AccessToken, client.ExpiresAt = keystore.NewSecret("FakeClients"), person.ExpiresAt.Add(time.Hour)
	s.ok(keystore.New(others, nil).Put(t.Context(), response(client)))
	key := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindPending, Name: "rs"}
	data, err := s.adapter.sealer.Seal(t.Context(), key, fmt.Appendf(nil, `{"began":1,"pid":1,"spent":"%x","answer":%s}`,
		sha256.Sum256(nil), dump(t, others)[keyOf("rs")]))
	s.ok(err)
	s.ok(s.dir().Save(t.Context(), s.adapter.id, key, data))
	s.ok(s.store().Recover(t.Context()))
	if got, err := s.store().Get(t.Context(), "rs"); err != nil || got.AccessToken.Reveal() != "FakePersons" {
		t.Errorf("the store has %q, %v, want the person's login", got.AccessToken.Reveal(), err)
	}
	s.holds(0)
}

// TestAnswerIsSpooledWithTheKeyOfThatMoment: another process has given the store
// another one since the refresh began.
func TestAnswerIsSpooledWithTheKeyOfThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.issuer.during = func() {
			s.adapter.sealer = newSealer(t, s.adapter.id)
			s.adapter.broken.Store(true)
		}
		if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
			t.Errorf("the one who refreshed has got %q, %v", got, err)
		}
		s.issuer.during = nil
		s.adapter.broken.Store(false)
		if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
			t.Errorf("the next has got %q, %v", got, err)
		}
		s.posted(1)
		s.holds(0)
	})
}

// TestTokenInTheSpoolIsServed while the store cannot be written; what is stored has
// been spent for it, and is not spent again.
func TestTokenInTheSpoolIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.spool()
		for range 2 {
			if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
				t.Errorf("got %q, %v, want what is in the spool", got, err)
			}
		}
		s.adapter.heals.Store(1) // between the look into the spool and the next Update
		stale := func(keystore.Token) bool { return true }
		if _, err := s.refresh(s.store(), stale); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("%v, want ErrReadOnly", err)
		}
		s.posted(1)
		if got, err := s.refresh(s.store(), stale); err != nil || got != "FakeRefresh2" {
			t.Errorf("when the store was written again: %q, %v", got, err)
		}
		s.posted(2)
	})
}

// TestSpooledAnswerSaysLittle: what an issuer leaves out is what it was. So the token
// that waits in the spool can be renewed, and a logout knows what to revoke.
func TestSpooledAnswerSaysLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.issuer.during = func() { s.adapter.broken.Store(true) }
		omits := func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
			r, err := s.issuer.renew(ctx, old)
			bare := keystore.Token{ResourceServer: "rs", AccessToken: r.Tokens[0].AccessToken, ExpiresAt: r.Tokens[0].ExpiresAt}
			return keystore.TokenResponse{Tokens: []keystore.Token{bare}}, err
		}
		for _, who := range []string{"the one who refreshed", "the next"} {
			got, err := s.store().Refresh(t.Context(), "rs", over, omits, nil)
			if err != nil || got.AccessToken.Reveal() != "FakeAccessOfFakeRefresh1" || got.RefreshToken.Reveal() != "FakeRefresh0" ||
				!got.Renewable() || got.Scope != "all" {
				t.Errorf("%s has got %+v, %v", who, got, err)
			}
		}
		s.posted(1)
		r := &revoker{}
		if err := s.store().Logout(t.Context(), "rs", r.revoke); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("%v, want ErrReadOnly", err)
		}
		r.wants(t, "FakeRefresh0")
	})
}

// TestSpoolThatIsOfNoUse is discarded, and refreshes go on.
func TestSpoolThatIsOfNoUse(t *testing.T) {
	pendingOf := func(name string) keystore.RecordKey {
		return keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindPending, Name: name}
	}
	plant := func(s *spooling, sealed []byte) {
		s.ok(s.dir().Save(s.Context(), s.adapter.id, pendingOf("rs"), sealed))
	}
	spooled := func(s *spooling) []byte {
		data, err := s.dir().Load(s.Context(), s.adapter.id, pendingOf("rs"))
		s.ok(err)
		return data
	}
	file := func(s *spooling) string {
		found, err := filepath.Glob(filepath.Join(s.place(), "spool", "*", "*.json"))
		if err != nil || len(found) != 1 {
			s.Fatalf("the spool has %v, %v", found, err)
		}
		return found[0]
	}
	for name, c := range map[string]struct {
		spoil   func(*spooling)
		warning string
	}{
		"damaged": {func(s *spooling) { plant(s, bytes.Repeat([]byte("x"), 400)) }, "a renewed token in the spool is lost"},
		"changed": {func(s *spooling) {
			data := spooled(s)
			data[len(data)-1] ^= 1
			plant(s, data)
		}, "a renewed token in the spool is lost"},
		"of another store": {func(s *spooling) {
			data, err := newSealer(s.T, s.adapter.id).Seal(s.Context(), pendingOf("rs"), []byte(`{}`))
			s.ok(err)
			plant(s, data)
		}, "a renewed token in the spool is lost"},
		"of another place": {func(s *spooling) {
			data, err := s.adapter.sealer.Seal(s.Context(), pendingOf("other"), []byte(`{}`))
			s.ok(err)
			plant(s, data)
		}, "a renewed token in the spool is lost"},
		"without an answer": {func(s *spooling) {
			data, err := s.adapter.sealer.Seal(s.Context(), pendingOf("rs"), []byte(`{"began": 1, "pid": 1, "spent": ""}`))
			s.ok(err)
			plant(s, data)
		}, "a renewed token in the spool is lost"},
		"not the spool's file": {func(s *spooling) { s.ok(os.WriteFile(file(s), []byte("{}{}"), 0o600)) }, "the spool cannot be used"},
		"too large":            {func(s *spooling) { s.ok(os.WriteFile(file(s), make([]byte, 1<<20), 0o600)) }, "the spool cannot be used"},
		"a directory": {func(s *spooling) {
			path := file(s)
			s.ok(os.Remove(path))
			s.ok(os.MkdirAll(filepath.Join(path, "full"), 0o700))
		}, "is a directory, not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpooling(t)
				s.spool()
				s.adapter.broken.Store(false)
				s.issuer.alive = "FakeRefresh0" // the answer is lost, the login is not
				c.spoil(s)
				if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh2" {
					t.Errorf("got %q, %v, want that refreshes go on", got, err)
				}
				s.posted(2)
				s.warned(c.warning)
				if c.warning == "a renewed token in the spool is lost" {
					s.holds(0)
				}
			})
		})
	}
}

// TestSpoolOfAnotherRefreshToken was left by who renewed a login that is gone: the
// new login stays. Nobody needs to hear of that.
func TestSpoolOfAnotherRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.spool()
		s.adapter.broken.Store(false)
		s.mu.Lock()
		s.warnings = nil
		s.mu.Unlock()
		s.ok(s.store().Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{fresh("FakeNewLogin")}}))
		if got, err := s.refresh(s.store(), over); err != nil || got != "FakeNewLogin" {
			t.Errorf("got %q, %v, want the new login", got, err)
		}
		s.posted(1)
		s.holds(0)
		if len(s.warnings) != 0 {
			t.Errorf("warned of %q", s.warnings)
		}
	})
}

// TestSpoolOlderThanTheStore: where the refresh token stays the same, the later
// answer stays; where it rotates, a clock that was wrong costs no login.
func TestSpoolOlderThanTheStore(t *testing.T) {
	for name, rotates := range map[string]bool{"static": false, "rotating": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpooling(t)
				later := fresh("FakeRefresh0")
				later.AccessToken = keystore.NewSecret("FakeLater")
				later.ExpiresAt = time.Now().Add(10 * 365 * 24 * time.Hour).Truncate(time.Second)
				s.ok(s.store().Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{later}}))
				s.issuer.during = func() { s.adapter.broken.Store(true) }
				renew := s.issuer.renew
				if !rotates {
					renew = func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
						r, err := s.issuer.renew(ctx, old)
						r.Tokens[0].RefreshToken = old.RefreshToken
						return r, err
					}
				}
				first := later.AccessToken
				_, err := s.store().Refresh(t.Context(), "rs", func(t keystore.Token) bool { return t.AccessToken.Equal(first) }, renew, nil)
				s.ok(err)
				s.adapter.broken.Store(false)
				s.ok(s.store().Recover(t.Context()))
				got, err := s.store().Get(t.Context(), "rs")
				s.ok(err)
				if isLater := got.AccessToken.Equal(first); isLater == rotates {
					t.Errorf("the store has the refresh token %q, the later one: %v", got.RefreshToken.Reveal(), isLater)
				}
				s.holds(0)
			})
		})
	}
}

// TestNoSpoolAtAll: whoever plants something there stops nobody as long as the
// store can be written.
func TestNoSpoolAtAll(t *testing.T) {
	s := newSpooling(t)
	s.plant()
	if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
		t.Errorf("got %q, %v", got, err)
	}
	s.posted(1)
	s.warned("is a file, not a directory")
	s.ok(s.store().Recover(t.Context()))
	s.ok(s.store().Delete(t.Context(), "rs"))
}

// badSpool is one that fails in one way.
type badSpool struct {
	keystore.Spool
	err error
}

func (b badSpool) Load(context.Context, keystore.StoreID, keystore.RecordKey) ([]byte, error) {
	return nil, b.err
}

func (b badSpool) Keys(context.Context, keystore.StoreID) ([]keystore.RecordKey, error) {
	return nil, b.err
}

// TestSpoolThatFails: one that nobody can use stops no refresh, and is warned of. One
// that may hold an answer and cannot be read just now does: what is stored may have
// been spent for that.
func TestSpoolThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		stops bool
	}{
		"tampered with":    {keystore.ErrTampered, false},
		"damaged":          {keystore.ErrCorrupt, false},
		"too large":        {keystore.ErrTooLarge, false},
		"read-only":        {keystore.ErrReadOnly, false},
		"nowhere":          {keystore.ErrUnavailable, false},
		"not permitted":    {os.ErrPermission, false},
		"a disk that errs": {errInjected, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpooling(t)
			store := keystore.New(s.adapter, &keystore.Options{Spool: badSpool{s.dir(), c.err}, Warn: func(err error) {
				s.warnings = append(s.warnings, err.Error())
			}})
			for doing, do := range map[string]func() error{
				"recover": func() error { return store.Recover(t.Context()) },
				"refresh": func() error { _, err := s.refresh(store, over); return err },
			} {
				if err := do(); errors.Is(err, c.err) != c.stops || (err != nil) != c.stops {
					t.Errorf("%s: %v; is it to stop: %v", doing, err, c.stops)
				}
			}
			if c.stops {
				s.posted(0)
				return
			}
			s.posted(1)
			s.warned("the spool cannot be used")
		})
	}
}

// TestSpoolsAreMadeWhenNeeded: refreshes that go well leave no trace there.
func TestSpoolsAreMadeWhenNeeded(t *testing.T) {
	s := newSpooling(t)
	if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
		t.Errorf("got %q, %v", got, err)
	}
	if found, err := os.ReadDir(s.runtime); err != nil || len(found) != 0 {
		t.Errorf("the runtime directory has %v, %v", found, err)
	}
}

// TestAnswerIsHeldWhereThereIsNoSpool: the caller is told, others are kept out, and
// it is stored as soon as that works.
func TestAnswerIsHeldWhereThereIsNoSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.plant()
		s.issuer.during = func() { s.adapter.broken.Store(true) }
		holder := s.store()
		told := make(chan keystore.Token, 1)
		_, err := holder.Refresh(t.Context(), "rs", over, s.issuer.renew, func(t keystore.Token) { told <- t })
		if !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(err.Error(), "this process keeps it") {
			t.Errorf("%v, want that the token is stored nowhere yet", err)
		}
		if _, err := s.refresh(s.store(), over); !errors.Is(err, keystore.ErrBusy) {
			t.Errorf("another gets %v, want ErrBusy", err)
		}
		s.adapter.broken.Store(false)
		if got := <-told; got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("stored %q", got.RefreshToken.Reveal())
		}
		if got, err := s.refresh(s.store(), over); err != nil || got != "FakeRefresh1" {
			t.Errorf("then another gets %q, %v", got, err)
		}
		s.posted(1)
		s.ok(holder.Close())
	})
}

// TestCloseEndsTheHolding of an answer, and says that it is lost.
func TestCloseEndsTheHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.plant()
		s.issuer.during = func() { s.adapter.broken.Store(true) }
		holder := s.store()
		if _, err := s.refresh(holder, over); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("%v, want ErrReadOnly", err)
		}
		s.ok(holder.Close())
		s.warned("is lost")
		s.adapter.broken.Store(false)
		_, err := s.refresh(s.store(), over)
		if !errors.Is(err, keystore.ErrLoginRequired) || !strings.Contains(err.Error(), "began to renew it at") {
			t.Errorf("%v, want ErrLoginRequired that says who has spent it", err)
		}
	})
}

// TestCloseWaitsForWhoHasBegun and lets nobody begin: no answer comes to a store
// that is closed.
func TestCloseWaitsForWhoHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := expired(t, memory.New())
		closed := make(chan error, 1)
		i.during = func() {
			go func() { closed <- s.Close() }()
			synctest.Wait()
			if _, err := s.In("another").Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("a refresh beside Close: %v, want ErrUnavailable", err)
			}
			if err := s.In("another").Logout(t.Context(), "rs", nil); !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("a logout beside Close: %v, want ErrUnavailable", err)
			}
		}
		if got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("the one under way: %v", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// TestPanicIsTheCallersOwn, and no lock is held after it.
func TestPanicIsTheCallersOwn(t *testing.T) {
	for name, refresh := range map[string]func(*keystore.Store, *renewer){
		"renew": func(s *keystore.Store, _ *renewer) {
			s.Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) { panic("by the test") }, nil)
		},
		"stored": func(s *keystore.Store, i *renewer) {
			s.Refresh(t.Context(), "rs", over, i.renew, func(keystore.Token) { panic("by the test") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, i := expired(t, memory.New())
			func() {
				defer func() {
					if got := recover(); got != "by the test" {
						t.Errorf("the caller has recovered %v", got)
					}
				}()
				refresh(s, i)
			}()
			if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil || i.posts != 1 {
				t.Errorf("the next: %v after %d requests", err, i.posts)
			}
		})
	}
}

// TestLoginBeforeTheRequestWins: it came between the look and the announcement.
func TestLoginBeforeTheRequestWins(t *testing.T) {
	a := &before{StorageAdapter: memory.New()}
	s, i := expired(t, a)
	a.update = func() {
		a.update = nil
		if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{fresh("FakeNewLogin")}}); err != nil {
			t.Error(err)
		}
	}
	got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
	if err != nil || got.RefreshToken.Reveal() != "FakeNewLogin" || i.posts != 0 {
		t.Errorf("got %q, %v after %d requests, want the new login after none", got.RefreshToken.Reveal(), err, i.posts)
	}
}

// before calls update before the next Update.
type before struct {
	keystore.StorageAdapter
	update func()
}

func (b *before) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if b.update != nil {
		b.update()
	}
	return b.StorageAdapter.Update(ctx, fn)
}

// TestTimesOfARefreshAreItsOwn, also if the clock was ahead before: else the token
// would be taken for one from the future for ever.
func TestTimesOfARefreshAreItsOwn(t *testing.T) {
	s := keystore.New(memory.New(), nil)
	ahead := fresh("FakeRefresh0")
	ahead.Used, ahead.LoggedIn = start.Add(1000*time.Hour), start.Add(1000*time.Hour)
	next := fresh("FakeRefresh1")
	next.Used = start
	for _, token := range []keystore.Token{ahead, next} {
		if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{token}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Get(t.Context(), "rs")
	if err != nil || !got.Used.Equal(start) || !got.LoggedIn.Equal(ahead.LoggedIn) {
		t.Errorf("used at %v, logged in at %v, %v", got.Used, got.LoggedIn, err)
	}
}
