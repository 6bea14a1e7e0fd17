package keystore

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// DefaultNamespace is where records go when nobody says otherwise; the Globus
// SDK uses the same name.
const DefaultNamespace = "DEFAULT"

// Options of a Store. The zero value is good.
type Options struct {
	Namespace string // "" means DefaultNamespace

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Warn hears of what went well but not as it should, such as a damaged
	// record that a new login has replaced. It may be called by several
	// goroutines at once. nil: nobody hears.
	Warn func(error)

	// Create makes the store, with its key, when the first record is to be
	// written and there is none. It runs outside of any Update. nil means
	// that the adapter has a store from the start.
	Create func(ctx context.Context) error

	// Spool keeps the answer of a refresh that cannot be stored. nil: it is
	// kept in memory until Close.
	Spool Spool
}

// Store keeps logins, by the rules that hold for every adapter:
//
//   - A response is stored all or none, and durably, or an error says so.
//   - A response without a refresh token, scope, identity or unknown fields
//     keeps those that are stored. A new login (Token.LoggedIn) keeps a refresh
//     token only if issuer, client and identity are known to be the same, and the
//     token endpoint is not known to be another one; nor does it keep an identity.
//   - A refresh token that is kept keeps its Endpoints.
//   - A namespace belongs to one account; tokens of another subject are
//     refused with ErrSubjectMismatch until its own have been deleted. So is a
//     token in place of one of another issuer.
//   - One unreadable record never hides the others. A new login may replace
//     it, with a warning.
//
// A Store looks at one namespace. It is safe for concurrent use.
type Store struct {
	adapter   StorageAdapter
	namespace string
	now       func() time.Time
	warn      func(error)
	create    func(context.Context) error
	spool     Spool

	underWay *underWay
}

// New returns the Store over adapter, and from then on owns it. opts may be nil.
// It touches nothing until the first call.
func New(adapter StorageAdapter, opts *Options) *Store {
	if opts == nil {
		opts = &Options{}
	}
	s := &Store{adapter: adapter, now: opts.Clock, warn: opts.Warn, create: opts.Create, spool: opts.Spool,
		underWay: &underWay{closing: make(chan struct{})}}
	s.namespace = either(opts.Namespace, DefaultNamespace)
	if s.now == nil {
		s.now = time.Now
	}
	if s.warn == nil {
		s.warn = func(error) {}
	}
	return s
}

// Close closes the adapter, for all namespaces. Refreshes and logouts under way
// are finished first, their answers stored or spooled, which takes 40 seconds at
// most: 20 for the issuer, 20 for a disk that does not answer. No other begins. What
// a refresh or logout calls must not close the store: it would wait for itself.
func (s *Store) Close() error {
	s.underWay.close()
	return s.adapter.Close()
}

// Adapter returns what the Store keeps its records in, for tools that look
// below the rules.
func (s *Store) Adapter() StorageAdapter { return s.adapter }

// In returns the Store of another namespace over the same adapter; "" means
// DefaultNamespace.
func (s *Store) In(namespace string) *Store {
	other := *s
	other.namespace = either(namespace, DefaultNamespace)
	return &other
}

// Namespace returns the namespace that s looks at.
func (s *Store) Namespace() string { return s.namespace }

// Now tells the store's time.
func (s *Store) Now() time.Time { return s.now() }

// Put stores every token of response, all or none. When it returns nil they
// are durable. Errors: ErrSubjectMismatch, ErrInvalid, ErrTooLarge, ErrLocked
// and what the adapter says; then nothing was changed.
func (s *Store) Put(ctx context.Context, response TokenResponse) error {
	if err := response.check(); err != nil {
		return annotate(err, "put", RecordKey{})
	}
	return s.update(ctx, "put", func(w Writer, warn func(error)) error {
		return s.put(w, warn, response)
	})
}

// OnRefresh is Put, as the callback of whatever refreshes tokens.
func (s *Store) OnRefresh(ctx context.Context, response TokenResponse) error {
	return s.Put(ctx, response)
}

// Probe reports whether a login could be stored now: the key can be had, and
// a record written. It makes the store if there is none, and leaves no other
// trace. Who asks before a person logs in throws no login away. Errors: ErrLocked,
// ErrReadOnly and what else the adapter says.
func (s *Store) Probe(ctx context.Context) error {
	key := RecordKey{Namespace: s.namespace, Kind: KindPending, Name: probeName}
	payload, err := encodePending(newPending(Token{}, s.now()))
	if err != nil {
		return annotate(err, "probe", key)
	}
	err = s.update(ctx, "probe", func(w Writer, _ func(error)) error { return w.Put(key, payload) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	err = s.delete(ctx, key)
	if errors.Is(err, ErrNotFound) { // two may ask at the same time
		return nil
	}
	return err
}

// probeName is no resource server's name: those have no spaces.
const probeName = "(a login is tried out)"

// Get returns the token of one resource server. ErrNotFound if there is none.
// It may have expired: see [Token.Expired].
func (s *Store) Get(ctx context.Context, resourceServer string) (Token, error) {
	key := s.token(resourceServer)
	var t Token
	err := s.view(ctx, "get", key, func(r Reader) error {
		var err error
		t, err = getToken(r, key)
		return err
	})
	return t, err
}

// All yields the tokens of the namespace, sorted by resource server. A record
// that cannot be read is yielded as an error that names it, and the others
// follow. No snapshot is held while the loop body runs: it may do anything,
// and what is deleted meanwhile is left out. Names are listed some hundred at a
// time, so that memory does not grow with the number of tokens where the adapter
// can find its place among them (PagedReader).
func (s *Store) All(ctx context.Context) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		for name, err := range s.names(ctx, KindToken) {
			if err != nil {
				yield(Token{}, err)
				return
			}
			t, err := s.Get(ctx, name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// Delete removes the token of a resource server, or of several, all or none, here
// only: they stay valid at their issuer until they are revoked or expire. ErrNotFound if
// there is none for one of them.
func (s *Store) Delete(ctx context.Context, resourceServer string, more ...string) error {
	var keys []RecordKey
	for _, rs := range slices.Compact(slices.Sorted(slices.Values(append([]string{resourceServer}, more...)))) {
		key := s.token(rs)
		if err := key.Check(); err != nil {
			return annotate(err, "delete", key)
		}
		keys = append(keys, key)
	}
	err := s.adapter.Update(ctx, func(w Writer) error {
		for _, key := range keys {
			if err := remove(w, key, pendingKey(key)); err != nil {
				return annotate(err, "", key)
			}
		}
		return nil
	})
	if err == nil {
		s.unspool(ctx, keys...)
	}
	return annotate(err, "delete", keys[0])
}

func (s *Store) put(w Writer, warn func(error), response TokenResponse) error {
	claim, err := s.admit(w, response)
	if err != nil {
		return err
	}
	if err := s.record(w, warn, claim); err != nil {
		return err
	}
	for _, t := range response.Tokens {
		t = t.of(response.Account) // the namespace's account says nothing of it: whose it is, is not guessed
		prev, err := getToken(w, s.token(t.ResourceServer))
		switch {
		case err == nil && !same(prev.IdentityID, claim.next.Subject):
			return mismatch(s.token(t.ResourceServer), otherIdentity)
		case err == nil && !same(prev.Issuer, t.Issuer):
			return mismatch(s.token(t.ResourceServer), otherIssuer)
		case err == nil && t.displaces(prev):
			return mismatch(s.token(t.ResourceServer), otherKind)
		case err == nil:
			t = t.renewed(prev)
		case unreadable(err):
			warn(replaced(err))
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if err := s.putToken(w, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) putToken(w Writer, t Token) error {
	key := s.token(t.ResourceServer)
	if err := key.Check(); err != nil {
		return annotate(err, "", key)
	}
	var err error
	erase.Do(func() { err = writeToken(w, key, t) })
	return err
}

func writeToken(w Writer, key RecordKey, t Token) error {
	payload, err := encodeToken(key, t)
	if err != nil {
		return annotate(err, "", key)
	}
	return w.Put(key, payload)
}

func getToken(r Reader, key RecordKey) (t Token, err error) {
	erase.Do(func() { t, err = readToken(r, key) })
	return t, annotate(err, "", key)
}

func readToken(r Reader, key RecordKey) (Token, error) {
	payload, err := r.Get(key)
	if err != nil {
		return Token{}, err
	}
	return decodeToken(key, payload)
}

func (s *Store) token(resourceServer string) RecordKey { return tokenKey(s.namespace, resourceServer) }

func tokenKey(namespace, resourceServer string) RecordKey {
	return RecordKey{Namespace: namespace, Kind: KindToken, Name: resourceServer}
}

func replaced(err error) error {
	return &Error{Op: "replace", Err: err, Detail: "what it held is lost"}
}

// view runs fn over a snapshot and names key in what goes wrong.
func (s *Store) view(ctx context.Context, op string, key RecordKey, fn func(Reader) error) error {
	if err := key.Check(); err != nil {
		return annotate(err, op, key)
	}
	return annotate(s.adapter.View(ctx, fn), op, key)
}

// delete removes key, and what belongs to it if it is there.
func (s *Store) delete(ctx context.Context, key RecordKey, with ...RecordKey) error {
	if err := key.Check(); err != nil {
		return annotate(err, "delete", key)
	}
	err := s.adapter.Update(ctx, func(w Writer) error {
		return remove(w, key, with...)
	})
	return annotate(err, "delete", key)
}

func remove(w Writer, key RecordKey, with ...RecordKey) error {
	if err := w.Delete(key); err != nil {
		return err
	}
	for _, k := range with {
		if err := w.Delete(k); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// update runs fn as one Update, in a store that is made if there is none.
// What fn warns of is told only once its writes have been applied.
func (s *Store) update(ctx context.Context, op string, fn func(Writer, func(error)) error) error {
	var warnings []error
	var missing bool
	once := func() error {
		return s.adapter.Update(ctx, func(w Writer) error {
			warnings, missing = nil, w.Header().IsZero()
			if missing {
				return &Error{Err: ErrNotFound, Detail: "there is no store yet"}
			}
			return fn(w, func(err error) { warnings = append(warnings, err) })
		})
	}
	err := once()
	if err != nil && missing && s.create != nil {
		if err = s.create(ctx); err == nil {
			err = once()
		}
	}
	if err != nil {
		return annotate(err, op, RecordKey{})
	}
	for _, w := range warnings {
		s.warn(w)
	}
	return nil
}

// pageSize is how many names are listed in one View.
const pageSize = 256

// names yields the names of one kind in the namespace, with no View open in the loop.
func (s *Store) names(ctx context.Context, kind Kind) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after, more := "", true; more; {
			page, err := s.page(ctx, kind, after)
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range page {
				if !yield(name, nil) {
					return
				}
				after = name
			}
			more = len(page) == pageSize
		}
	}
}

func (s *Store) page(ctx context.Context, kind Kind, after string) (page []string, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		page = page[:0]
		for key, err := range keysAfter(r, kind, s.namespace, after) {
			if err != nil {
				return err
			}
			if page = append(page, key.Name); len(page) == pageSize {
				return nil
			}
		}
		return nil
	})
	return page, annotate(err, "list", RecordKey{})
}

func keysAfter(r Reader, kind Kind, namespace, name string) iter.Seq2[RecordKey, error] {
	if paged, ok := r.(PagedReader); ok {
		return paged.KeysAfter(kind, namespace, name)
	}
	return func(yield func(RecordKey, error) bool) {
		for key, err := range r.Keys(kind, namespace) {
			if (err != nil || key.Name > name) && !yield(key, err) {
				return
			}
		}
	}
}
