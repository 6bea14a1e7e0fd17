package keystore_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/fileadapter"
	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
)

// lockable is a store in a file, whose key somebody else holds, who can lose it.
type lockable struct {
	*testing.T
	path    string
	runtime string
	id      *identity.Identity
	key     seal.Key
	issuer  *renewer
	locked  atomic.Bool
	full    atomic.Bool  // nothing can be written
	room    atomic.Int64 // the Update with which there is room again; 0: never
}

// newLockable has a token that is over, in a namespace that has an account, or not.
func newLockable(t *testing.T, account bool) *lockable {
	t.Helper()
	l := &lockable{T: t, path: filepath.Join(t.TempDir(), "tokens.json"), runtime: t.TempDir(), issuer: &renewer{alive: "FakeRefresh0"}}
	var err error
	l.id, err = identity.New()
	l.ok(err)
	h := keystore.Header{StoreID: keystore.StoreID{7}}
	l.key = seal.KeyOf(l.id, h.StoreID)
	meta, err := seal.FormatMeta(seal.Meta{})
	l.ok(err)
	store := l.store()
	l.ok(store.Adapter().Update(t.Context(), func(w keystore.Writer) error {
		return errors.Join(w.SetHeader(h), w.Put(keystore.MetaKey, meta))
	}))
	old, other := fresh("FakeRefresh0"), fresh("FakeOther")
	old.ExpiresAt, other.ResourceServer = time.Now().Add(-time.Hour), "other"
	r := response(old, other)
	if account {
		r.Account.Subject = alice
	}
	l.ok(store.Put(t.Context(), r))
	return l
}

func (l *lockable) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// store is another process's.
func (l *lockable) store() *keystore.Store {
	l.Helper()
	a, err := fileadapter.Open(l.path, l.unseal, nil)
	l.ok(err)
	return keystore.New(writable{a, l}, &keystore.Options{Spool: spool.Dir{Getenv: func(string) string { return l.runtime }}})
}

func (l *lockable) unseal(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	if meta == nil {
		return seal.New(l.id, h.StoreID, nil)
	}
	return seal.LoadHeld(ctx, l, l.key.Public, meta)
}

// WrapKey implements seal.Holder.
func (l *lockable) WrapKey(_ context.Context, k keystore.RecordKey, salt seal.Salt) (keystore.Secret, error) {
	if l.locked.Load() {
		return keystore.Secret{}, &keystore.Error{Err: keystore.ErrLocked}
	}
	return seal.WrapKey([]byte(l.key.Secret.Reveal()), l.key.Store, k, salt), nil
}

// Fresh implements seal.Holder.
func (l *lockable) Fresh(ctx context.Context, k keystore.RecordKey, n int) (all []seal.Fresh, err error) {
	for range n {
		f := seal.Fresh{Salt: seal.NewSalt()}
		if f.Key, err = l.WrapKey(ctx, k, f.Salt); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// writable is the adapter as long as the disk is not full.
type writable struct {
	*fileadapter.Adapter
	l *lockable
}

func (a writable) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if a.l.full.Load() && (a.l.room.Load() == 0 || a.l.room.Add(-1) > 0) {
		return a.Adapter.Update(ctx, func(w keystore.Writer) error {
			return errors.Join(fn(w), &keystore.Error{Err: keystore.ErrReadOnly})
		})
	}
	return a.Adapter.Update(ctx, fn)
}

// refused checks that the store is locked for who begins something.
func (l *lockable) refused(s *keystore.Store, who string) {
	l.Helper()
	_, getErr := s.Get(l.Context(), "rs")
	putErr := s.Put(l.Context(), response(fresh("FakeNew")))
	_, refreshErr := s.Refresh(l.Context(), "other", func(keystore.Token) bool { return true }, l.issuer.renew, nil)
	for what, err := range map[string]error{"get": getErr, "put": putErr, "refresh": refreshErr} {
		if !errors.Is(err, keystore.ErrLocked) {
			l.Errorf("%s of %s: %v, want ErrLocked", what, who, err)
		}
	}
}

// holds checks which token the next process finds, and that nothing is left of the
// refresh before.
func (l *lockable) holds(want string) {
	l.Helper()
	l.locked.Store(false)
	l.full.Store(false)
	s := l.store()
	l.ok(s.Recover(l.Context()))
	got, err := s.Get(l.Context(), "rs")
	if err != nil || got.RefreshToken.Reveal() != want {
		l.Errorf("the store has %q, %v, want %q", got.RefreshToken.Reveal(), err, want)
	}
	l.ok(s.Adapter().View(l.Context(), func(r keystore.Reader) error {
		for k := range r.Keys(keystore.KindPending) {
			l.Errorf("left is %v", k)
		}
		return nil
	}))
}

// TestLockedDuringARefresh: the answer is stored, and everything that begins is
// refused, in this process and in others.
func TestLockedDuringARefresh(t *testing.T) {
	for name, account := range map[string]bool{"with an account": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLockable(t, account)
				s, began := l.store(), time.Now()
				t2, err := s.Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
					l.locked.Store(true)
					l.refused(s, "this process")
					l.refused(l.store(), "another")
					return l.issuer.renew(ctx, old)
				}, nil)
				if err != nil || t2.RefreshToken.Reveal() != "FakeRefresh1" {
					t.Errorf("%q, %v", t2.RefreshToken.Reveal(), err)
				}
				if d := time.Since(began); d != 0 { // by the bubble's clock
					t.Errorf("storing it was tried again for %v", d)
				}
				l.refused(s, "this process afterwards")
				if spooled(t, l) != 0 {
					t.Error("it is in the spool")
				}
				l.holds("FakeRefresh1")
			})
		})
	}
}

func spooled(t *testing.T, l *lockable) int {
	t.Helper()
	keys, err := spool.Dir{Getenv: func(string) string { return l.runtime }}.Keys(t.Context(), l.key.Store)
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// TestLockedBeforeARefresh: nothing is spent.
func TestLockedBeforeARefresh(t *testing.T) {
	l := newLockable(t, true)
	s := l.store()
	if _, err := s.Get(t.Context(), "rs"); err != nil {
		t.Fatal(err)
	}
	l.locked.Store(true)
	l.refused(s, "who has had it open")
	if l.issuer.posts != 0 {
		t.Error("the issuer was asked")
	}
	l.holds("FakeRefresh0")
}

// TestLockedAndFullDuringARefresh: the answer goes into the spool, or into the store
// as soon as there is room.
func TestLockedAndFullDuringARefresh(t *testing.T) {
	for name, c := range map[string]struct{ room, spooled int }{"for ever": {0, 1}, "for some seconds": {12, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLockable(t, true)
				t2, err := l.store().Refresh(t.Context(), "rs", over, func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
					l.locked.Store(true)
					l.room.Store(int64(c.room))
					l.full.Store(true)
					return l.issuer.renew(ctx, old)
				}, nil)
				if err != nil || t2.RefreshToken.Reveal() != "FakeRefresh1" {
					t.Errorf("%q, %v", t2.RefreshToken.Reveal(), err)
				}
				if n := spooled(t, l); n != c.spooled {
					t.Errorf("%d in the spool, want %d", n, c.spooled)
				}
				l.refused(l.store(), "another process")
				l.holds("FakeRefresh1")
			})
		})
	}
}

// TestLockedWhileALoginIsRefused: what the issuer said is noted.
func TestLockedWhileALoginIsRefused(t *testing.T) {
	l := newLockable(t, true)
	_, err := l.store().Refresh(t.Context(), "rs", over, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		l.locked.Store(true)
		return keystore.TokenResponse{}, errSpent
	}, nil)
	if !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("%v, want ErrLoginRequired", err)
	}
	l.locked.Store(false)
	if _, when, err := l.store().Look(t.Context(), "rs"); err != nil || when.IsZero() {
		t.Errorf("the refusal is not noted: %v, %v", when, err)
	}
}

// TestLockedDuringALogout: what is revoked is removed.
func TestLockedDuringALogout(t *testing.T) {
	l := newLockable(t, true)
	s := l.store()
	err := s.Logout(t.Context(), "rs", func(context.Context, keystore.Token) error {
		l.locked.Store(true)
		l.refused(s, "this process")
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	l.locked.Store(false)
	if _, err := l.store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	l.locked.Store(true)
	err = s.Logout(t.Context(), "other", func(context.Context, keystore.Token) error {
		t.Error("a login is revoked that cannot be removed")
		return nil
	})
	if !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
}

// spoilt is a lockable's adapter, of which some records cannot be read.
type spoilt struct {
	writable
	d *damaged
}

func (a spoilt) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return a.d.View(ctx, fn)
}

func (a spoilt) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	return a.d.Update(ctx, fn)
}

// TestReservedBesideADamagedRecord: an account that cannot be read is no reason not to
// renew a login, here as little as where the key cannot be lost.
func TestReservedBesideADamagedRecord(t *testing.T) {
	l := newLockable(t, true)
	a, err := fileadapter.Open(l.path, l.unseal, nil)
	l.ok(err)
	w := writable{a, l}
	d := &damaged{StorageAdapter: w, errs: map[keystore.RecordKey]error{accountKey: &keystore.Error{Key: accountKey, Err: keystore.ErrTampered}}}
	s := keystore.New(spoilt{w, d}, &keystore.Options{Warn: func(err error) { t.Log(err) }})
	if got, err := s.Refresh(t.Context(), "rs", over, l.issuer.renew, nil); err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
		t.Errorf("%q, %v", got.RefreshToken.Reveal(), err)
	}
}
