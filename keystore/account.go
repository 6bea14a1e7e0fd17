package keystore

import (
	"context"
	"errors"
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

// claim is what a response says of the account of a namespace.
type claim struct {
	stored Account // zero if there is none, or none that can be read
	lost   error   // why it cannot be read
	next   Account
}

// admit refuses a response of another account than the namespace's.
func (s *Store) admit(r Reader, response TokenResponse) (claim, error) {
	var c claim
	var err error
	c.stored, err = getAccount(r, s.account())
	switch {
	case unreadable(err):
		c.lost = err
	case err != nil && !errors.Is(err, ErrNotFound):
		return claim{}, err
	}
	c.next = response.Account
	if c.next.Subject, err = response.subject(); err != nil {
		return claim{}, err
	}
	if !c.stored.admits(c.next) {
		if err := s.mustBeEmpty(r); err != nil {
			return claim{}, err
		}
		c.stored = Account{}
	}
	c.next.Subject = either(c.next.Subject, c.stored.Subject)
	c.next.Issuer = either(c.next.Issuer, c.stored.Issuer)
	c.next.ClientID = either(c.next.ClientID, c.stored.ClientID)
	c.next.Username = either(c.next.Username, c.stored.Username)
	return c, nil
}

// record stores what an admitted response says of the account, if that is new.
func (s *Store) record(w Writer, warn func(error), c claim) error {
	if c.next == c.stored {
		return nil
	}
	if c.lost != nil {
		warn(replaced(c.lost))
	}
	return s.putAccount(w, c.next)
}

// admits reports whether a login of next may stand beside those of a. A subject
// is unique at its issuer only.
func (a Account) admits(next Account) bool {
	return same(a.Subject, next.Subject) && (a.Subject == "" || same(a.Issuer, next.Issuer))
}

// mustBeEmpty is how a namespace gets free for another account: its logins have
// been removed.
func (s *Store) mustBeEmpty(r Reader) error {
	for _, err := range r.Keys(KindToken, s.namespace) {
		if err != nil {
			return err
		}
		return mismatch(s.account(), otherIdentity)
	}
	return nil
}

// What a login contradicts that is refused.
const (
	otherIdentity = "the namespace belongs to another identity"
	otherIssuer   = "the namespace has another issuer's login there"
	otherKind     = "the namespace has a login of another kind there, a person's or a client's own"
)

func mismatch(key RecordKey, detail string) error {
	return &Error{Key: key, Err: ErrSubjectMismatch, Detail: detail}
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
