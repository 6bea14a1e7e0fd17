package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// renewed is a login at a Server in a store, with clocks that the test moves. The
// uptime is what really passes.
type renewed struct {
	*testing.T
	server *oauthtest.Server
	store  *keystore.Store
	token  keystore.Token // as it was when the test began

	passed, wrong atomic.Int64 // time since then, and by how much the clock is wrong
}

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// newRenewed stores a login whose access token lives for so many seconds.
func newRenewed(t *testing.T, r oauthtest.Rotation, lifetime int) *renewed {
	t.Helper()
	w := &renewed{T: t, server: oauthtest.New(t)}
	w.server.SetRotation(r)
	w.server.SetLifetime(lifetime)
	w.store = keystore.New(memory.New(), &keystore.Options{Clock: w.now})
	w.login()
	return w
}

func (w *renewed) login() {
	w.Helper()
	w.token = oneLogin(w.T, w.server, newClient(w.T, w.server, &oauth.Options{Clock: w.now}))
	put(w, w.store, w.token)
}

func (w *renewed) now() time.Time {
	return w.uptime().Add(time.Duration(w.wrong.Load()))
}

func (w *renewed) uptime() time.Time { return epoch.Add(time.Duration(w.passed.Load())) }

func (w *renewed) pass(d time.Duration) { w.passed.Add(int64(d)) }

// setClock makes the clock wrong by d; time goes on as before.
func (w *renewed) setClock(d time.Duration) { w.wrong.Store(int64(d)) }

func (w *renewed) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *renewed) source(opts *oauth.SourceOptions) *oauth.Source {
	s := oauth.NewSource(w.store, transfer, opts)
	s.SetUptime(w.uptime)
	return s
}

func (w *renewed) get(s *oauth.Source) string {
	w.Helper()
	t, err := s.Get(w.Context())
	w.ok(err)
	return t.AccessToken.Reveal()
}

// counted checks the server's refreshes and requests, the login's among them, and
// that no spent token came back.
func (w *renewed) counted(refreshes, posts int) {
	w.Helper()
	if c := w.server.Counts(); c.Refreshes != refreshes || c.Posts != posts || c.Reuse != 0 {
		w.Errorf("%+v, want %d refreshes, %d posts and nothing reused", c, refreshes, posts)
	}
}

var rotations = map[string]oauthtest.Rotation{"static": oauthtest.Static, "omitted": oauthtest.Omitted, "rotating": oauthtest.Rotating}

func TestSourceRenewsOnce(t *testing.T) {
	for name, rotation := range rotations {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, rotation, 3600)
			var hooks atomic.Int64
			opts := &oauth.SourceOptions{OnRefresh: func(context.Context, oauth.Refreshed) { hooks.Add(1) }}
			sources := []*oauth.Source{w.source(opts), w.source(opts)} // as two processes have them
			for expiry := 1; expiry <= 3; expiry++ {
				w.pass(time.Hour)
				var all sync.WaitGroup
				var got sync.Map
				for n := range 256 {
					all.Go(func() {
						if token, err := sources[n%2].Get(t.Context()); err != nil {
							t.Error(err)
						} else {
							got.Store(token.AccessToken.Reveal(), true)
						}
					})
				}
				all.Wait()
				different := 0
				got.Range(func(any, any) bool { different++; return true })
				if different != 1 || hooks.Load() != int64(expiry) {
					t.Errorf("expiry %d: %d different tokens, %d hooks", expiry, different, hooks.Load())
				}
				w.counted(expiry, 1+expiry)
			}
		})
	}
}

func TestValidTokenIsNotRenewed(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	s := w.source(nil)
	for range 3 {
		w.pass(19 * time.Minute)
		if got := w.get(s); got != w.token.AccessToken.Reveal() {
			t.Errorf("got %q", got)
		}
	}
	w.counted(0, 1)
	w.pass(2 * time.Minute) // less than 60 s are left
	if got := w.get(s); got == w.token.AccessToken.Reveal() {
		t.Error("the old token is given in its last minute")
	}
	w.counted(1, 2)
}

func TestMinTTL(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.pass(31 * time.Minute)
	s := w.source(&oauth.SourceOptions{MinTTL: 30 * time.Minute})
	w.get(s)
	w.get(s)
	w.counted(1, 2)
	never := w.source(&oauth.SourceOptions{MinTTL: 2 * time.Hour}) // no token lives so long
	w.get(never)
	w.counted(1, 2)
}

// TestOnRefresh: the token is stored, it is what whoever asks gets, and no lock is
// held.
func TestOnRefresh(t *testing.T) {
	for name, rotation := range rotations {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, rotation, 3600)
			var s *oauth.Source
			var told []string
			s = w.source(&oauth.SourceOptions{OnRefresh: func(ctx context.Context, r oauth.Refreshed) {
				told = append(told, r.Token.AccessToken.Reveal())
				stored, err := w.store.Get(ctx, transfer)
				if err != nil || !stored.AccessToken.Equal(r.Token.AccessToken) {
					t.Errorf("inside the hook the store has %v", err)
				}
				inside, err := s.Token()
				if err != nil || inside.AccessToken != told[0] {
					t.Errorf("inside the hook Token gives another: %v", err)
				}
				again, err := w.source(nil).Get(ctx)
				if err != nil || !again.AccessToken.Equal(r.Token.AccessToken) {
					t.Errorf("inside the hook another Source gives another: %v", err)
				}
				if len(r.Narrowed)+len(r.Widened) > 0 {
					t.Errorf("narrowed by %v, widened by %v", r.Narrowed, r.Widened)
				}
			}})
			w.pass(time.Hour)
			if got := w.get(s); len(told) != 1 || got != told[0] || got == w.token.AccessToken.Reveal() {
				t.Errorf("got %q, told of %v", got, told)
			}
			w.get(s)
			w.counted(1, 2)
			if len(told) != 1 {
				t.Errorf("told %d times", len(told))
			}
		})
	}
}

// TestTokenInsideAHook is the new one also where it is stale already, and never
// one that is over.
func TestTokenInsideAHook(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.server.SetLifetime(10)
	var s *oauth.Source
	depth := 0
	s = w.source(&oauth.SourceOptions{OnRefresh: func(ctx context.Context, r oauth.Refreshed) {
		if depth++; depth > 1 {
			return
		}
		w.pass(7 * time.Second)
		if got := w.get(s); got != r.Token.AccessToken.Reveal() {
			t.Errorf("with 3 seconds left the hook gets %q", got)
		}
		w.pass(3 * time.Second)
		if got := w.get(s); got == r.Token.AccessToken.Reveal() {
			t.Error("the hook gets a token that is over")
		}
	}})
	w.pass(time.Hour)
	if _, err := s.Get(t.Context()); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable: the hook has outlived the token", err)
	}
	w.counted(2, 3)
}

func TestScopesReachTheHook(t *testing.T) {
	more := transferAll + " " + transferMore
	for name, want := range map[string]struct {
		bad               string
		narrowed, widened []string
	}{
		"narrowed": {"narrower scope", []string{transferMore}, nil},
		"widened":  {"wider scope", nil, []string{"urn:globus:auth:scope:transfer.api.globus.org:more"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, oauthtest.Static, 3600)
			if w.token.Scope != more {
				t.Fatalf("the login has %q", w.token.Scope)
			}
			w.server.AnswerBadly(want.bad)
			w.pass(time.Hour)
			told := 0
			w.get(w.source(&oauth.SourceOptions{OnRefresh: func(_ context.Context, r oauth.Refreshed) {
				told++
				if !slices.Equal(r.Narrowed, want.narrowed) || !slices.Equal(r.Widened, want.widened) {
					t.Errorf("narrowed by %v, widened by %v", r.Narrowed, r.Widened)
				}
			}}))
			if told != 1 {
				t.Errorf("told %d times", told)
			}
		})
	}
}

// TestHookWithoutACaller: who needed the token has gone, and that is no error.
func TestHookWithoutACaller(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	duringRefresh(w.server, func() {
		cancel()
		<-gone
	})
	told := make(chan error, 1)
	s := w.source(&oauth.SourceOptions{
		OnRefresh: func(ctx context.Context, r oauth.Refreshed) { told <- ctx.Err() },
		OnError:   func(_ context.Context, err error) { t.Errorf("OnError hears %v", err) },
	})
	w.pass(time.Hour)
	if _, err := s.Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller gets %v", err)
	}
	close(gone)
	if err := <-told; err != nil {
		t.Errorf("the hook's context has ended: %v", err)
	}
	w.get(s)
	w.counted(1, 2)
}

func TestPanicInAHook(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	panics := true
	s := w.source(&oauth.SourceOptions{OnRefresh: func(context.Context, oauth.Refreshed) {
		if panics {
			panic("by the test")
		}
	}})
	for expiry := 1; expiry <= 2; expiry++ {
		w.pass(time.Hour)
		func() {
			defer func() {
				if got := recover(); (got == "by the test") != panics {
					t.Errorf("the caller has recovered %v", got)
				}
			}()
			s.Get(t.Context())
		}()
		panics = false
		w.get(s)
		w.get(w.source(nil))
		w.counted(expiry, 1+expiry)
	}
}

// TestDeadRefreshToken: who asks again is told so, and the issuer is not asked.
func TestDeadRefreshToken(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.server.KillLogins()
	var heard []error
	s := w.source(&oauth.SourceOptions{OnError: func(_ context.Context, err error) { heard = append(heard, err) }})
	w.pass(time.Hour - 30*time.Second)
	if got := w.get(s); got != w.token.AccessToken.Reveal() {
		t.Errorf("got %q in the last 30 seconds", got)
	}
	w.pass(time.Minute)
	for range 3 {
		_, err := s.Token()
		if !errors.Is(err, keystore.ErrLoginRequired) || !strings.Contains(err.Error(), fmt.Sprintf("%q in namespace %q", transfer, "DEFAULT")) {
			t.Errorf("%v, want ErrLoginRequired that names the login", err)
		}
		noLeak(t, err)
	}
	w.counted(0, 3)
	if len(heard) != 2 || !errors.Is(heard[0], keystore.ErrLoginRequired) || !errors.Is(heard[1], keystore.ErrLoginRequired) {
		t.Errorf("OnError has heard %v, want one for each request", heard)
	}
	w.login() // at once
	if got := w.get(s); got != w.token.AccessToken.Reveal() {
		t.Errorf("after a new login: %q", got)
	}
}

// TestIssuerThatIsDown: a token that is good for a moment is given, and the issuer
// is asked once in 10 seconds, however many want to know.
func TestIssuerThatIsDown(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.server.AnswerBadly("closes after the request")
	var errs atomic.Int64
	s := w.source(&oauth.SourceOptions{OnError: func(context.Context, error) { errs.Add(1) }})
	w.pass(time.Hour - 35*time.Second)
	for tries := 1; tries <= 3; tries++ {
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				if got, err := s.Get(t.Context()); err != nil || !got.AccessToken.Equal(w.token.AccessToken) {
					t.Errorf("%v, want the old token", err)
				}
			})
		}
		all.Wait()
		if posts := w.server.Counts().Posts; posts != 1+tries || errs.Load() != int64(tries) {
			t.Errorf("%d requests, %d errors after try %d", posts-1, errs.Load(), tries)
		}
		w.pass(10 * time.Second)
	}
	w.pass(5 * time.Second) // over
	if _, err := s.Get(t.Context()); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

// TestRetryAfter is obeyed by all, whether or not they have a token that is good.
func TestRetryAfter(t *testing.T) {
	w := newRenewed(t, oauthtest.Static, 3600)
	w.server.AnswerBadly("429 with an absurd number") // a day is the most
	s := w.source(nil)
	w.pass(time.Hour - 30*time.Second)
	w.get(s)
	for range 4 {
		w.pass(time.Hour)
		for _, ask := range []func() error{
			func() error { _, err := s.Get(t.Context()); return err },
			func() error { _, err := s.Refused(t.Context(), w.token.AccessToken); return err },
		} {
			err := ask()
			if e := asError(t, err); e.Status != 429 || e.RetryAfter != 24*time.Hour {
				t.Errorf("%v, want what the issuer has said", err)
			}
		}
	}
	if posts := w.server.Counts().Posts; posts != 2 {
		t.Errorf("%d requests, want the login and one", posts)
	}
	w.server.AnswerBadly("")
	w.pass(21 * time.Hour)
	w.get(s)
	if posts := w.server.Counts().Posts; posts != 3 {
		t.Errorf("%d requests after the time, want one more", posts-2)
	}
}

// TestSilenceIsForOneToken: when somebody has logged in, at another issuer even, or
// another process was served, the issuer of that token has said nothing.
func TestSilenceIsForOneToken(t *testing.T) {
	for name, since := range map[string]func(*renewed){
		"a login": (*renewed).login,
		"a login at another issuer": func(w *renewed) {
			w.server = oauthtest.New(w.T)
			w.server.SetLifetime(3600)
			w.ok(w.store.Delete(w.Context(), transfer))
			w.login()
		},
		"a renewal elsewhere": func(w *renewed) {
			_, err := w.source(nil).Renew(w.Context())
			w.ok(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, oauthtest.Static, 3600)
			s := w.source(nil)
			w.server.AnswerBadly("429 with an absurd number") // a day
			w.pass(time.Hour - 30*time.Second)
			w.get(s)
			w.server.AnswerBadly("")
			since(w)
			first := w.get(s)
			w.pass(time.Hour - 30*time.Second)
			if got := w.get(s); got == first {
				t.Error("the next token is not renewed")
			}
		})
	}
}

// TestIssuerThatExtendsAToken: RFC 6749 does not say that the new access token is
// another text. One whose life was made longer is good.
func TestIssuerThatExtendsAToken(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	posts := 0
	extends := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		posts++
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(map[string]any{"access_token": w.token.AccessToken.Reveal(), "token_type": "Bearer", "expires_in": 3600,
			"resource_server": transfer})
	}))
	defer extends.Close()
	w.token.Issuer, w.token.Endpoints = extends.URL, keystore.Endpoints{Token: extends.URL + "/token"}
	w.ok(w.store.Delete(t.Context(), transfer))
	w.ok(w.store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{w.token}}))
	sources := []*oauth.Source{w.source(nil), w.source(nil)} // as two processes have them
	for expiry := range 4 {
		for range 3 {
			var all sync.WaitGroup
			for n := range 64 {
				all.Go(func() {
					if got, err := sources[n%2].Get(t.Context()); err != nil || !got.AccessToken.Equal(w.token.AccessToken) {
						t.Errorf("got %q, %v", got.AccessToken.Reveal(), err)
					}
				})
			}
			all.Wait()
			w.pass(20 * time.Minute)
		}
		if posts != expiry {
			t.Errorf("%d requests after %d lives", posts, expiry)
		}
	}
}

// TestRetryAfterForThoseWhoWait: they were there before the issuer said no.
func TestRetryAfterForThoseWhoWait(t *testing.T) {
	w := newRenewed(t, oauthtest.Static, 3600)
	w.server.AnswerBadly("429 with seconds")
	s := w.source(nil)
	w.pass(time.Hour)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := s.Get(t.Context()); !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
	all.Wait()
	if posts := w.server.Counts().Posts; posts != 2 {
		t.Errorf("%d requests, want the login and one", posts)
	}
}

// TestTokensShorterThanTheLeeway are used for half of their life, and never after
// their end.
func TestTokensShorterThanTheLeeway(t *testing.T) {
	for _, lifetime := range []int{2, 10, 59, 60, 61, 119, 120, 121, 600} {
		for _, minTTL := range []time.Duration{0, 5 * time.Second, time.Hour} {
			t.Run(fmt.Sprint(lifetime, " ", minTTL), func(t *testing.T) {
				w := newRenewed(t, oauthtest.Rotating, lifetime)
				s := w.source(&oauth.SourceOptions{MinTTL: minTTL})
				life := time.Duration(lifetime) * time.Second
				const lives = 5
				for range lives * 20 {
					w.pass(life / 20)
					got, err := s.Get(t.Context())
					if err != nil || got.Expired(w.now()) {
						t.Fatalf("%v, or a token that is over", err)
					}
				}
				if n := w.server.Counts().Refreshes; n < lives-1 || n > 2*lives+1 {
					t.Errorf("%d refreshes in %d lives", n, lives)
				}
			})
		}
	}
}

func TestTokenOfUnknownLifeIsNotRenewedInALoop(t *testing.T) {
	w := newRenewed(t, oauthtest.Static, 3600)
	w.server.AnswerBadly("missing expires_in")
	s := w.source(nil)
	w.pass(time.Hour)
	for range 29 {
		w.get(s)
		w.pass(time.Second)
	}
	w.counted(1, 2)
}

// TestClockSet forward or back: no token is used for longer than it lives, whether
// or not the issuer can be asked, and it is asked once for each life at the most,
// and once for each time that the clock was set.
func TestClockSet(t *testing.T) {
	const hour, year = time.Hour, 365 * 24 * time.Hour
	for _, by := range []time.Duration{-10 * year, -year, -5 * hour, -hour, -10 * time.Minute, -time.Minute, time.Minute, 5 * hour, 10 * year} {
		for name, down := range map[string]bool{"": false, ", issuer down": true} {
			t.Run(by.String()+name, func(t *testing.T) {
				w := newRenewed(t, oauthtest.Static, 3600)
				s := w.source(nil)
				if got := w.get(s); got != w.token.AccessToken.Reveal() {
					t.Fatalf("at first: %q", got)
				}
				w.pass(10 * time.Minute)
				w.setClock(by)
				if down {
					w.server.AnswerBadly("503 without a time")
				}
				born := map[string]time.Time{w.token.AccessToken.Reveal(): epoch}
				given := 0
				for range 300 { // minutes
					t, err := s.Get(t.Context())
					if err == nil {
						name := t.AccessToken.Reveal()
						if born[name].IsZero() {
							born[name] = w.uptime()
						}
						if age := w.uptime().Sub(born[name]); age >= hour {
							w.Fatalf("a token is given %v after its birth", age)
						}
						given++
					} else if !down {
						w.Fatal(err)
					}
					w.pass(time.Minute)
				}
				if c := w.server.Counts(); !down && (c.Refreshes < 4 || c.Refreshes > 7) {
					t.Errorf("%+v in 5 hours, want a refresh for each hour", c)
				}
				if down && given > 50 {
					t.Errorf("a token with 50 minutes left was given %d times, once a minute", given)
				}
			})
		}
	}
}

// TestClockSetBackBetweenProcesses: a process that begins then finds a token from
// the future, renews it once, and the next one finds that in order.
func TestClockSetBackBetweenProcesses(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.setClock(-365 * 24 * time.Hour)
	for range 5 {
		w.get(w.source(nil))
		w.pass(time.Minute)
	}
	w.counted(1, 2)
}

// TestRefused renews what a resource server does not take: once, and only that.
func TestRefused(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	s := w.source(nil)
	w.get(s)
	if _, err := s.Refused(t.Context(), w.token.AccessToken); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("a token of this minute: %v, want ErrLoginRequired", err)
	}
	w.counted(0, 1)
	w.pass(2 * time.Minute)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if got, err := s.Refused(t.Context(), w.token.AccessToken); err != nil || got.AccessToken.Equal(w.token.AccessToken) {
				t.Errorf("refused: %v, or the same token", err)
			}
		})
	}
	all.Wait()
	w.counted(1, 2)
	fresh := w.get(s)
	if got, err := s.Refused(t.Context(), keystore.NewSecret("fake-older")); err != nil || got.AccessToken.Reveal() != fresh {
		t.Errorf("another token was refused: %v, or not what is stored", err)
	}
	if _, err := s.Refused(t.Context(), keystore.NewSecret(fresh)); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("the new one is refused too: %v, want ErrLoginRequired", err)
	}
	w.counted(1, 2)
}

func TestSourceWithoutALogin(t *testing.T) {
	w := newRenewed(t, oauthtest.Static, 3600)
	if _, err := oauth.NewSource(w.store, groupsAll, nil).Get(t.Context()); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	bare := keystore.Token{ResourceServer: "bare", AccessToken: keystore.NewSecret("fake-bare"), TokenType: "Bearer", ExpiresAt: epoch.Add(time.Hour)}
	put(w, w.store, bare)
	s := oauth.NewSource(w.store, "bare", nil)
	s.SetUptime(w.uptime)
	for range 59 {
		w.get(s)
		w.pass(time.Minute)
	}
	w.pass(59 * time.Second)
	w.get(s) // its last second
	w.pass(time.Second)
	if _, err := s.Get(t.Context()); !errors.Is(err, keystore.ErrLoginRequired) {
		t.Errorf("%v, want ErrLoginRequired", err)
	}
}

// TestSourceHidesTheRefreshToken from package oauth2, which would spend it.
func TestSourceHidesTheRefreshToken(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	got, err := w.source(nil).Token()
	w.ok(err)
	if got.RefreshToken != "" || !got.Expiry.Equal(w.token.ExpiresAt) || got.Type() != "Bearer" {
		t.Errorf("refresh token %q, expiry %v, type %q", got.RefreshToken, got.Expiry, got.Type())
	}
}

// TestOnTokenChange keeps what another refresher does.
func TestOnTokenChange(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.pass(time.Since(epoch)) // that refresher has the real clock
	p := w.server.Provider()
	config := &oauth2.Config{ClientID: clientID, Endpoint: oauth2.Endpoint{TokenURL: p.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams}}
	changed := oauth.OnTokenChange(t.Context(), w.store, transfer, func(err error) { t.Error(err) })
	stale := &oauth2.Token{RefreshToken: w.token.RefreshToken.Reveal(), Expiry: time.Now().Add(-time.Hour)}
	got, err := config.TokenSource(t.Context(), stale).Token() // with a ReuseTokenSource, as all do
	w.ok(err)
	changed(got)
	stored, err := w.store.Get(t.Context(), transfer)
	w.ok(err)
	if stored.AccessToken.Reveal() != got.AccessToken || stored.RefreshToken.Reveal() != got.RefreshToken {
		t.Error("the store has other tokens")
	}
	if stored.Issuer != p.Issuer || stored.ClientID != clientID || stored.Endpoints != w.token.Endpoints || stored.Scope == "" || !stored.LoggedIn.Equal(w.token.LoggedIn) {
		t.Errorf("of the login is left: %+v", stored)
	}
	w.get(w.source(nil))
	w.counted(1, 2)
	oauth.OnTokenChange(t.Context(), w.store, "", func(e error) { err = e })(got)
	if !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("what cannot be stored: %v, want ErrInvalid", err)
	}
}
