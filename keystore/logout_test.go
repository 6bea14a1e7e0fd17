package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// revoker is a revocation endpoint that remembers what it was sent.
type revoker struct {
	revoked []string
	err     error
	after   func() // called when it has revoked
}

func (r *revoker) revoke(_ context.Context, t keystore.Token) error {
	r.revoked = append(r.revoked, t.RefreshToken.Reveal())
	if r.after != nil {
		r.after()
	}
	return r.err
}

func (r *revoker) wants(t *testing.T, tokens ...string) {
	t.Helper()
	if fmt.Sprint(r.revoked) != fmt.Sprint(tokens) {
		t.Errorf("revoked %v, want %v", r.revoked, tokens)
	}
}

func TestLogoutRevokesThenRemoves(t *testing.T) {
	s, i := expired(t, memory.New())
	r := &revoker{after: func() {
		if _, err := s.Get(t.Context(), "rs"); err != nil {
			t.Errorf("it was removed before it was revoked: %v", err)
		}
	}}
	if err := s.Logout(t.Context(), "rs", r.revoke); err != nil {
		t.Fatal(err)
	}
	r.wants(t, "FakeRefresh0")
	if err := s.Logout(t.Context(), "rs", r.revoke); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("again: %v, want ErrNotFound", err)
	}
	if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrNotFound) || i.posts != 0 {
		t.Errorf("a refresh after it: %v, %d requests", err, i.posts)
	}
	r.wants(t, "FakeRefresh0")
}

func TestLoginStaysIfItCannotBeRevoked(t *testing.T) {
	a := memory.New()
	s, _ := expired(t, a)
	before := dump(t, a)
	r := &revoker{err: errInjected}
	if err := s.Logout(t.Context(), "rs", r.revoke); !errors.Is(err, errInjected) {
		t.Errorf("%v, want the revoker's error", err)
	}
	if !maps.Equal(before, dump(t, a)) {
		t.Error("the store has changed")
	}
	if err := s.Logout(t.Context(), "rs", nil); err != nil {
		t.Errorf("without revoking: %v", err)
	}
}

// TestLogoutLeavesNothing of a renewal that was begun and never finished, nor does
// Delete: else the next login's error would name a process that it has nothing to do
// with.
func TestLogoutLeavesNothing(t *testing.T) {
	for name, end := range map[string]func(*keystore.Store) error{
		"logout":                  func(s *keystore.Store) error { return s.Logout(t.Context(), "rs", (&revoker{}).revoke) },
		"logout without revoking": func(s *keystore.Store) error { return s.Logout(t.Context(), "rs", nil) },
		"delete":                  func(s *keystore.Store) error { return s.Delete(t.Context(), "rs") },
	} {
		t.Run(name, func(t *testing.T) {
			a := memory.New()
			s, _ := expired(t, a)
			before := len(dump(t, a))
			s.Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
				return keystore.TokenResponse{}, errInjected
			}, nil)
			if begun := len(dump(t, a)); begun != before+1 {
				t.Fatalf("%d records while it is renewed, want one more than %d", begun, before)
			}
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			for key := range dump(t, a) {
				if key.Kind == keystore.KindToken || key.Kind == keystore.KindPending {
					t.Errorf("it leaves %v", key)
				}
			}
		})
	}
}

func TestLogoutEndsAfterItsCaller(t *testing.T) {
	s, _ := expired(t, memory.New())
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Logout(ctx, "rs", (&revoker{after: cancel}).revoke); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the login is there: %v", err)
	}
}

func TestLogoutOfWhatWasRemovedMeanwhile(t *testing.T) {
	s, _ := expired(t, memory.New())
	r := &revoker{after: func() {
		if err := s.Delete(t.Context(), "rs"); err != nil {
			t.Error(err)
		}
	}}
	if err := s.Logout(t.Context(), "rs", r.revoke); err != nil {
		t.Errorf("%v, want nil: it is revoked and gone", err)
	}
}

// TestLogoutLeavesANewerLogin that is made while the old one is being revoked: once it
// is removed nobody could end it any more.
func TestLogoutLeavesANewerLogin(t *testing.T) {
	s, _ := expired(t, memory.New())
	r := &revoker{after: func() {
		if err := s.Put(t.Context(), response(fresh("FakeNewLogin"))); err != nil {
			t.Error(err)
		}
	}}
	if err := s.Logout(t.Context(), "rs", r.revoke); !errors.Is(err, keystore.ErrBusy) || !strings.Contains(err.Error(), "stored meanwhile") {
		t.Errorf("%v, want ErrBusy that says why", err)
	}
	if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeNewLogin" {
		t.Errorf("the store has %q, %v, want the new login", got.RefreshToken.Reveal(), err)
	}
	r.after = nil
	if err := s.Logout(t.Context(), "rs", r.revoke); err != nil {
		t.Errorf("again: %v", err)
	}
	r.wants(t, "FakeRefresh0", "FakeNewLogin")
}

// TestLogoutRevokesTheLatest token: it waits for the refresh that is under way.
func TestLogoutRevokesTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := expired(t, memory.New())
		r := &revoker{}
		done := make(chan error, 1)
		i.during = func() {
			go func() { done <- s.Logout(t.Context(), "rs", r.revoke) }()
			synctest.Wait() // until it waits for the lock
			r.wants(t)
		}
		if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.wants(t, "FakeRefresh1")
		if _, err := s.Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("the login is there: %v", err)
		}
	})
}

// TestNoRefreshBringsALogoutBack: it waits until the login is gone.
func TestNoRefreshBringsALogoutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := expired(t, memory.New())
		done := make(chan error, 1)
		r := &revoker{after: func() {
			go func() {
				_, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
				done <- err
			}()
			synctest.Wait()
		}}
		if err := s.Logout(t.Context(), "rs", r.revoke); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, keystore.ErrNotFound) || i.posts != 0 {
			t.Errorf("the refresh beside it: %v, %d requests", err, i.posts)
		}
	})
}

// TestLogoutOfWhatIsSpooled revokes the token that waits there, and leaves nothing.
func TestLogoutOfWhatIsSpooled(t *testing.T) {
	for name, c := range map[string]struct{ broken, heals bool }{
		"store works again":             {},
		"store is still broken":         {broken: true},
		"store works again when it was": {broken: true, heals: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpooling(t)
				s.spool()
				s.adapter.broken.Store(c.broken)
				r := &revoker{after: func() { s.adapter.broken.Store(c.broken && !c.heals) }}
				err := s.store().Logout(t.Context(), "rs", r.revoke)
				r.wants(t, "FakeRefresh1")
				if c.broken && !c.heals {
					if !errors.Is(err, keystore.ErrReadOnly) {
						t.Errorf("%v, want ErrReadOnly", err)
					}
					return
				}
				s.ok(err)
				s.holds(0)
				if _, err := s.store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
					t.Errorf("the login is there: %v", err)
				}
			})
		})
	}
}

// TestRemovalLeavesNoSpool, with or without a key.
func TestRemovalLeavesNoSpool(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *keystore.Store) error{
		"delete": func(ctx context.Context, s *keystore.Store) error { return s.Delete(ctx, "rs") },
		"logout": func(ctx context.Context, s *keystore.Store) error { return s.Logout(ctx, "rs", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpooling(t)
				s.spool()
				s.adapter.broken.Store(false)
				s.ok(remove(t.Context(), s.store()))
				s.holds(0)
			})
		})
	}
}

// TestRecoverStoresAllNamespaces, or says what keeps it from that.
func TestRecoverStoresAllNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		old := fresh("FakeRefresh1") // what the issuer takes next
		old.ExpiresAt = time.Now().Add(-time.Hour)
		s.ok(s.store().In("second").Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{old}}))
		s.spool()
		s.issuer.during = func() { s.adapter.broken.Store(true) }
		s.adapter.broken.Store(false)
		if _, err := s.store().In("second").Refresh(t.Context(), "rs", over, s.issuer.renew, nil); err != nil {
			t.Fatal(err)
		}
		s.holds(2)
		if err := s.store().Recover(t.Context()); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("while the store is broken: %v, want ErrReadOnly", err)
		}
		s.holds(2)
		s.adapter.broken.Store(false)
		s.ok(s.store().Recover(t.Context()))
		s.holds(0)
		for namespace, want := range map[string]string{"": "FakeRefresh1", "second": "FakeRefresh2"} {
			got, err := s.store().In(namespace).Get(t.Context(), "rs")
			if err != nil || got.RefreshToken.Reveal() != want {
				t.Errorf("namespace %q has %q, %v, want %q", namespace, got.RefreshToken.Reveal(), err, want)
			}
		}
		s.posted(2)
	})
}

// TestNamespacesNeverMix: the same resource server in two, one refreshed while the
// other is logged out.
func TestNamespacesNeverMix(t *testing.T) {
	for range 50 {
		s, i := expired(t, memory.New())
		other := s.In("second")
		if err := other.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{fresh("FakeSecond")}}); err != nil {
			t.Fatal(err)
		}
		r := &revoker{}
		var both sync.WaitGroup
		both.Go(func() {
			if got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
				t.Errorf("refresh: %q, %v", got.RefreshToken.Reveal(), err)
			}
		})
		both.Go(func() {
			if err := other.Logout(t.Context(), "rs", r.revoke); err != nil {
				t.Errorf("logout: %v", err)
			}
		})
		both.Wait()
		r.wants(t, "FakeSecond")
		if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("the first has %q, %v", got.RefreshToken.Reveal(), err)
		}
		if _, err := other.Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("the second: %v, want ErrNotFound", err)
		}
	}
}

// TestProbe leaves no trace, whoever else probes, and finds out what would fail.
func TestProbe(t *testing.T) {
	a := memory.New()
	s, _ := expired(t, a)
	before := dump(t, a)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := s.Probe(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if !maps.Equal(before, dump(t, a)) {
		t.Errorf("the store has changed: %v", dump(t, a))
	}
	for n := 1; ; n++ {
		f := keystoretest.FailAt(a, n, keystore.ErrReadOnly)
		err := keystore.New(f, nil).Probe(t.Context())
		if f.Failed() == "" {
			break
		}
		if !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("%s fails, and Probe says %v", f.Failed(), err)
		}
	}
	missing := &keystore.Options{Create: func(context.Context) error { return keystore.ErrLocked }}
	if err := keystore.New(memory.NewEmpty(), missing).Probe(t.Context()); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("a store that cannot be made: %v, want ErrLocked", err)
	}
}

// TestProbeLeavesARefreshAlone, whatever its resource server is called.
func TestProbeLeavesARefreshAlone(t *testing.T) {
	a := memory.New()
	s := keystore.New(a, nil)
	old := fresh("FakeRefresh0")
	old.ResourceServer, old.ExpiresAt = "login", time.Now().Add(-time.Hour)
	if err := s.Put(t.Context(), response(old)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Refresh(t.Context(), "login", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		before := dump(t, a)
		if err := s.Probe(t.Context()); err != nil || !maps.Equal(before, dump(t, a)) {
			t.Errorf("a probe has left %v of %v, %v", dump(t, a), before, err)
		}
		return keystore.TokenResponse{}, errInjected
	}, nil)
	if !errors.Is(err, errInjected) {
		t.Error(err)
	}
}
