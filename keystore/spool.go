package keystore

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// Spool keeps what could not be stored, outside of the store and sealed like its
// records, until the store can be written again. All methods may be called by
// several goroutines and processes at once, of one record by one at a time.
type Spool interface {
	// Save keeps sealed in place of what was there, as durably as it can.
	Save(ctx context.Context, store StoreID, k RecordKey, sealed []byte) error
	// Load returns what Save has kept. ErrNotFound if there is nothing.
	Load(ctx context.Context, store StoreID, k RecordKey) ([]byte, error)
	// Remove removes it. It is no error if there is nothing.
	Remove(ctx context.Context, store StoreID, k RecordKey) error
	// Keys returns the records of a store that there are, in any order.
	Keys(ctx context.Context, store StoreID) ([]RecordKey, error)
}

// SealingAdapter is an adapter whose records are sealed, so that they can lie
// elsewhere too.
type SealingAdapter interface {
	StorageAdapter
	// Sealer returns the id of the store, and what seals its records now. It
	// may ask for the key. ErrNotFound if there is no store;
	// errors.ErrUnsupported, from an adapter that wraps another, if nothing
	// seals the other's records.
	Sealer(ctx context.Context) (StoreID, Sealer, error)
}

// sealing returns what seals records for the spool, nil if nothing does.
func (s *Store) sealing(ctx context.Context) (StoreID, Sealer, error) {
	a, ok := s.adapter.(SealingAdapter)
	if !ok {
		return StoreID{}, nil, nil
	}
	id, sealer, err := a.Sealer(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return id, nil, nil
	}
	return id, sealer, err
}

// save puts the answer into the spool. It is sealed as a record of the refresh
// under way, so that it opens as nothing else.
func (r *renewal) save(ctx context.Context, old Token, response TokenResponse) (t Token, err error) {
	erase.Do(func() { t, err = r.seal(ctx, old, response) })
	return t, err
}

func (r *renewal) seal(ctx context.Context, old Token, response TokenResponse) (Token, error) {
	if r.spool == nil || r.sealer == nil {
		return Token{}, &Error{Err: ErrUnavailable, Detail: "there is no spool"}
	}
	t := response.token(r.key.Name).of(response.Account).renewed(old)
	answer, err := encodeToken(r.key, t)
	if err != nil {
		return Token{}, err
	}
	p := newPending(old, r.now())
	p.Answer = answer
	payload, err := encodePending(p)
	if err != nil {
		return Token{}, err
	}
	key := pendingKey(r.key)
	sealed, err := r.sealerNow(ctx).Seal(ctx, key, payload)
	if err != nil {
		return Token{}, err
	}
	return t, r.spool.Save(ctx, r.store, key, sealed)
}

// sealerNow is the store's sealer if it can be had without asking anybody for long:
// another process may have given the store another key since the announcement.
func (r *renewal) sealerNow(ctx context.Context) Sealer {
	ctx, cancel := context.WithTimeout(ctx, sealerTime)
	defer cancel()
	if id, sealer, err := r.sealing(ctx); err == nil && sealer != nil && id == r.store {
		return sealer
	}
	return r.sealer
}

const sealerTime = 2 * time.Second

// Recover stores what is in the spool: answers for which a refresh token was
// spent, and which could not be stored then. Refresh does so by itself for the
// token that it is asked for. What is not the successor of what is stored now is
// discarded. Errors: of the first that still cannot be stored.
func (s *Store) Recover(ctx context.Context) error {
	if s.spool == nil {
		return nil
	}
	id, sealer, err := s.sealing(ctx)
	if sealer == nil {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return annotate(err, "recover", RecordKey{})
	}
	keys, err := s.spool.Keys(ctx, id)
	if err = s.passOver(err, RecordKey{}); err != nil {
		return annotate(err, "recover", RecordKey{})
	}
	for _, key := range keys {
		if err := s.recover(ctx, tokenKey(key.Namespace, key.Name)); err != nil {
			return annotate(err, "recover", key)
		}
	}
	return nil
}

func (s *Store) recover(ctx context.Context, key RecordKey) error {
	unlock, err := s.hold(ctx, key)
	if err != nil {
		return err
	}
	defer s.underWay.end()
	_, err = s.In(key.Namespace).adopt(ctx, key)
	return errors.Join(err, unlock())
}

// adopt stores what is in the spool for key; its caller holds the credential's
// lock. If the store still cannot be written it returns the token that waits
// there, and why. What cannot be used is warned of, and no hindrance.
func (s *Store) adopt(ctx context.Context, key RecordKey) (waits Token, err error) {
	if s.spool == nil {
		return Token{}, nil
	}
	id, sealer, err := s.sealing(ctx)
	if err != nil || sealer == nil {
		return Token{}, err
	}
	spooled, err := s.spool.Load(ctx, id, pendingKey(key))
	if errors.Is(err, ErrNotFound) {
		return Token{}, nil
	}
	if err != nil {
		return Token{}, s.passOver(err, key)
	}
	old, answer, err := s.successor(ctx, sealer, key, spooled)
	if err != nil {
		return Token{}, err
	}
	if !answer.AccessToken.IsZero() {
		_, err = s.swap(ctx, key, old, TokenResponse{Tokens: []Token{answer}})
	}
	switch {
	case err == nil || errors.Is(err, ErrNotFound):
		if err := s.spool.Remove(ctx, id, pendingKey(key)); err != nil { // it is of no use to anybody any more
			s.warn(annotate(err, "refresh", key))
		}
		return Token{}, nil
	case worthAnotherTry(err):
		s.warn(annotate(&Error{Err: err, Detail: "its new token is kept in the spool until the store can be written"}, "refresh", key))
		return answer, err
	}
	return Token{}, err
}

// passOver warns of a spool that is of no use, since nobody must be able to stop
// refreshes by planting something there. Other errors are those of a machine that
// may find an answer there the next time.
func (s *Store) passOver(err error, key RecordKey) error {
	for _, of := range []error{ErrTampered, ErrCorrupt, ErrTooLarge, ErrReadOnly, ErrUnavailable, fs.ErrPermission} {
		if errors.Is(err, of) {
			s.warn(annotate(&Error{Err: err, Detail: "the spool cannot be used"}, "refresh", key))
			return nil
		}
	}
	return err
}

// successor returns the stored token and what the spool has in its place; a zero
// one if that is of no use: damaged, or not what the stored token was spent for.
func (s *Store) successor(ctx context.Context, sealer Sealer, key RecordKey, sealed []byte) (old, answer Token, err error) {
	old, err = s.current(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Token{}, Token{}, nil
	}
	if err != nil {
		return Token{}, Token{}, err
	}
	var spent string
	erase.Do(func() { spent, answer, err = openSpooled(ctx, sealer, key, sealed) })
	if unreadable(err) {
		s.warn(annotate(&Error{Err: err, Detail: "a renewed token in the spool is lost"}, "refresh", key))
		return old, Token{}, nil
	}
	if err != nil || !old.spentFor(spent, answer) {
		return old, Token{}, err
	}
	return old, answer, nil
}

// spentFor reports whether answer, for which the refresh token of this fingerprint
// was spent, is what comes after t. Where none is spent nothing tells whose it is.
func (t Token) spentFor(spent string, answer Token) bool {
	if t.RefreshToken.IsZero() || spent != fingerprint(t.RefreshToken) {
		return false
	}
	return !answer.RefreshToken.Equal(t.RefreshToken) || answer.ExpiresAt.After(t.ExpiresAt)
}

func openSpooled(ctx context.Context, sealer Sealer, key RecordKey, sealed []byte) (spent string, t Token, err error) {
	payload, err := sealer.Open(ctx, pendingKey(key), sealed)
	if err != nil {
		return "", Token{}, err
	}
	p, err := decodePending(payload)
	if err != nil {
		return "", Token{}, err
	}
	t, err = decodeToken(key, p.Answer)
	return p.Spent, t, err
}
