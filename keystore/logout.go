package keystore

import (
	"context"
	"errors"
)

// Logout ends the login at a resource server: revoke ends it at its issuer, and
// then it is removed. The credential's lock is held from before the login is
// read until it is gone, so that no refresh comes between, which would bring it
// back. If revoke fails the login stays as it is, so that this can be tried
// again, and its error is returned; with a nil revoke the login is only removed.
//
// Only the login that was revoked is removed. Another one that was stored meanwhile
// stays, since nobody has ended it: ErrBusy.
//
// Once revoke has succeeded ctx is not obeyed any more. Errors: ErrNotFound; ErrBusy,
// also after 30 seconds behind another process, which it names; those of revoke and
// of the adapter. A login that cannot be read cannot be revoked: Delete removes it.
func (s *Store) Logout(ctx context.Context, resourceServer string, revoke func(context.Context, Token) error) error {
	key := s.token(resourceServer)
	if err := key.Check(); err != nil {
		return annotate(err, "log out", key)
	}
	unlock, err := s.hold(ctx, key)
	if err != nil {
		return annotate(err, "log out", key)
	}
	defer s.underWay.end()
	return annotate(errors.Join(s.logout(ctx, key, revoke), unlock()), "log out", key)
}

func (s *Store) logout(ctx context.Context, key RecordKey, revoke func(context.Context, Token) error) error {
	end := func(w Writer) error { return remove(w, key, pendingKey(key)) }
	if revoke != nil {
		var stored Token
		_, sealer, err := s.sealing(ctx)
		if err == nil {
			ctx, err = s.reserve(ctx, sealer, key) // what is revoked must be found again
		}
		if err == nil {
			stored, err = s.revoke(ctx, key, revoke)
		}
		if err != nil {
			return err
		}
		end = func(w Writer) error { return removeLogin(w, key, stored) }
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	err := s.adapter.Update(ctx, end)
	if err == nil || errors.Is(err, ErrNotFound) {
		s.unspool(ctx, key)
	}
	switch {
	case err == nil || revoke == nil || errors.Is(err, ErrBusy):
		return err
	case errors.Is(err, ErrNotFound):
		return nil // somebody has removed meanwhile what was revoked
	}
	return &Error{Err: err, Detail: "its tokens are revoked at the issuer, and it is still here"}
}

// removeLogin removes the login if it is still that which was stored.
func removeLogin(w Writer, key RecordKey, stored Token) error {
	t, err := getToken(w, key)
	if err != nil {
		return err
	}
	if !t.sameLogin(stored) {
		return &Error{Err: ErrBusy, Detail: "another login was stored meanwhile, and is as it was"}
	}
	return remove(w, key, pendingKey(key))
}

// revoke revokes the token that is stored, or waits in the spool to be, and returns
// the stored one.
func (s *Store) revoke(ctx context.Context, key RecordKey, revoke func(context.Context, Token) error) (stored Token, err error) {
	stored, _ = s.current(ctx, key) // what the one that waits was spent for, if it still waits then
	t, err := s.adopt(ctx, key)
	if t.AccessToken.IsZero() {
		if err != nil {
			return Token{}, err
		}
		if stored, err = s.current(ctx, key); err != nil {
			return Token{}, err
		}
		t = stored
	}
	return stored, revoke(ctx, t)
}

// unspool removes what the spool has of logins that are gone. It needs no key.
func (s *Store) unspool(ctx context.Context, keys ...RecordKey) {
	if s.spool == nil {
		return
	}
	var id StoreID
	err := s.adapter.View(ctx, func(r Reader) error {
		id = r.Header().StoreID
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = s.spool.Remove(ctx, id, pendingKey(key))
		}
		if err != nil {
			s.warn(annotate(err, "log out", key))
			return
		}
	}
}
