package keystore

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// stored is one record as the source holds it.
type stored struct {
	key     RecordKey
	payload []byte
	token   Token   // if it is one
	account Account // of its namespace, zero if that is not known
}

// read reads one record of the source, which must be one of this version.
func (m *migration) read(ctx context.Context, key RecordKey) (found stored, err error) {
	err = m.from.adapter.View(ctx, func(r Reader) (err error) {
		erase.Do(func() { found, err = readStored(r, key) })
		return annotate(err, "", key)
	})
	if err != nil || key.Kind != KindToken {
		return found, err
	}
	if m.of.namespace != key.Namespace {
		err = m.from.adapter.View(ctx, func(r Reader) (err error) {
			m.of.account, err = knownAccount(r, key.Namespace)
			return err
		})
		m.of.namespace = key.Namespace
	}
	found.account = m.of.account
	return found, err
}

func readStored(r Reader, key RecordKey) (found stored, err error) {
	found.key = key
	if found.payload, err = r.Get(key); err != nil {
		return stored{}, err
	}
	switch key.Kind {
	case KindAccount:
		found.account, err = decodeAccount(found.payload)
	case KindToken:
		found.token, err = decodeToken(key, found.payload)
	}
	return found, err
}

// knownAccount returns the account of a namespace, zero if there is none, or none that
// can be read.
func knownAccount(r Reader, namespace string) (Account, error) {
	a, err := getAccount(r, RecordKey{Namespace: namespace, Kind: KindAccount, Name: accountName})
	if unreadable(err) || errors.Is(err, ErrNotFound) {
		return Account{}, nil
	}
	return a, err
}

// leave removes the record from the source, with the refresh that was begun of it. It
// reports false if it is not what it was. An account stays beside its tokens.
func (r stored) leave(w Writer) (bool, error) {
	now, err := w.Get(r.key)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, nil
	case unreadable(err):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(now, r.payload):
		return false, nil
	case r.key.Kind == KindToken:
		return true, remove(w, r.key, pendingKey(r.key))
	case r.key.Kind == KindAccount:
		if needed, err := has(w, KindToken, r.key.Namespace); err != nil || needed {
			return true, err
		}
	}
	return true, remove(w, r.key)
}

// verdict is what becomes of one record.
type verdict struct {
	Migrated
	payload []byte // to be written; nil: nothing is
	err     error  // of Failed
}

func failed(key RecordKey, err error) verdict {
	return verdict{Migrated: Migrated{Key: key, Outcome: Failed}, err: annotate(err, "migrate", key)}
}

// failedThere is failed by the target.
func failedThere(key RecordKey, err error) verdict {
	v := failed(key, err)
	v.err = atTarget(v.err)
	return v
}

// arrived reports whether the target has the record, or will have.
func (v verdict) arrived() bool { return v.Outcome != Kept && v.Outcome != Failed }

// judge says what is to be done at the target for one record. An error is about the
// target as a whole.
func (m *migration) judge(target Reader, r stored) (v verdict, err error) {
	erase.Do(func() { v, err = m.compare(target, r) })
	v.Shared = v.arrived() && !m.DeleteSource && !r.token.RefreshToken.IsZero()
	return v, err
}

func (m *migration) compare(target Reader, r stored) (v verdict, err error) {
	there, err := target.Get(r.key)
	switch {
	case errors.Is(err, ErrNotFound):
		v, err = m.enter(target, r)
	case err != nil:
	case bytes.Equal(there, r.payload):
		v = r.is(Unchanged)
	case r.key.Kind == KindToken:
		v, err = m.succeed(target, r, there)
	case r.key.Kind == KindAccount:
		v, err = m.complete(target, r, there)
	default:
		v = r.kept("the value there differs")
	}
	if unreadable(err) {
		return failedThere(r.key, err), nil
	}
	return v, err
}

func (r stored) is(o Outcome) verdict {
	return verdict{Migrated: Migrated{Key: r.key, Outcome: o}}
}

// becomes is the verdict that the record is written as it is.
func (r stored) becomes(o Outcome) verdict {
	v := r.is(o)
	v.payload = r.payload
	return v
}

func (r stored) kept(reason string) verdict {
	v := r.is(Kept)
	v.Reason = reason
	return v
}

// enter is for a place that is free, if the namespace is not another account's.
func (m *migration) enter(target Reader, r stored) (verdict, error) {
	if r.key.Kind != KindToken {
		return r.becomes(Copied), nil
	}
	_, err := m.to.In(r.key.Namespace).admit(target, TokenResponse{Tokens: []Token{r.token}, Account: r.account})
	if errors.Is(err, ErrSubjectMismatch) {
		return r.kept(otherIdentity + " there"), nil
	}
	return r.becomes(Copied), err
}

// succeed is for a place that holds another token: the later state of one login is the
// one whose refresh token is good.
func (m *migration) succeed(target Reader, r stored, payload []byte) (verdict, error) {
	there, err := decodeToken(r.key, payload)
	if err != nil {
		return verdict{}, err
	}
	account, err := knownAccount(target, r.key.Namespace)
	if err != nil {
		return verdict{}, err
	}
	owner, subject := either(there.IdentityID, account.Subject), either(r.token.IdentityID, r.account.Subject)
	switch {
	case !sameAccount(there, r.token, owner, subject):
		return r.kept("nothing shows that the login there is the same account's"), nil
	case r.token.follows(there):
		return r.becomes(Replaced), nil
	case there.follows(r.token):
		return r.is(Superseded), nil
	}
	return r.kept("the login there differs, and nothing shows that one of the two is what the other has become"), nil
}

// follows reports whether t is what a login of this account that was prev has become:
// it expires later, no other time contradicts that, and nothing of prev is missing.
func (t Token) follows(prev Token) bool {
	lacks := func(was, is string) bool { return was != "" && was != is }
	switch {
	case !t.ExpiresAt.After(prev.ExpiresAt), t.Used.Before(prev.Used), t.LoggedIn.Before(prev.LoggedIn):
		return false
	case lacks(prev.Issuer, t.Issuer), lacks(prev.ClientID, t.ClientID), lacks(prev.IdentityID, t.IdentityID), t.Grant != prev.Grant:
		return false
	case t.RefreshToken.IsZero() && !prev.RefreshToken.IsZero():
		return false
	case prev.Endpoints != (Endpoints{}) && prev.Endpoints != t.Endpoints:
		return false
	}
	for name := range prev.Extra {
		if _, ok := t.Extra[name]; !ok {
			return false
		}
	}
	return !slices.ContainsFunc(prev.Scopes(), func(scope string) bool { return !slices.Contains(t.Scopes(), scope) })
}

// complete is for a namespace that has an account already. One without logins is free
// for another account.
func (m *migration) complete(target Reader, r stored, payload []byte) (verdict, error) {
	there, err := decodeAccount(payload)
	if err != nil {
		return verdict{}, err
	}
	if !there.admits(r.account) {
		err := m.to.In(r.key.Namespace).mustBeEmpty(target)
		if errors.Is(err, ErrSubjectMismatch) {
			return r.kept(otherIdentity + " there"), nil
		}
		return r.becomes(Replaced), err
	}
	more := there.completed(r.account)
	if more == there {
		return r.is(Unchanged), nil
	}
	v := r.is(Completed)
	v.payload, err = encodeAccount(more)
	return v, err
}

// completed adds to a what other knows of the same account.
func (a Account) completed(other Account) Account {
	return Account{
		Subject:  either(a.Subject, other.Subject),
		Issuer:   either(a.Issuer, other.Issuer),
		ClientID: either(a.ClientID, other.ClientID),
		Username: either(a.Username, other.Username),
	}
}

// refuse reports ErrSubjectMismatch for the first namespace that belongs to another
// account at the target. Namespaces without logins there are free.
func (m *migration) refuse(ctx context.Context) error {
	if empty, err := m.to.empty(ctx); err != nil || empty {
		return atTarget(err)
	}
	last := ""
	for keys, err := range m.from.batches(ctx, KindToken, migrateBatch) {
		if err != nil {
			return err
		}
		for _, key := range keys { // sorted by namespace
			if key.Namespace == last {
				continue
			}
			last = key.Namespace
			if err := m.refuseNamespace(ctx, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty reports whether there is no login in any namespace.
func (s *Store) empty(ctx context.Context) (empty bool, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		empty = true
		for _, err := range r.Keys(KindToken) {
			empty = false
			return err
		}
		return nil
	})
	return empty, err
}

func (m *migration) refuseNamespace(ctx context.Context, namespace string) error {
	to := m.to.In(namespace)
	there, err := to.owner(ctx)
	if err != nil || there == (Account{}) {
		return atTarget(err)
	}
	here, err := m.from.In(namespace).owner(ctx)
	if err != nil || there.admits(here) {
		return err
	}
	return atTarget(to.adapter.View(ctx, to.mustBeEmpty))
}

// owner returns whose logins the namespace holds, by its account or by one of its
// tokens. Zero: nothing says so.
func (s *Store) owner(ctx context.Context) (a Account, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		if a, err = knownAccount(r, s.namespace); err != nil || a.Subject != "" {
			return err
		}
		for key, err := range r.Keys(KindToken, s.namespace) {
			if err != nil {
				return err
			}
			t, err := getToken(r, key)
			if err == nil && t.IdentityID != "" {
				a = Account{Subject: t.IdentityID, Issuer: t.Issuer}
				return nil
			}
			if err != nil && !unreadable(err) {
				return err
			}
		}
		return nil
	})
	return a, err
}

func (s *Store) header(ctx context.Context) (h Header, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		h = r.Header()
		return nil
	})
	return h, err
}

// allListed reports ErrTampered if there are records that Keys passes over.
func allListed(r Reader) error {
	for _, kind := range migratedKinds {
		listed := 0
		for _, err := range r.Keys(kind) {
			if err != nil {
				return err
			}
			listed++
		}
		if err := Unlisted(r, kind, listed); err != nil {
			return err
		}
	}
	return nil
}
