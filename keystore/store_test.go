package keystore_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

func TestPutStoresEveryField(t *testing.T) {
	w := newWorld(t)
	want := fullToken(transfer)
	w.put(want, fullToken(groups))
	if got := w.get(transfer); !sameToken(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w.warned()
}

func TestOnRefreshIsPut(t *testing.T) {
	w := newWorld(t)
	refresher := func(onRefresh func(context.Context, keystore.TokenResponse) error) error {
		return onRefresh(t.Context(), response(bareToken(transfer, "new")))
	}
	w.ok(refresher(w.OnRefresh))
	if got := w.get(transfer).AccessToken.Reveal(); got != "new" {
		t.Errorf("got access token %q", got)
	}
}

func TestRefreshKeepsWhatItDoesNotSay(t *testing.T) {
	w := newWorld(t)
	before := fullToken(transfer)
	w.put(before)
	w.put(bareToken(transfer, "new"))
	want := before
	want.AccessToken, want.ExpiresAt = keystore.NewSecret("new"), start.Add(2*time.Hour)
	if got := w.get(transfer); !sameToken(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRefreshReplacesWhatItSays(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer))
	next := fullToken(transfer)
	next.Scope, next.RefreshToken = "other", keystore.NewSecret("rotated")
	next.Extra = map[string]keystore.Secret{"id_token": keystore.NewSecret(`"new"`)}
	w.put(next)
	got := w.get(transfer)
	if got.Scope != "other" || got.RefreshToken.Reveal() != "rotated" || got.Extra["id_token"].Reveal() != `"new"` {
		t.Errorf("got %+v with refresh token %q", got, got.RefreshToken.Reveal())
	}
	if got.Extra["state"].Reveal() != `{"a":[1e400]}` {
		t.Errorf("an unknown field that the response does not have is lost: %v", got.Extra)
	}
}

func TestExpiryIsNotCarriedOver(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer))
	next := bareToken(transfer, "new")
	next.ExpiresAt = time.Time{}
	w.put(next)
	if got := w.get(transfer); !got.ExpiresAt.IsZero() || !got.Expired(start) {
		t.Errorf("a token of unknown end expires at %v", got.ExpiresAt)
	}
}

func TestAnotherClientsRefreshTokenIsNotCarriedOver(t *testing.T) {
	w := newWorld(t)
	w.put(tokenWith(ofNobody))
	next := bareToken(transfer, "new")
	next.ClientID = "another"
	w.put(next)
	if got := w.get(transfer); !got.RefreshToken.IsZero() || got.ClientID != "another" {
		t.Errorf("client %q has refresh token %q", got.ClientID, got.RefreshToken.Reveal())
	}
}

// The login that is there has to be removed, and revoked, by somebody who knows
// what he does.
func TestTokenOfAnotherIssuerIsRefused(t *testing.T) {
	w := newWorld(t)
	w.put(tokenWith(ofNobody))
	before := dump(t, w.Adapter())
	next := bareToken(transfer, "new")
	next.Issuer = "https://another.example"
	byAccount := response(bareToken(transfer, "new"))
	byAccount.Account.Issuer = next.Issuer
	for _, r := range []keystore.TokenResponse{response(bareToken(groups, "new"), next), byAccount} {
		err := w.Put(t.Context(), r)
		w.fails(err, keystore.ErrSubjectMismatch)
		if err == nil || !strings.Contains(err.Error(), "another issuer's login") || !strings.Contains(err.Error(), transfer) {
			t.Errorf("%v does not say what is wrong", err)
		}
	}
	if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
		t.Errorf("refused, and yet the store holds %v", after)
	}
	w.ok(w.Delete(t.Context(), transfer))
	w.ok(w.Put(t.Context(), byAccount))
}

// A new login has the refresh token of the one before only if it is surely the
// same person's, client's and issuer's.
func TestNewLoginInheritsFromItsOwnOnly(t *testing.T) {
	recorded := keystore.Endpoints{Token: issuer + "/token", Revocation: issuer + "/revoke"}
	moved := keystore.Endpoints{Token: "https://elsewhere.example/token"}
	none := func(*keystore.Token) {}
	at := func(e keystore.Endpoints) func(*keystore.Token) { return func(t *keystore.Token) { t.Endpoints = e } }
	for name, c := range map[string]struct {
		stored, login func(*keystore.Token)
		inherits      bool
		endpoints     keystore.Endpoints
	}{
		"the same":                        {none, none, true, recorded},
		"the same, without revocation":    {none, at(keystore.Endpoints{Token: recorded.Token}), true, recorded},
		"the same, no endpoints stored":   {at(keystore.Endpoints{}), none, true, recorded},
		"the same, no endpoints now":      {none, at(keystore.Endpoints{}), true, recorded},
		"another token endpoint":          {none, at(moved), false, moved},
		"another client":                  {none, ofClient("another"), false, recorded},
		"client and issuer not stored":    {ofNoClient, none, false, recorded},
		"client and issuer not known now": {none, ofNoClient, false, recorded},
		"person not stored":               {ofNobody, none, false, recorded},
		"person not known now":            {none, ofNobody, false, recorded},
		"nobody known":                    {ofNobody, ofNobody, false, recorded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(tokenWith(at(recorded), c.stored))
			login := tokenWith(newAccess, noRefresh, loggedIn, at(recorded), c.login)
			w.put(login)
			got := w.get(transfer)
			if got.RefreshToken.IsZero() == c.inherits || got.Endpoints != c.endpoints {
				t.Errorf("refresh token %q for %+v, want one: %v, for %+v", got.RefreshToken.Reveal(), got.Endpoints, c.inherits, c.endpoints)
			}
			if got.IdentityID != login.IdentityID || got.Issuer != login.Issuer || got.ClientID != login.ClientID || got.Grant != login.Grant {
				t.Errorf("the login is now %+v, want %+v", got, login)
			}
		})
	}
}

// A client's own login is somebody else's than a person's: neither takes the place of
// the other. A renewal says nothing of that.
func TestLoginOfAnotherKindIsRefused(t *testing.T) {
	itself := func(t *keystore.Token) {
		t.Grant, t.RefreshToken, t.IdentityID = keystore.GrantClientCredentials, keystore.Secret{}, ""
	}
	none := func(*keystore.Token) {}
	for name, kinds := range map[string][2]func(*keystore.Token){"a person's": {none, itself}, "a client's": {itself, none}} {
		w := newWorld(t)
		w.put(tokenWith(kinds[0]))
		before := dump(t, w.Adapter())
		w.fails(w.Put(t.Context(), response(tokenWith(newAccess, loggedIn, kinds[1]))), keystore.ErrSubjectMismatch)
		if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
			t.Errorf("%s: refused, and yet the store holds %v", name, after)
		}
		w.put(tokenWith(newAccess, loggedIn, kinds[0]))
		w.ok(w.Delete(t.Context(), transfer))
		w.put(tokenWith(newAccess, loggedIn, kinds[1]))
	}
}

// A refresh that omits the refresh token does not move it, wherever it was made.
func TestRefreshTokenStaysWithItsEndpoints(t *testing.T) {
	w := newWorld(t)
	recorded := keystore.Endpoints{Token: issuer + "/token"}
	w.put(tokenWith(func(t *keystore.Token) { t.Endpoints = recorded }))
	next := tokenWith(newAccess, noRefresh)
	next.Endpoints = keystore.Endpoints{Token: "https://elsewhere.example/token"}
	w.put(next)
	if got := w.get(transfer); got.RefreshToken.IsZero() || got.Endpoints != recorded {
		t.Errorf("refresh token %q is for %+v now", got.RefreshToken.Reveal(), got.Endpoints)
	}
}

// A record that does not say whose client's it is, is usable until it expires.
// Who logged in last in the namespace need not be who obtained it.
func TestUnknownClientIsNotGuessed(t *testing.T) {
	w := newWorld(t)
	imported := fullToken(groups)
	imported.Issuer, imported.ClientID = "", ""
	w.put(imported)
	login := response(fullToken(transfer))
	login.Account = keystore.Account{Subject: alice, Issuer: issuer, ClientID: "client"}
	w.ok(w.Put(t.Context(), login))
	w.put(bareToken(groups, "new"))
	if got := w.get(groups); got.ClientID != "" || got.Renewable() {
		t.Errorf("the refresh token of an unknown client is taken for that of client %q", got.ClientID)
	}
	another := bareToken("rs", "new") // nothing is stored of it
	another.RefreshToken = keystore.NewSecret("refresh")
	w.put(another)
	w.damage(keyOf("rs"), keystore.ErrCorrupt)
	w.put(another)
	if got := w.get("rs"); got.Issuer != "" || got.ClientID != "" {
		t.Errorf("a refresh token of nobody knows whom is taken for that of client %q at %q", got.ClientID, got.Issuer)
	}
}

func TestAccountOfTheResponseFillsTokens(t *testing.T) {
	w := newWorld(t)
	r := response(bareToken(transfer, "a"))
	r.Account = keystore.Account{Subject: alice, Issuer: issuer, ClientID: "client"}
	w.ok(w.Put(t.Context(), r))
	if got := w.get(transfer); got.Issuer != issuer || got.ClientID != "client" {
		t.Errorf("stored as of client %q at %q", got.ClientID, got.Issuer)
	}
	got, err := w.Account(t.Context())
	if err != nil || got != r.Account {
		t.Errorf("the account is %+v, error %v", got, err)
	}
}

func TestAccountIsNotFoundBeforeALogin(t *testing.T) {
	w := newWorld(t)
	w.put(bareToken(transfer, "a"))
	_, err := w.Account(t.Context())
	w.fails(err, keystore.ErrNotFound)
}

func TestNamespaceBelongsToOneAccount(t *testing.T) {
	byAccount := func(subject, issuer string) keystore.TokenResponse {
		return keystore.TokenResponse{Tokens: []keystore.Token{bareToken(transfer, "new")}, Account: keystore.Account{Subject: subject, Issuer: issuer}}
	}
	byToken := func(subject string) keystore.TokenResponse {
		token := bareToken(groups, "new")
		token.IdentityID = subject
		return response(bareToken(transfer, "new"), token)
	}
	both := byToken(alice)
	both.Account.Subject = bob
	two := byToken(alice)
	two.Tokens[0].IdentityID = bob
	for name, c := range map[string]struct {
		response keystore.TokenResponse
		refused  bool
	}{
		"nobody said":                         {response(bareToken(transfer, "new")), false},
		"the same by account":                 {byAccount(alice, issuer), false},
		"the same by account, no issuer":      {byAccount(alice, ""), false},
		"the same by identity_id":             {byToken(alice), false},
		"another by account":                  {byAccount(bob, issuer), true},
		"another by identity_id":              {byToken(bob), true},
		"the same subject at another issuer":  {byAccount(alice, "https://another.example"), true},
		"account and identity_id differ":      {both, true},
		"two identities in one response":      {two, true},
		"nobody said, but at another issuer":  {byAccount("", "https://another.example"), true},
		"another subject at another issuer":   {byAccount(bob, "https://another.example"), true},
		"nobody said, and at the same issuer": {byAccount("", issuer), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := response(fullToken(transfer))
			first.Account = keystore.Account{Subject: alice, Issuer: issuer, ClientID: "client"}
			w.ok(w.Put(t.Context(), first))
			before := dump(t, w.Adapter())
			err := w.Put(t.Context(), c.response)
			if !c.refused {
				w.ok(err)
				return
			}
			w.fails(err, keystore.ErrSubjectMismatch)
			if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
				t.Errorf("refused, and yet the store changed from %v to %v", before, after)
			}
			w.ok(w.In("other").Put(t.Context(), response(bareToken(transfer, "x"))))
		})
	}
}

// The tokens of a namespace without account record still say whose they are.
func TestTokenOfAnotherIdentityIsRefused(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer))
	w.damage(accountKey, keystore.ErrTampered)
	next := fullToken(transfer)
	next.IdentityID = bob
	w.fails(w.Put(t.Context(), response(next)), keystore.ErrSubjectMismatch)
	w.warned()
}

func TestPutRefusesWhatIsNoLogin(t *testing.T) {
	tooLong := bareToken(strings.Repeat("x", keystore.MaxName+1), "a")
	broken := bareToken(transfer, "a\xff")
	huge := bareToken(transfer, strings.Repeat("x", keystore.MaxPayload))
	early, late := bareToken(transfer, "a"), bareToken(transfer, "a")
	early.ExpiresAt, late.ExpiresAt = time.Unix(-1, 0), time.Unix(253402300800, 0)
	notJSON, wrongCase, badName := fullToken(transfer), fullToken(transfer), fullToken(transfer)
	notJSON.Extra = map[string]keystore.Secret{"x": keystore.NewSecret("{")}
	wrongCase.Extra = map[string]keystore.Secret{"Access_Token": keystore.NewSecret(`"x"`)}
	badName.Extra = map[string]keystore.Secret{"x\xff": keystore.NewSecret(`1`)}
	for name, c := range map[string]struct {
		token keystore.Token
		want  error
	}{
		"no access token":             {bareToken(transfer, ""), keystore.ErrInvalid},
		"no resource server":          {bareToken("", "a"), keystore.ErrInvalid},
		"a control character":         {bareToken("a\nb", "a"), keystore.ErrInvalid},
		"broken UTF-8 in a name":      {bareToken("a\xff", "a"), keystore.ErrInvalid},
		"broken UTF-8 in a token":     {broken, keystore.ErrInvalid},
		"a long name":                 {tooLong, keystore.ErrTooLarge},
		"a large token":               {huge, keystore.ErrTooLarge},
		"an end before 1970":          {early, keystore.ErrInvalid},
		"an end after 9999":           {late, keystore.ErrInvalid},
		"an extra field not JSON":     {notJSON, keystore.ErrInvalid},
		"an extra field wrongly case": {wrongCase, keystore.ErrInvalid},
		"a broken name of a field":    {badName, keystore.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			err := w.Put(t.Context(), response(fullToken(groups), c.token))
			w.fails(err, c.want)
			if after := dump(t, w.Adapter()); len(after) > 0 {
				t.Errorf("the response was refused, and the store holds %d records", len(after))
			}
			if err != nil && strings.Contains(err.Error(), strings.Repeat("x", 1000)) {
				t.Error("the error quotes what is too large")
			}
		})
	}
	w := newWorld(t)
	w.fails(w.Put(t.Context(), response(fullToken(transfer), fullToken(transfer))), keystore.ErrInvalid)
}

func TestGetReportsOneRecordOnly(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer), fullToken(groups))
	w.damage(keyOf(transfer), keystore.ErrTampered)
	_, err := w.Get(t.Context(), transfer)
	w.fails(err, keystore.ErrTampered)
	if !strings.Contains(err.Error(), transfer) {
		t.Errorf("the error %q does not name the record", err)
	}
	w.get(groups)
	_, err = w.Get(t.Context(), "missing")
	w.fails(err, keystore.ErrNotFound)
	_, err = w.Get(t.Context(), "")
	w.fails(err, keystore.ErrInvalid)
}

func TestUnreadableRecordIsReplacedWithAWarning(t *testing.T) {
	for _, damage := range []error{keystore.ErrTampered, keystore.ErrCorrupt, keystore.ErrNoSeal} {
		w := newWorld(t)
		w.put(fullToken(transfer), fullToken(groups))
		w.damage(keyOf(transfer), damage)
		w.put(bareToken(transfer, "new"), bareToken(groups, "new"))
		w.warned(damage)
		if got := w.get(transfer); got.AccessToken.Reveal() != "new" || !got.RefreshToken.IsZero() {
			t.Errorf("%v: got %q, refresh token %q", damage, got.AccessToken.Reveal(), got.RefreshToken.Reveal())
		}
		w.put(bareToken(transfer, "newer"))
		w.warned(damage) // once
	}
}

func TestStoreThatCannotBeHadIsNotOverwritten(t *testing.T) {
	for _, damage := range []error{keystore.ErrLocked, keystore.ErrUnavailable, keystore.ErrDeclined, errors.New("disk")} {
		for _, k := range []keystore.RecordKey{keyOf(transfer), accountKey} {
			w := newWorld(t)
			w.put(fullToken(transfer))
			before := dump(t, w.damaged.StorageAdapter)
			w.damage(k, damage)
			w.fails(w.Put(t.Context(), response(bareToken(transfer, "new"))), damage)
			if after := dump(t, w.damaged.StorageAdapter); !maps.Equal(before, after) {
				t.Errorf("%v of %v: the store changed", damage, k)
			}
			w.warned()
		}
	}
}

func TestUnreadableAccountIsReplacedByALogin(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer))
	w.damage(accountKey, keystore.ErrTampered)
	w.put(fullToken(transfer))
	w.warned(keystore.ErrTampered)
	got, err := w.Account(t.Context())
	if err != nil || got.Subject != alice {
		t.Errorf("the account is %+v, error %v", got, err)
	}
}

// A refresh answer says nothing of the account, and so replaces none.
func TestNobodyIsWarnedOfWhatStays(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer))
	w.damage(accountKey, keystore.ErrTampered)
	w.put(bareToken(transfer, "new"))
	_, err := w.Account(t.Context())
	w.fails(err, keystore.ErrTampered)
	w.warned()
}

func TestWarningsComeOnlyAfterSuccess(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer), fullToken(groups))
	w.damage(keyOf(transfer), keystore.ErrTampered)
	w.damage(keyOf(groups), keystore.ErrLocked)
	w.fails(w.Put(t.Context(), response(bareToken(transfer, "a"), bareToken(groups, "a"))), keystore.ErrLocked)
	w.warned()
}

func TestAllGoesOnPastABadRecord(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken("a"), fullToken("b"), fullToken("c"))
	w.ok(w.In("other").Put(t.Context(), response(fullToken("x"))))
	w.damage(keyOf("b"), keystore.ErrTampered)
	var got []string
	for token, err := range w.All(t.Context()) {
		if err != nil {
			w.fails(err, keystore.ErrTampered)
			got = append(got, "bad")
			continue
		}
		got = append(got, token.ResourceServer)
	}
	if want := []string{"a", "bad", "c"}; !slices.Equal(got, want) {
		t.Errorf("All yields %q, want %q", got, want)
	}
}

func TestBodyOfAllMayDoAnything(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken("a"), fullToken("b"), fullToken("c"), fullToken("d"))
	var got []string
	for token, err := range w.All(t.Context()) {
		w.ok(err)
		got = append(got, token.ResourceServer)
		switch token.ResourceServer {
		case "a":
			w.ok(w.Delete(t.Context(), "a"))
			w.ok(w.Delete(t.Context(), "b"))
			w.put(fullToken("e"))
		case "c":
			unlock, err := w.Adapter().LockCredential(t.Context(), keyOf("c"))
			w.ok(err)
			w.ok(unlock())
		}
	}
	if want := []string{"a", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("All yields %q, want %q", got, want)
	}
	for range w.All(t.Context()) {
		break
	}
}

func TestAllYieldsTheErrorOfListing(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	next, stop := iter.Pull2(w.All(ctx))
	defer stop()
	_, err, ok := next()
	if !ok || !errors.Is(err, context.Canceled) {
		t.Errorf("All yields error %v, want %v", err, context.Canceled)
	}
	if _, _, ok := next(); ok {
		t.Error("All goes on after the listing failed")
	}
}

func TestDeleteRemovesOneToken(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(transfer), fullToken(groups))
	w.ok(w.Delete(t.Context(), transfer))
	w.fails(w.Delete(t.Context(), transfer), keystore.ErrNotFound)
	w.fails(w.Delete(t.Context(), ""), keystore.ErrInvalid)
	_, err := w.Get(t.Context(), transfer)
	w.fails(err, keystore.ErrNotFound)
	w.get(groups)
}

func TestNamespacesAreApart(t *testing.T) {
	w := newWorld(t)
	other := w.In("other")
	w.put(bareToken(transfer, "mine"))
	w.ok(other.Put(t.Context(), response(bareToken(transfer, "other"))))
	w.ok(w.In("config only").PutConfig(t.Context(), "x", 1))
	if got := w.get(transfer).AccessToken.Reveal(); got != "mine" {
		t.Errorf("got %q", got)
	}
	if w.Namespace() != keystore.DefaultNamespace || other.Namespace() != "other" {
		t.Errorf("the namespaces are %q and %q", w.Namespace(), other.Namespace())
	}
	w.ok(other.Delete(t.Context(), transfer))
	w.get(transfer)
	for _, c := range []struct {
		kinds []keystore.Kind
		want  []string
	}{
		{nil, []string{"DEFAULT"}},
		{[]keystore.Kind{keystore.KindConfig}, []string{"config only"}},
		{[]keystore.Kind{keystore.KindToken, keystore.KindConfig}, []string{"DEFAULT", "config only"}},
		{[]keystore.Kind{keystore.KindPending}, nil},
	} {
		got, err := w.Namespaces(t.Context(), c.kinds...)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Namespaces(%q) = %q, %v; want %q", c.kinds, got, err, c.want)
		}
	}
}

func TestConfigsAreStoredByName(t *testing.T) {
	w := newWorld(t)
	type client struct{ ID, Secret string }
	want := client{"id <&>", "s3cret"}
	w.ok(w.PutConfig(t.Context(), "client", want))
	w.ok(w.PutConfig(t.Context(), "a list", []int{1, 2}))
	var got client
	w.ok(w.GetConfig(t.Context(), "client", &got))
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if names, err := w.Configs(t.Context()); err != nil || !slices.Equal(names, []string{"a list", "client"}) {
		t.Errorf("Configs = %q, %v", names, err)
	}
	var wrong []string
	w.fails(w.GetConfig(t.Context(), "client", &wrong), keystore.ErrInvalid)
	w.ok(w.DeleteConfig(t.Context(), "client"))
	w.fails(w.DeleteConfig(t.Context(), "client"), keystore.ErrNotFound)
	w.fails(w.GetConfig(t.Context(), "client", &got), keystore.ErrNotFound)
	w.fails(w.PutConfig(t.Context(), "", 1), keystore.ErrInvalid)
	w.fails(w.PutConfig(t.Context(), "x", func() {}), keystore.ErrInvalid)
	w.fails(w.PutConfig(t.Context(), "x", strings.Repeat("x", keystore.MaxPayload)), keystore.ErrTooLarge)
}

// A Secret shows itself as "[redacted]" to encoding/json: storing that would
// lose the secret with no word said.
func TestPutConfigRefusesToStoreARedactedSecret(t *testing.T) {
	w := newWorld(t)
	type client struct{ Secret keystore.Secret }
	err := w.PutConfig(t.Context(), "client", client{keystore.NewSecret("s3cret")})
	w.fails(err, keystore.ErrInvalid)
}

// The contract of View lets an adapter call fn again, on another snapshot.
func TestGetConfigDoesNotMixSnapshots(t *testing.T) {
	inner := memory.New()
	s := keystore.New(restless{inner}, nil)
	if err := s.PutConfig(t.Context(), "x", map[string]int{"late": 1}); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	if err := s.GetConfig(t.Context(), "x", &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got["late"] != 1 {
		t.Errorf("got %v, want what is stored", got)
	}
}

// restless calls fn of View first with a state that is then found to be stale.
type restless struct{ keystore.StorageAdapter }

func (a restless) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return a.StorageAdapter.View(ctx, func(r keystore.Reader) error {
		fn(staleReader{r})
		return fn(r)
	})
}

type staleReader struct{ keystore.Reader }

func (staleReader) Get(keystore.RecordKey) ([]byte, error) { return []byte(`{"early":1}`), nil }

func TestCreateMakesTheStoreOnceItIsNeeded(t *testing.T) {
	inner := headless(t)
	created := 0
	s := keystore.New(inner, &keystore.Options{Create: func(ctx context.Context) error {
		created++
		return inner.Update(ctx, func(w keystore.Writer) error {
			return w.SetHeader(keystore.Header{StoreID: keystore.StoreID{1}})
		})
	}})
	if _, err := s.Get(t.Context(), transfer); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Get before there is a store: %v", err)
	}
	if err := s.Delete(t.Context(), transfer); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Delete before there is a store: %v", err)
	}
	if created != 0 {
		t.Error("reading or deleting made a store")
	}
	for range 2 {
		if err := s.Put(t.Context(), response(fullToken(transfer))); err != nil {
			t.Fatal(err)
		}
	}
	if created != 1 {
		t.Errorf("the store was made %d times", created)
	}
}

// headless is an adapter without a store.
func headless(*testing.T) *memory.Adapter { return memory.NewEmpty() }

func TestCreateIsCalledWhateverTheAdapterAddsToErrors(t *testing.T) {
	inner := annotating{headless(t)}
	created := 0
	s := keystore.New(inner, &keystore.Options{Create: func(ctx context.Context) error {
		created++
		return inner.Update(ctx, func(w keystore.Writer) error {
			return w.SetHeader(keystore.Header{StoreID: keystore.StoreID{1}})
		})
	}})
	if err := s.Put(t.Context(), response(fullToken(transfer))); err != nil || created != 1 {
		t.Errorf("Put: %v; the store was made %d times", err, created)
	}
}

// annotating says of every error where the store is.
type annotating struct{ keystore.StorageAdapter }

func (a annotating) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	return keystore.Annotate(a.StorageAdapter.Update(ctx, fn), keystore.Error{Store: "/some/file"})
}

func TestWithoutAStoreAndCreateNothingIsWritten(t *testing.T) {
	refusal := &keystore.Error{Err: keystore.ErrDeclined}
	for _, c := range []struct {
		create func(context.Context) error
		want   error
	}{
		{nil, keystore.ErrNotFound},
		{func(context.Context) error { return refusal }, keystore.ErrDeclined},
		{func(context.Context) error { return nil }, keystore.ErrNotFound}, // it made none
	} {
		inner := headless(t)
		s := keystore.New(inner, &keystore.Options{Create: c.create})
		if err := s.Put(t.Context(), response(fullToken(transfer))); !errors.Is(err, c.want) {
			t.Errorf("Put: got error %v, want %v", err, c.want)
		}
		if after := dump(t, inner); len(after) > 0 {
			t.Errorf("the store holds %v", after)
		}
	}
}

func TestOptions(t *testing.T) {
	s := keystore.New(memory.New(), nil)
	if s.Namespace() != keystore.DefaultNamespace {
		t.Errorf("the default namespace is %q", s.Namespace())
	}
	if before := time.Now(); s.Now().Before(before) {
		t.Error("the clock of a Store without Clock is not time.Now")
	}
	s = keystore.New(memory.New(), &keystore.Options{Namespace: "x", Clock: func() time.Time { return start }})
	if s.Namespace() != "x" || !s.Now().Equal(start) {
		t.Errorf("namespace %q, time %v", s.Namespace(), s.Now())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), transfer); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Get after Close: %v", err)
	}
}

func TestTokenSaysWhenItIsOver(t *testing.T) {
	token := fullToken(transfer)
	for _, c := range []struct {
		now  time.Time
		want bool
	}{
		{token.ExpiresAt.Add(-time.Second), false},
		{token.ExpiresAt, true},
		{token.ExpiresAt.Add(time.Second), true},
	} {
		if got := token.Expired(c.now); got != c.want {
			t.Errorf("Expired at %v = %v", c.now, got)
		}
	}
	if !token.Renewable() {
		t.Error("a token with refresh token, issuer and client is not renewable")
	}
	for _, without := range []func(*keystore.Token){
		func(t *keystore.Token) { t.RefreshToken = keystore.Secret{} },
		func(t *keystore.Token) { t.Issuer = "" },
		func(t *keystore.Token) { t.ClientID = "" },
	} {
		less := token
		without(&less)
		if less.Renewable() {
			t.Errorf("%+v is renewable", less)
		}
	}
	if got := token.Scopes(); !slices.Equal(got, []string{"openid", "urn:x"}) {
		t.Errorf("Scopes = %q", got)
	}
}
