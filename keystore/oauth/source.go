package oauth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
)

// Source gives the access token of one login, and renews it: once for all
// processes that use the store, and stored before anybody gets it. It is an
// oauth2.TokenSource and safe for concurrent use.
//
// Who renews a token, with which client and where, is what the store has recorded
// of the login.
type Source struct {
	store          *keystore.Store
	resourceServer string
	opts           SourceOptions
	uptime         func() time.Time // what it tells runs evenly, whatever becomes of the clock

	mu      sync.Mutex
	token   keystore.Token // last one given; guarded by mu
	refused bool           // by a resource server; guarded by mu
	since   time.Time      // when it came, by uptime; guarded by mu
	lives   time.Duration  // from then until it expires; guarded by mu
	hooks   int            // calls of OnRefresh under way; guarded by mu
	failure failure        // the last one; guarded by mu
}

// failure is why the renewal of a token has failed, and for how long the issuer is
// left alone for that. Times are by uptime.
type failure struct {
	of        keystore.Token
	err       error
	at, until time.Time
}

// SourceOptions of a Source. The zero value is good.
type SourceOptions struct {
	// MinTTL is how long a token must still be good for. 0 means the smaller of
	// 60 seconds and half of its lifetime, which is also what holds where tokens
	// do not live as long as MinTTL: those of such an issuer are given all the same.
	MinTTL time.Duration

	// OnRefresh is called after this Source has renewed the token: synchronously,
	// when it is stored and no lock is held, and also if the caller who needed it
	// has gone. Whoever asks the Source meanwhile, from inside too, gets the new
	// token. It must not block for ever. (The semantics of golang/go#77502.)
	OnRefresh func(context.Context, Refreshed)

	// OnError is called when a renewal has failed or is not possible, also if
	// the old token is good for a moment yet and the caller hears nothing. The
	// error wraps keystore.ErrLoginRequired if only a new login helps. A failure that
	// comes when its caller has gone is not told.
	OnError func(context.Context, error)

	// Client has the secret of the program's own confidential client. It is used
	// for logins of that client at that issuer, and goes to the endpoints that are
	// recorded. nil: what the namespace keeps under ClientConfig.
	Client *Client

	// Requests are the options of requests to the issuer; nil is good. Their
	// clock is the store's unless they have one.
	Requests *Options
}

// Refreshed is what OnRefresh is told.
type Refreshed struct {
	Token keystore.Token // as it is stored now

	// Narrowed are scopes that the login had and that were not granted any
	// more, Widened those that it had not. Both are sorted.
	Narrowed, Widened []string
}

// NewSource returns the Source of the login that store has, or will have, at
// a resource server. opts may be nil. Nothing is read before the first call.
func NewSource(store *keystore.Store, resourceServer string, opts *SourceOptions) *Source {
	s := &Source{store: store, resourceServer: resourceServer, uptime: time.Now}
	if opts != nil {
		s.opts = *opts
	}
	return s
}

// ResourceServer returns the name of the login.
func (s *Source) ResourceServer() string { return s.resourceServer }

// Token implements oauth2.TokenSource.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext is Get for users of package oauth2. The refresh token stays in the
// store: two refreshers would destroy the login.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	t, err := s.Get(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: t.TokenType, Expiry: t.ExpiresAt}, nil
}

// Get returns the login, with an access token that is good for MinTTL, and renews
// it if need be.
//
// When ctx ends Get returns its error at once; a renewal under way is finished,
// and stored, without the caller. A token that cannot be renewed is given until it
// expires.
//
// Errors: keystore.ErrNotFound if nobody is logged in; keystore.ErrLoginRequired
// if only a new login helps; keystore.ErrBusy after 30 seconds behind a process
// that holds the login's lock, which it names; an [*Error] of the issuer; those of
// the store.
func (s *Source) Get(ctx context.Context) (keystore.Token, error) {
	if t, ok := s.remembered(); ok {
		return t, nil
	}
	t, err := s.store.Get(ctx, s.resourceServer)
	if err != nil {
		return keystore.Token{}, err
	}
	if s.meet(t); !s.stale(t) {
		return t, nil
	}
	return s.renew(ctx, t)
}

// Refused returns the login with another access token than the one that
// a resource server has refused (HTTP 401). It renews only if that is still the
// stored one, and was not renewed within the last minute: the server would refuse
// the next one too. Then the error is keystore.ErrLoginRequired. An issuer that
// has just failed is left alone as by Get.
func (s *Source) Refused(ctx context.Context, access keystore.Secret) (keystore.Token, error) {
	s.forget(access)
	t, err := s.store.Get(ctx, s.resourceServer)
	if err != nil {
		return keystore.Token{}, err
	}
	refused := func(t keystore.Token) bool { return t.AccessToken.Equal(access) }
	if !refused(t) {
		return s.Get(ctx)
	}
	if age := s.store.Now().Sub(t.Used); age >= 0 && age < time.Minute {
		return keystore.Token{}, s.loginOver(ctx, "its resource server refuses an access token that is not a minute old")
	}
	if !t.Renewable() {
		return keystore.Token{}, s.loginOver(ctx, "its access token is refused, and "+notRenewable(t))
	}
	if err := s.left(t, false); err != nil {
		return keystore.Token{}, err
	}
	return s.refresh(ctx, t, func(t keystore.Token) bool { return refused(t) || s.stale(t) })
}

// Renew returns the login with another access token than the one that it has now,
// or the same one with a longer life, however good that is. Who asks while another process does the same gets what
// comes of that. Errors are those of Get.
func (s *Source) Renew(ctx context.Context) (keystore.Token, error) {
	t, err := s.store.Get(ctx, s.resourceServer)
	if err != nil {
		return keystore.Token{}, err
	}
	if !t.Renewable() {
		return keystore.Token{}, s.loginOver(ctx, notRenewable(t))
	}
	return s.refresh(ctx, t, func(now keystore.Token) bool { return sameLife(now, t) })
}

// renew replaces t, which is stale. One that has not expired yet is good enough if
// that fails: the next call tries again.
func (s *Source) renew(ctx context.Context, t keystore.Token) (fresh keystore.Token, err error) {
	switch {
	case t.Renewable():
	case s.expired(t):
		return fresh, s.loginOver(ctx, "the access token has expired, and "+notRenewable(t))
	default:
		return t, nil
	}
	if err = s.left(t, s.expired(t)); err == nil {
		fresh, err = s.renewInTime(ctx, t)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, keystore.ErrNotFound) || s.expired(t) {
		return fresh, err
	}
	return t, nil
}

// renewInTime waits no longer than a moment if t is good enough until later: for a
// process that has been stopped, or for a slow issuer, whose answer is stored all
// the same. Nobody waits again at once then.
func (s *Source) renewInTime(ctx context.Context, t keystore.Token) (keystore.Token, error) {
	if s.opts.MinTTL > 0 || s.expired(t) {
		return s.refresh(ctx, t, s.stale)
	}
	limited, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	fresh, err := s.refresh(limited, t, s.stale)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		s.leave(t, err)
	}
	return fresh, err
}

// moment is what a program waits for that has a good token.
const moment = 3 * time.Second

func notRenewable(t keystore.Token) string {
	if t.RefreshToken.IsZero() {
		return "there is no refresh token"
	}
	return "the record does not say of which client it is"
}

// loginOver tells that only a new login helps.
func (s *Source) loginOver(ctx context.Context, detail string) error {
	err := &keystore.Error{Key: s.key(), Err: keystore.ErrLoginRequired, Detail: detail}
	s.complain(ctx, err)
	return err
}

func (s *Source) key() keystore.RecordKey {
	return keystore.RecordKey{Namespace: s.store.Namespace(), Kind: keystore.KindToken, Name: s.resourceServer}
}

// refresh renews the token, which is old or what has come in its place, if it is
// stale, and tells what came of it.
func (s *Source) refresh(ctx context.Context, old keystore.Token, stale func(keystore.Token) bool) (keystore.Token, error) {
	r := renewing{Source: s, began: s.uptime(), of: old}
	t, err := s.store.Refresh(ctx, s.resourceServer, stale, r.ask,
		func(t keystore.Token) { s.tell(ctx, r.told(t)) })
	if errors.Is(err, errLeft) {
		return keystore.Token{}, s.lastFailure()
	}
	if err != nil {
		r.failed(ctx, err)
		return keystore.Token{}, err
	}
	if s.expired(t) {
		return keystore.Token{}, &keystore.Error{Key: s.key(), Err: keystore.ErrUnavailable, Detail: "the new token was over before it was here"}
	}
	s.meet(t)
	return t, nil
}

// tell calls the hook. Who asks the Source meanwhile must get the new token,
// however short it lives.
func (s *Source) tell(ctx context.Context, r Refreshed) {
	s.remember(r.Token)
	if s.opts.OnRefresh == nil {
		return
	}
	s.hook(+1)
	defer s.hook(-1)
	s.opts.OnRefresh(context.WithoutCancel(ctx), r)
}

func (s *Source) hook(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks += n
}

func (s *Source) complain(ctx context.Context, err error) {
	if s.opts.OnError != nil {
		s.opts.OnError(context.WithoutCancel(ctx), err)
	}
}

// leave leaves the issuer of t alone for as long as it wants, and for some seconds
// while t is good: each try may take 20.
func (s *Source) leave(t keystore.Token, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause := retryPause
	if e, ok := errors.AsType[*Error](err); ok {
		pause = max(pause, e.RetryAfter)
	}
	now := s.uptime()
	s.failure = failure{of: t, err: err, at: now, until: now.Add(pause)}
}

const retryPause = 10 * time.Second

// left returns why the issuer of t is to be left alone. Who has no token that is good
// asks all the same, unless the issuer has said when, or that it will never be. When
// somebody has logged in or renewed since, that was of another token.
func (s *Source) left(t keystore.Token, expired bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.failure.is(t) || !s.uptime().Before(s.failure.until) {
		return nil
	}
	e, _ := errors.AsType[*Error](s.failure.err)
	if expired && (e == nil || e.RetryAfter == 0) && !errors.Is(s.failure.err, keystore.ErrLoginRequired) {
		return nil
	}
	return s.failure.err
}

// errLeft says that the issuer was not asked again: somebody else of this Source
// has been told no while we waited for our turn.
var errLeft = errors.New("the issuer has just failed")

// failedSince reports whether a renewal of t has failed that began no earlier.
func (s *Source) failedSince(began time.Time, t keystore.Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure.is(t) && !s.failure.at.Before(began)
}

func (f failure) is(t keystore.Token) bool {
	return f.err != nil && sameLife(f.of, t) && f.of.RefreshToken.Equal(t.RefreshToken)
}

// sameLife reports whether a and b are one access token, and no renewal has made its
// life longer between them: an issuer may answer with the same one.
func sameLife(a, b keystore.Token) bool {
	return a.AccessToken.Equal(b.AccessToken) && a.ExpiresAt.Equal(b.ExpiresAt) && a.Used.Equal(b.Used)
}

func (s *Source) lastFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure.err
}

// remembered returns the last token if that is good, or if a hook is being told
// of it.
func (s *Source) remembered() (keystore.Token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.AccessToken.IsZero() || s.refused {
		return keystore.Token{}, false
	}
	return s.token, s.hooks > 0 && !s.over(s.token) || !s.old(s.token)
}

// remember keeps t. What is known of its age stays if it is here already: the
// clock may have been set back since.
func (s *Source) remember(t keystore.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !sameLife(s.token, t) {
		s.since, s.lives = s.uptime(), t.ExpiresAt.Sub(s.store.Now())
	}
	s.refused = s.refused && s.token.AccessToken.Equal(t.AccessToken)
	s.token = t
}

// meet remembers a token that was read, unless a hook is being told of a newer one.
func (s *Source) meet(t keystore.Token) {
	s.mu.Lock()
	telling := s.hooks > 0
	s.mu.Unlock()
	if !telling {
		s.remember(t)
	}
}

func (s *Source) forget(access keystore.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = s.refused || s.token.AccessToken.Equal(access)
}

// stale reports whether t is to be renewed.
func (s *Source) stale(t keystore.Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.old(t)
}

// old is stale for who holds mu. What comes from the future was got when the clock
// was wrong, then or now. Five minutes of that may lie between two machines that
// share a store.
func (s *Source) old(t keystore.Token) bool {
	const skew = 5 * time.Minute
	return s.remains(t) <= s.leeway(t) || t.Used.After(s.store.Now().Add(skew))
}

// over is expired for who holds mu.
func (s *Source) over(t keystore.Token) bool { return s.remains(t) <= 0 }

// remains is how long t is good for: by the clock, and at most by what it had to
// live when it came to this process, as the clock may have been set back since.
func (s *Source) remains(t keystore.Token) time.Duration {
	left := t.ExpiresAt.Sub(s.store.Now())
	if sameLife(s.token, t) {
		left = min(left, s.lives-s.uptime().Sub(s.since))
	}
	return left
}

// leeway is how long before its end a token is renewed.
func (s *Source) leeway(t keystore.Token) time.Duration {
	if t.Used.IsZero() { // its lifetime is not known
		return max(s.opts.MinTTL, defaultLeeway)
	}
	lifetime := t.ExpiresAt.Sub(t.Used)
	if s.opts.MinTTL > 0 && s.opts.MinTTL < lifetime {
		return s.opts.MinTTL
	}
	return max(0, min(defaultLeeway, lifetime/2))
}

// defaultLeeway is the Globus SDK's too.
const defaultLeeway = 60 * time.Second

// expired reports whether t must not be used any more.
func (s *Source) expired(t keystore.Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over(t)
}
