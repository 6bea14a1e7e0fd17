package keystore

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// accountName is the one name of records of KindAccount.
const accountName = "account"

// Account returns whose logins the namespace holds. ErrNotFound if no response
// has said so yet.
func (s *Store) Account(ctx context.Context) (Account, error) {
	var a Account
	err := s.view(ctx, "get", s.account(), func(r Reader) error {
		var err error
		a, err = getAccount(r, s.account())
		return err
	})
	return a, err
}

// SetClient records who can renew the logins of the namespace: the issuer and
// the client that obtained them, for those records that do not say so, as
// imported ones may not. Records that name another client or issuer stay.
func (s *Store) SetClient(ctx context.Context, issuer, clientID string) error {
	return s.update(ctx, "set client", func(w Writer, warn func(error)) error {
		if _, err := s.admit(w, warn, TokenResponse{Account: Account{Issuer: issuer, ClientID: clientID}}); err != nil {
			return err
		}
		for key, err := range w.Keys(KindToken, s.namespace) {
			if err != nil {
				return err
			}
			t, err := getToken(w, key)
			if unreadable(err) {
				warn(err)
				continue
			}
			if err != nil {
				return err
			}
			if t.Issuer != "" && t.ClientID != "" {
				continue
			}
			t.Issuer, t.ClientID = either(t.Issuer, issuer), either(t.ClientID, clientID)
			if err := s.putToken(w, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// admit refuses a response of another account than the namespace's, and
// otherwise records what the response says of the account.
func (s *Store) admit(w Writer, warn func(error), response TokenResponse) (Account, error) {
	stored, err := getAccount(w, s.account())
	switch {
	case unreadable(err):
		warn(replaced(err))
	case err != nil && !errors.Is(err, ErrNotFound):
		return Account{}, err
	}
	subject, err := response.subject()
	if err != nil {
		return Account{}, err
	}
	next := response.Account
	next.Subject = subject
	if !same(stored.Subject, next.Subject) || stored.Subject != "" && !same(stored.Issuer, next.Issuer) {
		return Account{}, mismatch(s.account())
	}
	next.Subject = either(next.Subject, stored.Subject)
	next.Issuer = either(next.Issuer, stored.Issuer)
	next.ClientID = either(next.ClientID, stored.ClientID)
	if next == stored {
		return next, nil
	}
	return next, s.putAccount(w, next)
}

func mismatch(key RecordKey) error {
	return &Error{Key: key, Err: ErrSubjectMismatch, Detail: "the namespace belongs to another identity"}
}

func (s *Store) putAccount(w Writer, a Account) error {
	payload, err := encodeAccount(a)
	if err != nil {
		return err
	}
	return w.Put(s.account(), payload)
}

func getAccount(r Reader, key RecordKey) (Account, error) {
	payload, err := r.Get(key)
	if err != nil {
		return Account{}, annotate(err, "", key)
	}
	a, err := decodeAccount(payload)
	return a, annotate(err, "", key)
}

func (s *Store) account() RecordKey {
	return RecordKey{Namespace: s.namespace, Kind: KindAccount, Name: accountName}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
