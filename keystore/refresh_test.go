package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// renewer is a token endpoint that rotates refresh tokens: a spent one is dead.
type renewer struct {
	mu     sync.Mutex
	alive  string // the refresh token that it takes; guarded by mu
	posts  int
	reused int
	during func() // called while the answer is under way
}

var errSpent = fmt.Errorf("invalid_grant: %w", keystore.ErrLoginRequired)

func (i *renewer) renew(_ context.Context, old keystore.Token) (keystore.TokenResponse, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.posts++
	if old.RefreshToken.Reveal() != i.alive {
		i.reused++
		return keystore.TokenResponse{}, errSpent
	}
	i.alive = fmt.Sprintf("FakeRefresh%d", i.posts)
	if i.during != nil {
		i.during()
	}
	return keystore.TokenResponse{Tokens: []keystore.Token{fresh(i.alive)}}, nil
}

func fresh(refresh string) keystore.Token {
	return keystore.Token{
		ResourceServer: "rs", Scope: "all", Issuer: "https://issuer.example", ClientID: "client",
		AccessToken: keystore.NewSecret("FakeAccessOf" + refresh), RefreshToken: keystore.NewSecret(refresh),
		ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second),
	}
}

// expired returns a store whose token is over, and its issuer.
func expired(t *testing.T, adapter keystore.StorageAdapter) (*keystore.Store, *renewer) {
	t.Helper()
	s := keystore.New(adapter, nil)
	old := fresh("FakeRefresh0")
	old.ExpiresAt = time.Now().Add(-time.Hour)
	if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{old}}); err != nil {
		t.Fatal(err)
	}
	return s, &renewer{alive: "FakeRefresh0"}
}

func over(t keystore.Token) bool { return t.Expired(time.Now()) }

func TestRefreshIsMadeOnce(t *testing.T) {
	s, i := expired(t, memory.New())
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
			if err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if i.posts != 1 || i.reused != 0 {
		t.Errorf("%d requests, %d of them with a spent token, want 1 and 0", i.posts, i.reused)
	}
}

func TestFreshTokenIsNotRenewed(t *testing.T) {
	s, i := expired(t, memory.New())
	for range 2 {
		if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil {
			t.Fatal(err)
		}
	}
	if i.posts != 1 {
		t.Errorf("%d requests, want 1", i.posts)
	}
	if _, err := s.Refresh(t.Context(), "other", over, i.renew, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("no such login: %v, want ErrNotFound", err)
	}
}

// TestAnswerIsStoredWithoutItsCaller: who asked has gone, and the program ends.
func TestAnswerIsStoredWithoutItsCaller(t *testing.T) {
	adapter := memory.New()
	s, i := expired(t, keepOpen{adapter})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	i.during = func() {
		cancel()
		<-gone
	}
	if _, err := s.Refresh(ctx, "rs", over, i.renew, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller gets %v, want that he has gone", err)
	}
	close(gone)
	s.Close()
	got, err := keystore.New(adapter, nil).Get(t.Context(), "rs")
	if err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
		t.Errorf("after Close the store has %v, %v", got.RefreshToken.Reveal(), err)
	}
}

// keepOpen is an adapter that another Store goes on using.
type keepOpen struct{ keystore.StorageAdapter }

func (keepOpen) Close() error { return nil }

func TestLogoutDuringARefreshStays(t *testing.T) {
	s, i := expired(t, memory.New())
	i.during = func() {
		if err := s.Delete(t.Context(), "rs"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if _, err := s.Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the login is back: %v", err)
	}
}

func TestLoginDuringARefreshWins(t *testing.T) {
	s, i := expired(t, memory.New())
	i.during = func() {
		if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{fresh("FakeNewLogin")}}); err != nil {
			t.Error(err)
		}
	}
	got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
	if err != nil || got.RefreshToken.Reveal() != "FakeNewLogin" {
		t.Errorf("got %q, %v, want the new login", got.RefreshToken.Reveal(), err)
	}
	if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeNewLogin" {
		t.Errorf("the store has %q, %v, want the new login", got.RefreshToken.Reveal(), err)
	}
}

// TestLoginWithoutRefreshTokenWins too: one that a client makes with its secret.
func TestLoginWithoutRefreshTokenWins(t *testing.T) {
	s := keystore.New(memory.New(), nil)
	put := func(access string, ends time.Duration) {
		token := fresh("")
		token.AccessToken, token.ExpiresAt = keystore.NewSecret(access), time.Now().Add(ends)
		if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{token}}); err != nil {
			t.Error(err)
		}
	}
	put("FakeOld", -time.Hour)
	got, err := s.Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		put("FakeNewLogin", time.Hour)
		late := fresh("")
		late.AccessToken = keystore.NewSecret("FakeLate")
		return keystore.TokenResponse{Tokens: []keystore.Token{late}}, nil
	}, func(keystore.Token) { t.Error("the hook is told of what was not stored") })
	if err != nil || got.AccessToken.Reveal() != "FakeNewLogin" {
		t.Errorf("got %q, %v, want the new login", got.AccessToken.Reveal(), err)
	}
}

// TestAnswerOfAnotherAccount is refused at once: neither stored, nor kept for later.
func TestAnswerOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memory.New()
		s, i := expired(t, a)
		owned := fresh("FakeRefresh0")
		owned.ExpiresAt, owned.IdentityID = time.Now().Add(-time.Hour), alice
		if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{owned}}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
			r, err := i.renew(ctx, old)
			r.Tokens[0].IdentityID = bob
			return r, err
		}, func(keystore.Token) { t.Error("the hook is told of it") })
		if !errors.Is(err, keystore.ErrSubjectMismatch) || time.Since(began) != 0 {
			t.Errorf("%v after %v, want ErrSubjectMismatch at once", err, time.Since(began))
		}
		if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeRefresh0" || got.IdentityID != alice {
			t.Errorf("the login is now %+v, %v", got, err)
		}
		if err := s.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Close: %v after %v, want that nothing is held", err, time.Since(began))
		}
	})
}

// TestDeadRefreshToken: a new login is needed, and nothing is deleted for that.
func TestDeadRefreshToken(t *testing.T) {
	s, i := expired(t, memory.New())
	i.alive = "FakeAnother"
	_, err := s.In("").Refresh(t.Context(), "rs", over, i.renew, nil)
	if !errors.Is(err, keystore.ErrLoginRequired) || !strings.Contains(err.Error(), `"rs" in namespace "DEFAULT"`) {
		t.Errorf("%v, want ErrLoginRequired that names the login", err)
	}
	if strings.Contains(err.Error(), "process") {
		t.Errorf("nobody else was there: %v", err)
	}
	if got, err := s.Get(t.Context(), "rs"); err != nil || got.RefreshToken.Reveal() != "FakeRefresh0" {
		t.Errorf("the login is now %v", err)
	}
	if i.posts != 1 {
		t.Errorf("%d requests, want 1", i.posts)
	}
}

// TestProcessThatSpentTheTokenIsNamed: it was killed between the answer and the
// store.
func TestProcessThatSpentTheTokenIsNamed(t *testing.T) {
	s, i := expired(t, memory.New())
	lost := errors.New("killed here")
	_, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
		i.renew(ctx, old)
		return keystore.TokenResponse{}, lost
	}, nil)
	if !errors.Is(err, lost) {
		t.Fatal(err)
	}
	_, err = s.Refresh(t.Context(), "rs", over, i.renew, nil)
	if !errors.Is(err, keystore.ErrLoginRequired) || !strings.Contains(err.Error(), "process ") || !strings.Contains(err.Error(), "began to renew it at 2") {
		t.Errorf("%v, want when and which process", err)
	}
}

// TestCulpritIsNamedForEver, and nobody else: not who was told no, and not those who
// have tried since.
func TestCulpritIsNamedForEver(t *testing.T) {
	s, i := expired(t, memory.New())
	_, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
		i.renew(ctx, old)
		return keystore.TokenResponse{}, errors.New("killed here")
	}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	first := ""
	for n := range 3 {
		_, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
		if first == "" {
			first = err.Error()
		}
		if !strings.Contains(err.Error(), "began to renew it at") || err.Error() != first {
			t.Errorf("try %d: %v, want as the first: %s", n, err, first)
		}
	}
}

// TestDeadRefreshTokenIsNoted for those who only look; a new login ends that.
func TestDeadRefreshTokenIsNoted(t *testing.T) {
	s, i := expired(t, memory.New())
	refused := func() bool {
		t.Helper()
		_, at, err := s.Look(t.Context(), "rs")
		if err != nil {
			t.Fatal(err)
		}
		return !at.IsZero()
	}
	if refused() {
		t.Error("nobody has asked yet")
	}
	i.alive = "FakeAnother"
	for range 3 {
		_, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
		if !errors.Is(err, keystore.ErrLoginRequired) || strings.Contains(err.Error(), "process") {
			t.Errorf("%v, want that a login is required, and nobody's fault", err)
		}
		if !refused() {
			t.Error("it is not noted")
		}
	}
	if err := s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{fresh("FakeNewLogin")}}); err != nil {
		t.Fatal(err)
	}
	if refused() {
		t.Error("a new login is taken for the dead one")
	}
	if _, _, err := s.Look(t.Context(), "other"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("no login: %v", err)
	}
}

// TestRefreshTokenRenewedByOthers who take no lock: the stored one is tried, once.
func TestRefreshTokenRenewedByOthers(t *testing.T) {
	s, i := expired(t, memory.New())
	i.alive = "FakeByOthers"
	posts := 0
	got, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
		posts++
		if posts == 1 {
			other := fresh("FakeByOthers")
			other.ExpiresAt = time.Now().Add(-time.Minute)
			if err := s.Put(ctx, keystore.TokenResponse{Tokens: []keystore.Token{other}}); err != nil {
				t.Error(err)
			}
		}
		return i.renew(ctx, old)
	}, nil)
	if err != nil || got.RefreshToken.Reveal() != "FakeRefresh2" || posts != 2 {
		t.Errorf("got %q, %v after %d requests, want the second to succeed", got.RefreshToken.Reveal(), err, posts)
	}
}

// readOnly is an adapter whose Updates fail so many times from the n-th on.
type failing struct {
	keystore.StorageAdapter
	from, times int64
	updates     atomic.Int64
}

func (f *failing) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if n := f.updates.Add(1); n >= f.from && n < f.from+f.times {
		return &keystore.Error{Err: keystore.ErrReadOnly}
	}
	return f.StorageAdapter.Update(ctx, fn)
}

func TestNoRefreshTokenIsSpentThatCannotBeReplaced(t *testing.T) {
	a := &failing{StorageAdapter: memory.New()}
	s, i := expired(t, a)
	a.from, a.times = a.updates.Load()+1, 1000
	if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("%v, want ErrReadOnly", err)
	}
	if i.posts != 0 {
		t.Errorf("%d requests although nothing can be stored", i.posts)
	}
}

// TestNoRefreshTokenIsSpentThatTheAccountForbids: the namespace has got to another
// account, by whoever can write its records, and the answer would be refused.
func TestNoRefreshTokenIsSpentThatTheAccountForbids(t *testing.T) {
	a := memory.New()
	s := keystore.New(a, nil)
	old := fresh("FakeRefresh0")
	old.ExpiresAt, old.IdentityID = time.Now().Add(-time.Hour), alice
	others := memory.New()
	login := response(fresh("FakeBob"))
	login.Account.Subject = bob
	if err := errors.Join(s.Put(t.Context(), response(old)), keystore.New(others, nil).Put(t.Context(), login)); err != nil {
		t.Fatal(err)
	}
	err := a.Update(t.Context(), func(w keystore.Writer) error {
		return w.Put(accountKey, []byte(dump(t, others)[accountKey]))
	})
	if err != nil {
		t.Fatal(err)
	}
	before, i := dump(t, a), &renewer{alive: "FakeRefresh0"}
	if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrSubjectMismatch) || i.posts != 0 {
		t.Errorf("%v after %d requests, want ErrSubjectMismatch after none", err, i.posts)
	}
	if !maps.Equal(before, dump(t, a)) {
		t.Error("the store has changed")
	}
}

// TestRefreshMakesNoStore: one that was moved aside meanwhile stays where it is.
func TestRefreshMakesNoStore(t *testing.T) {
	a := &vanishing{StorageAdapter: memory.New()}
	_, i := expired(t, a)
	i.during = func() { a.gone = true }
	s := keystore.New(a, &keystore.Options{Create: func(context.Context) error {
		t.Error("a store is made")
		return nil
	}})
	if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// vanishing is an adapter whose store is moved aside.
type vanishing struct {
	keystore.StorageAdapter
	gone bool
}

func (v *vanishing) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if v.gone {
		return memory.NewEmpty().Update(ctx, fn)
	}
	return v.StorageAdapter.Update(ctx, fn)
}

// TestAnswerIsStoredWhenTheDiskHasRoomAgain: it was full when the answer came.
func TestAnswerIsStoredWhenTheDiskHasRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &failing{StorageAdapter: memory.New()}
		s, i := expired(t, a)
		a.from, a.times = a.updates.Load()+2, 5
		got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
		if err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("got %v", err)
		}
	})
}

// TestHangingIssuerIsLeft, and the lock with it.
func TestHangingIssuerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := expired(t, memory.New())
		began := time.Now()
		_, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, _ keystore.Token) (keystore.TokenResponse, error) {
			<-ctx.Done()
			return keystore.TokenResponse{}, ctx.Err()
		}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %v, want to be left after 20 s", err, time.Since(began))
		}
		if _, err := s.Refresh(t.Context(), "rs", over, i.renew, nil); err != nil {
			t.Errorf("the next: %v", err)
		}
	})
}

// TestAnswerOfAnotherResourceServer is not stored.
func TestAnswerOfAnotherResourceServer(t *testing.T) {
	s, _ := expired(t, memory.New())
	other := fresh("FakeOther")
	other.ResourceServer = "other"
	_, err := s.Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		return keystore.TokenResponse{Tokens: []keystore.Token{other}}, nil
	}, nil)
	if !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if _, err := s.Get(t.Context(), "other"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("it was stored: %v", err)
	}
}

// mortal is the adapter of a process that is killed at its n-th operation: that
// one has no effect, and there are no others. The kernel frees its locks.
type mortal struct {
	keystore.StorageAdapter
	left atomic.Int64
}

var errKilled = errors.New("killed")

func (m *mortal) alive() bool { return m.left.Add(-1) >= 0 }

func (m *mortal) View(ctx context.Context, fn func(keystore.Reader) error) error {
	if !m.alive() {
		return errKilled
	}
	return m.StorageAdapter.View(ctx, fn)
}

// Update dies before it, or with everything done but the commit.
func (m *mortal) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if !m.alive() {
		return errKilled
	}
	return m.StorageAdapter.Update(ctx, func(w keystore.Writer) error {
		if err := fn(w); err != nil {
			return err
		}
		if !m.alive() {
			return errKilled
		}
		return nil
	})
}

// TestKilledAtEveryStep: the next process goes on. Only a kill between the answer
// and the store may cost the login, and then the process is named.
func TestKilledAtEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost, kept := 0, 0
		for n := int64(0); ; n++ {
			shared := memory.New()
			s, i := expired(t, keepOpen{shared})
			m := &mortal{StorageAdapter: shared}
			m.left.Store(n)
			victim := keystore.New(keepOpen{m}, nil)
			_, died := victim.Refresh(t.Context(), "rs", over, i.renew, nil)
			victim.Close() // the kernel frees a dead process's locks
			got, err := s.Refresh(t.Context(), "rs", over, i.renew, nil)
			switch {
			case err == nil && got.RefreshToken.Reveal() == i.alive:
				kept++
			case errors.Is(err, keystore.ErrLoginRequired) && i.reused == 1 && strings.Contains(err.Error(), "began to renew it at"):
				lost++
			default:
				t.Errorf("killed at operation %d: got %q, %v", n, got.RefreshToken.Reveal(), err)
			}
			if died == nil {
				break
			}
		}
		// The one operation between the answer and the end of its storing.
		if lost != 2 || kept < 4 {
			t.Errorf("%d kills have cost the login, %d not; want 2, before and inside the last Update", lost, kept)
		}
	})
}

// TestRenewing: only a refresh that may be under way, and spends something, counts.
func TestRenewing(t *testing.T) {
	for name, c := range map[string]struct {
		refresh string
		age     time.Duration
		damage  error
		want    bool
	}{
		"just begun":              {"FakeRefresh0", 0, nil, true},
		"about to end":            {"FakeRefresh0", 39 * time.Second, nil, true},
		"over":                    {"FakeRefresh0", 40 * time.Second, nil, false},
		"of the future":           {"FakeRefresh0", -2 * time.Second, nil, false},
		"without a refresh token": {"", 0, nil, false},
		"unreadable":              {"FakeRefresh0", 0, keystore.ErrTampered, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := fresh(c.refresh)
			w.put(old)
			w.Refresh(t.Context(), "rs", func(keystore.Token) bool { return true },
				func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
					return keystore.TokenResponse{}, errInjected
				}, nil)
			key := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindPending, Name: "rs"}
			if c.damage != nil {
				w.damage(key, c.damage)
			}
			w.ok(w.Adapter().View(t.Context(), func(r keystore.Reader) error {
				got, underWay, err := keystore.Renewing(r, start.Add(c.age))
				if underWay != c.want || underWay && got != key {
					t.Errorf("%v, %v, want %v", got, underWay, c.want)
				}
				return err
			}))
		})
	}
}
