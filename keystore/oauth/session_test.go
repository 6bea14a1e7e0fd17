package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// sticky is an adapter that cannot be written while it is shut.
type sticky struct {
	keystore.StorageAdapter
	shut atomic.Bool
}

func (a *sticky) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if a.shut.Load() {
		return &keystore.Error{Err: keystore.ErrReadOnly}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.StorageAdapter.Update(ctx, fn)
}

// atExchange calls do once, when a code is redeemed and the answer is not sent yet.
func atExchange(s *oauthtest.Server, do func()) {
	s.BeforeAnswer(func(e oauthtest.Event) {
		if e.Grant == "authorization_code" {
			do()
		}
	})
}

func stored(t *testing.T, store *keystore.Store) (servers []string) {
	t.Helper()
	for token, err := range store.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, token.ResourceServer)
	}
	return servers
}

// TestNobodyLogsInForNothing: a store that cannot be written is found out before.
func TestNobodyLogsInForNothing(t *testing.T) {
	s := oauthtest.New(t)
	a := &sticky{StorageAdapter: memory.New()}
	a.shut.Store(true)
	opts := openID(s)
	opts.Visit = func(context.Context, string) error { t.Error("somebody is sent to a page"); return errHere }
	_, err := oauth.Login(t.Context(), keystore.New(a, nil), newClient(t, s, nil), opts)
	if !errors.Is(err, keystore.ErrReadOnly) || s.Counts() != (oauthtest.Counts{}) {
		t.Errorf("%v, want ErrReadOnly; the server was asked %+v", err, s.Counts())
	}
}

// TestLoginIsStoredWhoeverGivesUp: the code is spent, and nobody else has the tokens.
func TestLoginIsStoredWhoeverGivesUp(t *testing.T) {
	s := oauthtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	atExchange(s, cancel)
	store := keystore.New(&sticky{StorageAdapter: memory.New()}, nil)
	if _, err := oauth.Login(ctx, store, newClient(t, s, nil), openID(s)); err != nil || ctx.Err() == nil {
		t.Error(err)
	}
	if got := stored(t, store); !slices.Equal(got, []string{"auth.globus.org", transfer}) {
		t.Errorf("stored are %q", got)
	}
	if account, err := store.Account(t.Context()); err != nil || account.Subject != oauthtest.Subject || account.ClientID != clientID {
		t.Errorf("the account is %+v, %v", account, err)
	}
}

// TestLoginThatCannotBeKept is revoked, all of it, and what cannot be revoked either
// is named.
func TestLoginThatCannotBeKept(t *testing.T) {
	for name, c := range map[string]struct {
		revocation bool
		living     int
		says       []string
	}{
		"revoked": {true, 0, nil},
		"not revoked": {false, 4, []string{`revoke the new login at token "auth.globus.org" in namespace "DEFAULT"`,
			`revoke the new login at token "` + transfer + `" in namespace "DEFAULT"`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			p := s.Provider()
			if !c.revocation {
				p.RevocationEndpoint = ""
			}
			client, err := oauth.NewClient(p, oauth.Credentials{ID: clientID}, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := &sticky{StorageAdapter: memory.New()}
			atExchange(s, func() { a.shut.Store(true) })
			store := keystore.New(a, nil)
			_, err = oauth.Login(t.Context(), store, client, openID(s))
			if !errors.Is(err, keystore.ErrReadOnly) {
				t.Fatalf("%v, want ErrReadOnly", err)
			}
			for _, one := range strings.Split(err.Error(), "\n") { // as errors.Join has them
				noLeak(t, errors.New(one))
			}
			for _, words := range c.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%v does not say %s", err, words)
				}
			}
			if errors.Is(err, keystore.ErrUnavailable) == c.revocation {
				t.Errorf("%v; is it about the revocation: %v", err, !c.revocation)
			}
			if living := s.Living(); len(living) != c.living || len(stored(t, store)) != 0 {
				t.Errorf("the server takes %d tokens, want %d; stored are %q", len(living), c.living, stored(t, store))
			}
		})
	}
}

// TestSecretIsKeptWithTheLogin of a confidential client: it renews, and it logs out.
func TestSecretIsKeptWithTheLogin(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	store := w.store.In("service")
	c := newService(t, w.server, &oauth.Options{Clock: w.now})
	answer, err := oauth.Login(t.Context(), store, c, oauth.LoginOptions{Scopes: []string{transferAll}, Visit: newBrowser(w.server).visit})
	w.ok(err)
	w.pass(time.Hour)
	s := oauth.NewSource(store, transfer, nil)
	s.SetUptime(w.uptime)
	if got := w.get(s); got == answer.Response.Tokens[0].AccessToken.Reveal() {
		t.Error("nothing was renewed")
	}
	w.ok(oauth.Logout(t.Context(), store, transfer, nil))
	if c := w.server.Counts(); c.Refreshes != 1 || c.Revokes != 2 || c.Denied != 0 {
		t.Errorf("%+v, want one refresh and two revocations", c)
	}
}

// withCode is what the confidential client c, of id, is granted for a code of subject.
func withCode(t *testing.T, s *oauthtest.Server, c *oauth.Client, id, subject, scope string) oauth.Answer {
	t.Helper()
	code := s.Code(id, redirectURI, verifier, scope)
	a, err := c.Exchange(t.Context(), keystore.NewSecret(code), keystore.NewSecret(verifier), redirectURI, scope)
	if err != nil {
		t.Fatal(err)
	}
	a.Response.Account.Subject, a.Response.Tokens[0].IdentityID = subject, subject
	return a
}

// TestRefusedLoginLeavesTheSecret of the client whose logins are there.
func TestRefusedLoginLeavesTheSecret(t *testing.T) {
	s, store := oauthtest.New(t), newStore(t)
	c := newService(t, s, nil)
	if err := c.Keep(t.Context(), store, withCode(t, s, c, serviceID, oauthtest.Subject, transferAll)); err != nil {
		t.Fatal(err)
	}
	s.AddClient("another", "fake-another")
	other, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: "another", Secret: keystore.NewSecret("fake-another")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := withCode(t, s, other, "another", "somebody else", groupsAll)
	if err := other.Keep(t.Context(), store, refused); !errors.Is(err, keystore.ErrSubjectMismatch) {
		t.Errorf("%v, want ErrSubjectMismatch", err)
	}
	if !s.Dead(refused.Response.Tokens[0].RefreshToken.Reveal()) {
		t.Error("the login that was refused is not revoked")
	}
	if _, err := oauth.NewSource(store, transfer, nil).Renew(t.Context()); err != nil {
		t.Errorf("the login that is there: %v", err)
	}
}

// TestClientCredentialsOverAPersonsLogin: the client's own login is not that person's.
func TestClientCredentialsOverAPersonsLogin(t *testing.T) {
	s, store := oauthtest.New(t), newStore(t)
	c := newService(t, s, nil)
	if err := c.Keep(t.Context(), store, withCode(t, s, c, serviceID, oauthtest.Subject, transferAll)); err != nil {
		t.Fatal(err)
	}
	own, err := c.ClientCredentials(t.Context(), []string{transferAll})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Keep(t.Context(), store, own); !errors.Is(err, keystore.ErrSubjectMismatch) {
		t.Errorf("%v, want ErrSubjectMismatch", err)
	}
	got, err := store.Get(t.Context(), transfer)
	if err != nil || got.RefreshToken.IsZero() || got.IdentityID != oauthtest.Subject || got.Grant != "" {
		t.Errorf("%v; the person's login is now %+v", err, got)
	}
	if s.Active(own.Response.Tokens[0].AccessToken.Reveal()) {
		t.Error("the client's own token was not revoked")
	}
	// Nor the other way round, before the client's own has been logged out.
	other := store.In("other")
	if own, err = c.ClientCredentials(t.Context(), []string{transferAll}); err == nil {
		err = c.Keep(t.Context(), other, own)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Keep(t.Context(), other, withCode(t, s, c, serviceID, oauthtest.Subject, transferAll)); !errors.Is(err, keystore.ErrSubjectMismatch) {
		t.Errorf("a person's over a client's own: %v, want ErrSubjectMismatch", err)
	}
}

// unsure is an adapter whose n-th Update from now on fails: it has no effect, or it
// has, as where a directory cannot be synced after the rename.
type unsure struct {
	keystore.StorageAdapter
	n      int
	effect bool
}

func (u *unsure) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if u.n--; u.n != 0 {
		return u.StorageAdapter.Update(ctx, fn)
	}
	if u.effect {
		u.StorageAdapter.Update(ctx, fn)
	}
	return &keystore.Error{Err: keystore.ErrReadOnly}
}

// TestWhatIsStoredIsNotRevoked, whatever Keep could not do.
func TestWhatIsStoredIsNotRevoked(t *testing.T) {
	for name, c := range map[string]struct {
		n      int // the Update that fails: 1 stores the login, 2 the secret
		effect bool
		living int
		says   string
	}{
		"the login is not stored":         {1, false, 0, ""},
		"the login is stored, as it were": {1, true, 2, ""},
		"the secret is not stored":        {2, false, 2, "the login is stored, but not the secret"},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauthtest.New(t)
			a := &unsure{memory.New(), c.n, c.effect}
			store := keystore.New(a, nil)
			client := newService(t, s, nil)
			err := client.Keep(t.Context(), store, withCode(t, s, client, serviceID, oauthtest.Subject, transferAll))
			if !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want ErrReadOnly and %q", err, c.says)
			}
			noLeak(t, err)
			if living := s.Living(); len(living) != c.living || len(stored(t, store)) != c.living/2 {
				t.Errorf("the server takes %d tokens, want %d; stored are %q", len(living), c.living, stored(t, store))
			}
		})
	}
}

// TestClientsOwnLoginThatIsStored has no refresh token by which to know it.
func TestClientsOwnLoginThatIsStored(t *testing.T) {
	s := oauthtest.New(t)
	c := newService(t, s, nil)
	own, err := c.ClientCredentials(t.Context(), []string{transferAll})
	if err != nil {
		t.Fatal(err)
	}
	store := keystore.New(&unsure{memory.New(), 1, true}, nil)
	if err := c.Keep(t.Context(), store, own); !errors.Is(err, keystore.ErrReadOnly) || len(s.Living()) != 1 {
		t.Errorf("%v; the server takes %d tokens, want the one that is stored", err, len(s.Living()))
	}
}

// TestClientsOwnLoginThatCannotBeKept is revoked, over another one without refresh token.
func TestClientsOwnLoginThatCannotBeKept(t *testing.T) {
	s := oauthtest.New(t)
	a := &sticky{StorageAdapter: memory.New()}
	store := keystore.New(a, nil)
	c := newService(t, s, nil)
	for range 2 {
		own, err := c.ClientCredentials(t.Context(), []string{transferAll})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Keep(t.Context(), store, own); (err != nil) != a.shut.Load() || len(s.Living()) != 1 {
			t.Errorf("%v; the server takes %d tokens, want one", err, len(s.Living()))
		}
		a.shut.Store(true)
	}
}

// TestTypesShowNoSecret by any verb, nor as JSON.
func TestTypesShowNoSecret(t *testing.T) {
	s, store := oauthtest.New(t), newStore(t)
	a := login(t, s, newClient(t, s, nil), "openid", transferAll)
	if err := store.Put(t.Context(), a.Response); err != nil {
		t.Fatal(err)
	}
	c := newService(t, s, nil)
	src := oauth.NewSource(store, transfer, &oauth.SourceOptions{Client: c})
	tok, err := src.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := oauth.NewHTTPClient(src, nil)
	for _, v := range []any{a, &a, c, *c, src, client, client.Transport, oauth.Refreshed{Token: tok}, store, *store, tok, &tok} {
		noLeak(t, v)
		text, _ := json.Marshal(v)
		for _, kind := range []string{"secret:", "refresh-", "access-"} {
			if strings.Contains(string(text), oauthtest.Fake+kind) {
				t.Errorf("JSON of %T shows a secret", v)
			}
		}
	}
}

// TestLogoutOfAnExpiredToken: its refresh token is of use to whoever has a copy.
func TestLogoutOfAnExpiredToken(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.pass(2 * time.Hour)
	w.ok(oauth.Logout(t.Context(), w.store, transfer, nil))
	if !w.server.Dead(w.token.RefreshToken.Reveal()) {
		t.Error("the issuer takes its refresh token")
	}
}

// TestLogoutDuringARenewal of a token that is good for a moment yet: it is not given
// to anybody any more.
func TestLogoutDuringARenewal(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	duringRefresh(w.server, func() { w.ok(w.store.Delete(t.Context(), transfer)) })
	s := w.source(&oauth.SourceOptions{OnRefresh: func(context.Context, oauth.Refreshed) { t.Error("the hook is told of a renewal") }})
	w.pass(time.Hour - 30*time.Second)
	for range 2 {
		if got, err := s.Get(t.Context()); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%q, %v, want ErrNotFound", got.AccessToken.Reveal(), err)
		}
	}
}

// TestLoginDuringARenewal wins, and is not taken for what was renewed.
func TestLoginDuringARenewal(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	duringRefresh(w.server, w.login)
	s := w.source(&oauth.SourceOptions{OnRefresh: func(context.Context, oauth.Refreshed) { t.Error("the hook is told of a renewal") }})
	w.pass(time.Hour)
	for range 2 {
		if got := w.get(s); got != w.token.AccessToken.Reveal() {
			t.Errorf("got %q, want the new login", got)
		}
	}
}

// TestDependentTokensAreStored in a namespace of the service's own, and given as long
// as they are good: nothing renews them but what they were made of.
func TestDependentTokensAreStored(t *testing.T) {
	w := newRenewed(t, oauthtest.Static, 3600)
	service := w.store.In("service")
	answer, err := newService(t, w.server, &oauth.Options{Clock: w.now}).DependentTokens(t.Context(), w.token.AccessToken)
	w.ok(err)
	w.ok(service.Put(t.Context(), answer.Response))
	if got := stored(t, service); !slices.Equal(got, []string{oauthtest.Groups, transfer}) {
		t.Errorf("stored are %q", got)
	}
	posts := w.server.Counts().Posts
	for _, token := range answer.Response.Tokens {
		s := oauth.NewSource(service, token.ResourceServer, nil)
		s.SetUptime(w.uptime)
		if got := w.get(s); got != token.AccessToken.Reveal() {
			t.Errorf("at %s it gives %q", token.ResourceServer, got)
		}
	}
	w.pass(time.Hour)
	for _, token := range answer.Response.Tokens {
		if _, err := oauth.NewSource(service, token.ResourceServer, nil).Get(t.Context()); !errors.Is(err, keystore.ErrLoginRequired) {
			t.Errorf("when it is over: %v, want ErrLoginRequired", err)
		}
	}
	if got, err := w.store.Get(t.Context(), transfer); err != nil || !got.AccessToken.Equal(w.token.AccessToken) || w.server.Counts().Posts != posts {
		t.Errorf("the user's own login is %v, after %d requests", err, w.server.Counts().Posts-posts)
	}
}

// TestRenewalWithoutItsCaller of a token that is good for a moment yet: who has gone
// gets no token.
func TestRenewalWithoutItsCaller(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	ctx, cancel := context.WithCancel(t.Context())
	back := make(chan struct{})
	duringRefresh(w.server, func() { cancel(); <-back })
	s := w.source(nil)
	w.pass(time.Hour - 30*time.Second)
	got, err := s.Get(ctx)
	close(back)
	if !errors.Is(err, context.Canceled) || !got.AccessToken.IsZero() {
		t.Errorf("%v, want that it was cancelled", err)
	}
	w.get(s)
	w.counted(1, 2)
}

// TestRefusedTokens of which age and refresh token say less than usual.
func TestRefusedTokens(t *testing.T) {
	t.Run("from the future", func(t *testing.T) { // the clock was wrong when it came
		w := newRenewed(t, oauthtest.Rotating, 3600)
		w.setClock(-time.Hour)
		if got, err := w.source(nil).Refused(t.Context(), w.token.AccessToken); err != nil || got.AccessToken.Equal(w.token.AccessToken) {
			t.Errorf("%v, or the same token", err)
		}
		w.counted(1, 2)
	})
	t.Run("not renewable", func(t *testing.T) {
		w := newRenewed(t, oauthtest.Rotating, 3600)
		w.ok(w.store.Delete(t.Context(), transfer))
		w.token.RefreshToken = keystore.Secret{}
		w.ok(w.store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{w.token}}))
		var heard []error
		s := w.source(&oauth.SourceOptions{OnError: func(_ context.Context, err error) { heard = append(heard, err) }})
		w.pass(10 * time.Minute)
		got, err := s.Refused(t.Context(), w.token.AccessToken)
		if !errors.Is(err, keystore.ErrLoginRequired) || !got.AccessToken.IsZero() || len(heard) != 1 || !errors.Is(heard[0], keystore.ErrLoginRequired) {
			t.Errorf("%v, OnError has heard %v, want ErrLoginRequired and no token", err, heard)
		}
		w.counted(0, 1)
	})
	t.Run("of a client that has a refresh token", func(t *testing.T) { // then that is what renews
		w := newRenewed(t, oauthtest.Rotating, 3600)
		w.token.Grant = keystore.GrantClientCredentials
		w.ok(w.store.Delete(t.Context(), transfer))
		w.ok(w.store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{w.token}}))
		w.pass(10 * time.Minute)
		if _, err := w.source(nil).Refused(t.Context(), w.token.AccessToken); err != nil {
			t.Error(err)
		}
		w.counted(1, 2)
	})
}

// TestLoginRenewedByOthers who take no lock: the refresh token that is spent is dead,
// and the one that they have stored is tried.
func TestLoginRenewedByOthers(t *testing.T) {
	w := newRenewed(t, oauthtest.Rotating, 3600)
	w.server.KillLogins()
	duringRefresh(w.server, func() {
		theirs := oneLogin(t, w.server, newClient(t, w.server, &oauth.Options{Clock: w.now}))
		theirs.ExpiresAt = w.now()
		w.ok(w.store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{theirs}}))
	})
	s := w.source(&oauth.SourceOptions{OnError: func(_ context.Context, err error) { t.Errorf("OnError hears %v", err) }})
	w.pass(time.Hour)
	if got := w.get(s); got == w.token.AccessToken.Reveal() || w.get(s) != got {
		t.Errorf("got %q", got)
	}
	if c := w.server.Counts(); c.Refreshes != 1 || c.Denied != 1 || c.Posts != 4 {
		t.Errorf("%+v, want one that is denied and one refresh", c)
	}
}

// TestLoginIsHeldAgainstWhatWasAsked: what is missing is told, and what is not said is
// what was asked for (RFC 6749 section 5.1).
func TestLoginIsHeldAgainstWhatWasAsked(t *testing.T) {
	for bad, want := range map[string]struct {
		scope    string
		narrowed []string
	}{
		"":               {transferAll + " " + transferMore, nil},
		"narrower scope": {transferAll, []string{transferMore}},
		"missing scope":  {transferAll + " " + transferMore, nil},
	} {
		s := oauthtest.New(t)
		s.AnswerBadly(bad)
		a, err := newClient(t, s, nil).Login(t.Context(), oauth.LoginOptions{Scopes: []string{transferAll, transferMore}, Visit: newBrowser(s).visit})
		if err != nil || a.Response.Tokens[0].Scope != want.scope || !slices.Equal(a.Narrowed, want.narrowed) {
			t.Errorf("%q: %+v, narrowed by %q, %v", bad, a.Response.Tokens, a.Narrowed, err)
		}
	}
}
