package keystore_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// filled is a world of three namespaces, one of them with configuration values only.
func filled(t *testing.T) *world {
	w := newWorld(t)
	w.put(fullToken(transfer), fullToken(groups))
	w.ok(w.PutConfig(t.Context(), "prefs", map[string]any{"a": 1}))
	work := w.In("work")
	w.ok(work.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{bareToken(transfer, "access-of-work")},
		Account: keystore.Account{Subject: bob, Issuer: issuer}}))
	w.ok(w.In("only").PutConfig(t.Context(), "x", "y"))
	return w
}

func TestContentsAreWhatImportTakes(t *testing.T) {
	w := filled(t)
	contents, err := w.Contents(t.Context())
	w.ok(err)
	other := newWorld(t)
	results, err := other.Import(t.Context(), contents, false)
	other.ok(err)
	if len(results) != 5 {
		t.Errorf("%d records were imported", len(results))
	}
	if was, is := dump(t, w.damaged), dump(t, other.damaged); !maps.Equal(was, is) {
		t.Errorf("imported\n%v\nwant\n%v", is, was)
	}
}

func TestContentsOfSomeNamespaces(t *testing.T) {
	w := filled(t)
	for _, c := range []struct{ asked, got []string }{
		{nil, []string{"DEFAULT", "only", "work"}},
		{[]string{"work"}, []string{"work"}},
		{[]string{"work", "DEFAULT", "none"}, []string{"DEFAULT", "work"}},
		{[]string{"none"}, nil},
	} {
		contents, err := w.Contents(t.Context(), c.asked...)
		w.ok(err)
		var got []string
		for _, c := range contents {
			got = append(got, c.Namespace)
		}
		if !slices.Equal(got, c.got) {
			t.Errorf("of %q: %q", c.asked, got)
		}
	}
}

func TestContentsAreAllOrNone(t *testing.T) {
	prefs := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindConfig, Name: "prefs"}
	for _, key := range []keystore.RecordKey{keyOf(groups), prefs, accountKey} {
		w := filled(t)
		w.damage(key, keystore.ErrTampered)
		contents, err := w.Contents(t.Context())
		w.fails(err, keystore.ErrTampered)
		if contents != nil || err == nil || !strings.Contains(err.Error(), key.String()) {
			t.Errorf("%s: %d contents, %v", key, len(contents), err)
		}
	}
}

func TestContentsOfNoStore(t *testing.T) {
	w := newWorld(t)
	_, err := keystore.New(noStore{memory.New()}, nil).Contents(t.Context())
	w.fails(err, keystore.ErrNotFound)
}

// TestIssuerThatIsOnlyAssumed gives way to what the store knows, and to nothing else.
func TestIssuerThatIsOnlyAssumed(t *testing.T) {
	const preview = "https://auth.preview.globus.org"
	fromPreview := func(t *keystore.Token) { t.Issuer = preview }
	silent := func(t *keystore.Token) { t.Issuer, t.ClientID, t.IdentityID, t.Extra = "", "", "", nil }
	for name, c := range map[string]struct {
		stored   []keystore.Token
		account  keystore.Account
		file     keystore.Token
		said     bool
		insists  bool
		outcome  keystore.Outcome
		issuer   string
		accounts string
	}{
		"nothing stored": {file: tokenWith(silent), outcome: keystore.Imported, issuer: issuer, accounts: issuer},
		"a login of another issuer, renewed": {stored: []keystore.Token{tokenWith(fromPreview)}, account: keystore.Account{Issuer: preview},
			file: tokenWith(silent, later, newAccess), outcome: keystore.Replaced, issuer: preview, accounts: preview},
		"a login of another issuer, the same": {stored: []keystore.Token{tokenWith(fromPreview)}, account: keystore.Account{Issuer: preview},
			file: tokenWith(silent), outcome: keystore.Unchanged, issuer: preview, accounts: preview},
		"a login of another issuer, in a namespace of none": {stored: []keystore.Token{tokenWith(fromPreview)},
			file: tokenWith(silent, later, newAccess), outcome: keystore.Replaced, issuer: preview, accounts: issuer},
		"a namespace of another issuer": {stored: []keystore.Token{fullTokenOf(groups, preview)}, account: keystore.Account{Issuer: preview},
			file: tokenWith(silent), outcome: keystore.Imported, issuer: "", accounts: preview},
		"another issuer, and the file says its own": {stored: []keystore.Token{tokenWith(fromPreview)}, account: keystore.Account{Issuer: preview},
			file: tokenWith(silent, later, newAccess), said: true},
		"a login of another issuer, and somebody insists": {stored: []keystore.Token{fullTokenOf(transfer, preview)},
			file: tokenWith(silent, later, newAccess), insists: true, outcome: keystore.Replaced, issuer: issuer, accounts: issuer},
		"of the same subject, maybe elsewhere": {stored: []keystore.Token{tokenWith(fromPreview)}, account: keystore.Account{Issuer: preview},
			file:    tokenWith(ofNoClient, later, newAccess, newRefresh),
			outcome: keystore.Kept, issuer: preview, accounts: preview},
		"a stranger's": {stored: []keystore.Token{tokenWith(fromPreview)}, account: keystore.Account{Issuer: preview},
			file: tokenWith(silent, later, newAccess, newRefresh), outcome: keystore.Kept, issuer: preview, accounts: preview},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ok(w.Put(t.Context(), keystore.TokenResponse{Tokens: c.stored, Account: c.account}))
			file := []keystore.Content{{Namespace: keystore.DefaultNamespace, Account: keystore.Account{Issuer: issuer},
				Tokens: []keystore.Token{c.file}, Assumed: !c.said}}
			results, err := w.Import(t.Context(), file, c.insists)
			if c.said {
				w.fails(err, keystore.ErrSubjectMismatch)
				return
			}
			w.ok(err)
			if results[0].Outcome != c.outcome || w.get(transfer).Issuer != c.issuer {
				t.Errorf("%s, of issuer %q", results[0].Outcome, w.get(transfer).Issuer)
			}
			account, err := w.Account(t.Context())
			w.ok(err)
			if account.Issuer != c.accounts {
				t.Errorf("the account is of %q", account.Issuer)
			}
			if c.outcome != keystore.Kept {
				w.ok(w.Holds(t.Context(), file))
			}
		})
	}
}

// TestClientThatIsOnlyAssumed gives way to that of the login with the same refresh token,
// and of the namespace.
func TestClientThatIsOnlyAssumed(t *testing.T) {
	silent := func(t *keystore.Token) { t.ClientID = "" }
	own := keystore.Account{Issuer: issuer, ClientID: "own"}
	stored := tokenWith(func(t *keystore.Token) { t.ClientID = "own" })
	for name, c := range map[string]struct {
		file    keystore.Token
		empty   bool
		said    bool
		insists bool
		want    string
	}{
		"nothing stored":             {file: tokenWith(silent), empty: true, want: "other"},
		"renewed":                    {file: tokenWith(silent, later, newAccess), want: "own"},
		"renewed, and insists":       {file: tokenWith(silent, later, newAccess), insists: true, want: "own"},
		"renewed, and the file says": {file: tokenWith(silent, later, newAccess), said: true, want: "other"},
		"another login, and insists": {file: tokenWith(silent, later, newAccess, newRefresh), insists: true, want: "other"},
		"the same":                   {file: tokenWith(silent), want: "own"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if !c.empty {
				w.ok(w.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{stored}, Account: own}))
			}
			file := []keystore.Content{{Namespace: keystore.DefaultNamespace, Account: keystore.Account{Issuer: issuer, ClientID: "other"},
				Tokens: []keystore.Token{c.file}, AssumedClient: !c.said}}
			_, err := w.Import(t.Context(), file, c.insists)
			w.ok(err)
			account, err := w.Account(t.Context())
			w.ok(err)
			if got := w.get(transfer).ClientID; got != c.want {
				t.Errorf("the login is of client %q, want %q", got, c.want)
			}
			if !c.empty && !c.said && account.ClientID != "own" {
				t.Errorf("the namespace is of client %q", account.ClientID)
			}
			w.ok(w.Holds(t.Context(), file))
		})
	}
}

func fullTokenOf(server, issuer string) keystore.Token {
	t := fullToken(server)
	t.Issuer, t.IdentityID = issuer, ""
	return t
}

// TestKeptThoughTheFileIsNewer is what somebody who follows a file is told.
func TestKeptThoughTheFileIsNewer(t *testing.T) {
	for name, c := range map[string]struct {
		file    keystore.Token
		damaged bool
		newer   bool
	}{
		"later, a stranger's":   {file: tokenWith(later, newRefresh, ofNobody), newer: true},
		"earlier, a stranger's": {file: tokenWith(earlier, newRefresh, ofNobody)},
		"earlier":               {file: tokenWith(earlier, newAccess)},
		"damaged here":          {file: tokenWith(earlier, newAccess), damaged: true, newer: true},
	} {
		w := newWorld(t)
		w.put(tokenWith())
		if c.damaged {
			w.damage(keyOf(transfer), keystore.ErrTampered)
		}
		results, err := w.Import(t.Context(), []keystore.Content{{Namespace: keystore.DefaultNamespace, Tokens: []keystore.Token{c.file}}}, false)
		w.ok(err)
		if r := results[0]; r.Outcome != keystore.Kept || r.Newer != c.newer {
			t.Errorf("%s: %s, newer: %v", name, r.Outcome, r.Newer)
		}
	}
}

// noStore is an adapter without a store.
type noStore struct{ keystore.StorageAdapter }

func (n noStore) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return n.StorageAdapter.View(ctx, func(r keystore.Reader) error { return fn(noHeader{r}) })
}

type noHeader struct{ keystore.Reader }

func (noHeader) Header() keystore.Header { return keystore.Header{} }
