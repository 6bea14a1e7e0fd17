package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/internal/awake"
)

// Renew asks an issuer for new tokens in place of old, which is what the store
// holds, and may spend its refresh token. An error that wraps ErrLoginRequired
// says that the refresh token is dead (invalid_grant).
//
// ctx lasts as long as the answer may take: it does not end with the caller's,
// since an answer that nobody waits for would be lost with the refresh token
// that was spent for it.
type Renew func(ctx context.Context, old Token) (TokenResponse, error)

// Refresh returns a token of a resource server that is not stale, and renews it
// if need be: once, however many processes and goroutines ask. It takes the
// credential's lock, looks again whether the stored token is stale, and only
// then, when a write has just succeeded, calls renew; what renew returns is
// durable before anybody gets it.
//
// Whoever asks while another process renews waits for that, as long as ctx
// lasts and 30 seconds at most: then it is ErrBusy, which names the process.
// A caller whose ctx ends during a renewal gets that error at once, and the
// renewal is finished and stored without him; Close waits for it.
//
// An answer that cannot be stored is tried again for 10 seconds. Then it goes,
// sealed, into Options.Spool, from where the next to refresh stores it. Where
// there is none the caller gets the error, and this process keeps the answer and
// the credential's lock, and goes on trying, until Close. Where no refresh token
// was spent, as by a client that logs in with its own secret, nothing is lost: the
// caller gets the error, and nobody keeps the answer.
//
// A store that is locked meanwhile refuses everything else: what the answer needs of
// who holds the key is reserved before the issuer is asked (Reserver).
//
// stored, if not nil, is called with a renewed token, when that is stored and
// nobody is kept waiting any more, also if the caller has gone; Refresh returns
// after it. It must not close the store, nor must renew.
//
// A login that was stored meanwhile wins: its token is returned. One that was
// removed meanwhile stays removed: ErrNotFound.
//
// Errors: ErrNotFound; ErrLoginRequired if the token cannot be renewed any more,
// with namespace, resource server and reason; ErrBusy; what renew and the adapter
// say. Nothing is deleted because a renewal has failed. A panic of renew or
// stored is the caller's, with no lock held, as long as he waits.
func (s *Store) Refresh(ctx context.Context, resourceServer string, stale func(Token) bool, renew Renew, stored func(Token)) (Token, error) {
	key := s.token(resourceServer)
	if err := key.Check(); err != nil {
		return Token{}, annotate(err, "refresh", key)
	}
	unlock, err := s.hold(ctx, key)
	if err != nil {
		return Token{}, annotate(err, "refresh", key)
	}
	c := caller{results: make(chan result), gone: make(chan struct{})}
	defer close(c.gone)
	go func() {
		defer s.underWay.end()
		r := renewal{Store: s, key: key, held: func(err error) { c.tell(result{err: err}) }}
		end := result{err: &Error{Err: ErrUnavailable, Detail: "the renewal was ended from inside"}} // by runtime.Goexit
		defer func() {
			end.panicked = recover()
			c.tell(end)
		}()
		end.token, end.err = r.run(ctx, stale, renew, unlock)
		if r.renewed && end.err == nil && stored != nil {
			stored(end.token)
		}
	}()
	select {
	case r := <-c.results:
		if r.panicked != nil {
			panic(r.panicked)
		}
		return r.token, annotate(r.err, "refresh", key)
	case <-ctx.Done():
		return Token{}, annotate(Ended(ctx), "refresh", key)
	}
}

// caller is who waits for a renewal that another goroutine makes.
type caller struct {
	results chan result
	gone    chan struct{} // closed when nobody waits any more
}

type result struct {
	token    Token
	err      error
	panicked any // what renew or stored has panicked with
}

// tell gives r to the caller if he is still there. A panic that nobody would hear
// of goes on.
func (c caller) tell(r result) {
	select {
	case c.results <- r:
	case <-c.gone:
		if r.panicked != nil {
			panic(r.panicked)
		}
	}
}

// lockTime is how long the holder of a credential's lock is waited for: as long
// as a renewal takes that goes wrong in every way but one.
const lockTime = renewTime + storeTime

// renewTime is how long an issuer may take to answer. Who holds the credential's
// lock for longer has been stopped.
const renewTime = 20 * time.Second

// storeTime is how long storing an answer is tried again before it is spooled.
const storeTime = 10 * time.Second

// hold takes the credential's lock and makes Close wait: whoever has got the lock
// calls underWay.end when he is done.
func (s *Store) hold(ctx context.Context, key RecordKey) (unlock func() error, err error) {
	if unlock, err = s.lock(ctx, key); err != nil {
		return nil, err
	}
	if s.underWay.begin() {
		return unlock, nil
	}
	unlock()
	return nil, &Error{Err: ErrUnavailable, Detail: "the store is closed"}
}

func (s *Store) lock(ctx context.Context, key RecordKey) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	return s.adapter.LockCredential(ctx, key)
}

// underWay are the refreshes and logouts of a Store, of all namespaces.
type underWay struct {
	mu      sync.Mutex
	closed  bool           // guarded by mu
	all     sync.WaitGroup // Add only under mu
	closing chan struct{}  // closed by close
}

// begin reports false if the store has been closed.
func (u *underWay) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.all.Add(1)
	}
	return !u.closed
}

func (u *underWay) end() { u.all.Done() }

// close lets nobody begin any more and waits for the rest.
func (u *underWay) close() {
	u.mu.Lock()
	if !u.closed {
		u.closed = true
		close(u.closing)
	}
	u.mu.Unlock()
	u.all.Wait()
}

// renewal is one call of Refresh that holds the credential's lock.
type renewal struct {
	*Store
	key  RecordKey
	held func(error) // told why the answer is stored nowhere yet

	renewed bool    // the token is the issuer's answer to this renewal
	note    pending // as it was announced

	store  StoreID // known once it is announced, and so is
	sealer Sealer  // what seals the store's records, if it says so
}

// run is refresh until the lock is free again, whatever becomes of renew.
func (r *renewal) run(ctx context.Context, stale func(Token) bool, renew Renew, unlock func() error) (t Token, err error) {
	defer func() {
		if unlockErr := unlock(); err == nil {
			err = unlockErr
		}
	}()
	return r.refresh(ctx, stale, renew)
}

func (r *renewal) refresh(ctx context.Context, stale func(Token) bool, renew Renew) (Token, error) {
	waits, err := r.adopt(ctx, r.key)
	if !waits.AccessToken.IsZero() && !stale(waits) {
		return waits, nil
	}
	if err != nil { // what is stored has been spent for what waits
		return Token{}, err
	}
	now, err := r.current(ctx, r.key)
	if err != nil || !stale(now) {
		return now, err
	}
	for again := true; ; again = false {
		old, err := r.announce(ctx, stale)
		if err != nil || !stale(old) {
			return old, err
		}
		if ctx, err = r.prepare(ctx); err != nil {
			return Token{}, err
		}
		response, err := call(ctx, renew, old)
		if err == nil {
			t, err := r.settle(ctx, old, response)
			r.renewed = err == nil && t.AccessToken.Equal(response.token(r.key.Name).AccessToken)
			return t, err
		}
		if !errors.Is(err, ErrLoginRequired) {
			return Token{}, err
		}
		// Somebody who takes no lock may have renewed it: a dead refresh token
		// says nothing about another one.
		now, viewErr := r.current(ctx, r.key)
		if viewErr != nil || now.sameLogin(old) || !again {
			return Token{}, r.dead(ctx, err)
		}
	}
}

// call asks the issuer. From here on the caller's context is not obeyed.
func call(ctx context.Context, renew Renew, old Token) (TokenResponse, error) {
	ctx, cancel := awake.Within(context.WithoutCancel(ctx), renewTime)
	defer cancel()
	return renew(ctx, old)
}

// current returns the token as it is stored.
func (s *Store) current(ctx context.Context, key RecordKey) (t Token, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		t, err = getToken(r, key)
		return err
	})
	return t, err
}

// announce writes the pending record of what is stored, if that is still stale and
// of the namespace's account: the proof that an answer can be stored.
func (r *renewal) announce(ctx context.Context, stale func(Token) bool) (old Token, err error) {
	err = r.adapter.Update(ctx, func(w Writer) (err error) {
		if old, err = getToken(w, r.key); err != nil || !stale(old) {
			return err
		}
		if _, err := r.admit(w, TokenResponse{Tokens: []Token{old}}); err != nil {
			return err
		}
		_, found, err := readLogin(w, r.key)
		if err != nil {
			return err
		}
		r.note = newPending(old, r.now()).after(found)
		payload, err := encodePending(r.note)
		if err != nil {
			return err
		}
		return w.Put(pendingKey(r.key), payload)
	})
	return old, err
}

// prepare asks for what seals the answer, and reserves what storing, spooling or
// refusing it needs of the key, so that it can be done whatever becomes of the store
// and its key. That is done after the announcement: from then on no rekey begins.
func (r *renewal) prepare(ctx context.Context) (_ context.Context, err error) {
	if r.store, r.sealer, err = r.sealing(ctx); err != nil {
		return nil, err
	}
	return r.reserve(ctx, r.sealer, r.key, pendingKey(r.key), r.account())
}

// settle stores the answer, however often that takes, unless the login has been
// removed or replaced meanwhile, or no refresh token was spent for it.
func (r *renewal) settle(ctx context.Context, old Token, response TokenResponse) (Token, error) {
	ctx = context.WithoutCancel(ctx)
	if err := response.answers(r.key); err != nil {
		return Token{}, err
	}
	while, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	t, err := r.insist(while, while.Done(), old, response)
	if err == nil || !worthAnotherTry(err) || old.RefreshToken.IsZero() {
		return t, err
	}
	if t, spoolErr := r.save(ctx, old, response); spoolErr == nil {
		r.warn(annotate(&Error{Err: err, Detail: "the new token is kept in the spool until the store can be written"}, "refresh", r.key))
		return t, nil
	}
	r.held(&Error{Err: err, Detail: "the new token is stored nowhere yet; this process keeps it, and goes on trying"})
	if t, err = r.insist(ctx, r.underWay.closing, old, response); err != nil {
		r.warn(annotate(&Error{Err: err, Detail: "the new token could be stored nowhere, and is lost"}, "refresh", r.key))
	}
	return t, err
}

// insist tries to store the answer, once at least, until it is stopped.
func (r *renewal) insist(ctx context.Context, stop <-chan struct{}, old Token, response TokenResponse) (Token, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		t, err := r.swapWithin(ctx, old, response)
		if err == nil || !worthAnotherTry(err) {
			return t, err
		}
		select {
		case <-time.After(pause):
		case <-stop:
			return Token{}, err
		}
	}
}

// swapWithin is swap for as long as one try may take.
func (r *renewal) swapWithin(ctx context.Context, old Token, response TokenResponse) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return r.swap(ctx, r.key, old, response)
}

// swap is the compare-and-swap: the answer is stored only if the record still
// holds the refresh token that was spent for it. Else a logout would be undone,
// or a newer login overwritten. A store that is gone is not made anew: ErrNotFound.
func (s *Store) swap(ctx context.Context, key RecordKey, old Token, response TokenResponse) (t Token, err error) {
	there := *s
	there.create = nil
	err = there.update(ctx, "", func(w Writer, warn func(error)) error {
		t, err = s.exchange(w, warn, key, old, response)
		return blame(err)
	})
	return t, err
}

// exchange is swap inside of its Update.
func (s *Store) exchange(w Writer, warn func(error), key RecordKey, old Token, response TokenResponse) (Token, error) {
	t, err := getToken(w, key)
	if err != nil {
		return t, err
	}
	if t.sameLogin(old) {
		if err := s.put(announced{w}, warn, response); err != nil {
			return t, err
		}
		if t, err = getToken(w, key); err != nil {
			return t, err
		}
	}
	if err := w.Delete(pendingKey(key)); err != nil && !errors.Is(err, ErrNotFound) {
		return t, err
	}
	return t, nil
}

// unfit is an error of the answer, or of the login that it is for: as against one of
// the store or its key, which can be mended.
type unfit struct{ error }

func (u unfit) Unwrap() error { return u.error }

// blame marks what the answer cannot be stored for, however often it is tried.
func blame(err error) error {
	for _, final := range []error{ErrInvalid, ErrTooLarge, ErrSubjectMismatch} {
		if errors.Is(err, final) {
			return unfit{err}
		}
	}
	return err
}

// worthAnotherTry: a disk may have room again, a keychain be unlocked, a store that
// somebody has damaged be restored. A login that is gone, and what is wrong with the
// answer, stays so.
func worthAnotherTry(err error) bool {
	_, hopeless := errors.AsType[unfit](err)
	return !hopeless && !errors.Is(err, ErrNotFound)
}

// answers reports whether the response has the token that was asked for.
func (r TokenResponse) answers(key RecordKey) error {
	if err := r.check(); err != nil {
		return err
	}
	if r.token(key.Name).AccessToken.IsZero() {
		return &Error{Err: ErrInvalid, Detail: "the answer has no token of this resource server"}
	}
	return nil
}

// sameLogin reports whether no login or renewal lies between two states of a
// record.
func (t Token) sameLogin(old Token) bool {
	if t.RefreshToken.IsZero() && old.RefreshToken.IsZero() {
		return t.AccessToken.Equal(old.AccessToken)
	}
	return t.RefreshToken.Equal(old.RefreshToken)
}

// dead notes that the refresh token is, for those who only look, and names who may
// have spent it without storing the answer.
func (r *renewal) dead(ctx context.Context, err error) error {
	detail := "the issuer does not take its refresh token any more"
	if r.note.First != nil {
		detail += "; " + r.note.First.String()
	}
	r.note.Refused = r.now().Unix()
	if noteErr := r.write(ctx, r.note); noteErr != nil {
		r.warn(annotate(noteErr, "refresh", r.key))
	}
	return &Error{Err: fmt.Errorf("%w (%w)", ErrLoginRequired, err), Detail: detail}
}

// write puts p in the place of the pending record that it is a later state of.
func (r *renewal) write(ctx context.Context, p pending) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	payload, err := encodePending(p)
	if err != nil {
		return err
	}
	return r.adapter.Update(ctx, func(w Writer) error {
		if now, err := getPending(w, pendingKey(r.key)); err != nil || now.try != p.try {
			return nil // a login or a logout has removed it
		}
		return w.Put(pendingKey(r.key), payload)
	})
}
