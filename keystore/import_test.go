package keystore_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// tokenWith is fullToken with changes.
func tokenWith(changes ...func(*keystore.Token)) keystore.Token {
	t := fullToken(transfer)
	for _, change := range changes {
		change(&t)
	}
	return t
}

func later(t *keystore.Token)     { t.ExpiresAt = t.ExpiresAt.Add(time.Hour) }
func earlier(t *keystore.Token)   { t.ExpiresAt = t.ExpiresAt.Add(-time.Minute) }
func newAccess(t *keystore.Token) { t.AccessToken = keystore.NewSecret("access-new") }
func newRefresh(t *keystore.Token) {
	t.RefreshToken = keystore.NewSecret("refresh-new")
}
func noRefresh(t *keystore.Token) { t.RefreshToken = keystore.Secret{} }
func ofNobody(t *keystore.Token)  { t.IdentityID = "" }
func ofNoClient(t *keystore.Token) {
	t.Issuer, t.ClientID = "", ""
}
func ofClient(id string) func(*keystore.Token) {
	return func(t *keystore.Token) { t.ClientID = id }
}

func ofIssuer(url string) func(*keystore.Token) {
	return func(t *keystore.Token) { t.Issuer = url }
}
func loggedIn(t *keystore.Token) { t.LoggedIn = start }

func TestImportDecidesByRecord(t *testing.T) {
	for name, c := range map[string]struct {
		stored    *keystore.Token
		damaged   error
		file      keystore.Token
		overwrite bool

		outcome keystore.Outcome
		reason  string
		after   keystore.Token
	}{
		"nothing stored": {
			file: tokenWith(), outcome: keystore.Imported, after: tokenWith(),
		},
		"the same": {
			stored: new(tokenWith()), file: tokenWith(),
			outcome: keystore.Unchanged, after: tokenWith(),
		},
		"the same, of a client not known so far": {
			stored: new(tokenWith(ofNoClient)), file: tokenWith(),
			outcome: keystore.Completed, after: tokenWith(),
		},
		"the same, of a client the file does not know": {
			stored: new(tokenWith()), file: tokenWith(ofNoClient),
			outcome: keystore.Unchanged, after: tokenWith(),
		},
		"the same, said to be of another client": {
			stored: new(tokenWith()), file: tokenWith(ofClient("another")),
			outcome: keystore.Unchanged, after: tokenWith(),
		},
		"the same, of another client at an issuer not known so far": {
			stored:  new(tokenWith(func(t *keystore.Token) { t.Issuer = "" })),
			file:    tokenWith(ofClient("another")),
			outcome: keystore.Unchanged, after: tokenWith(func(t *keystore.Token) { t.Issuer = "" }),
		},
		"later, of the same account": {
			stored: new(tokenWith()), file: tokenWith(newAccess, newRefresh, later),
			outcome: keystore.Replaced, after: tokenWith(newAccess, newRefresh, later),
		},
		"later, of the same account, without refresh token": {
			stored: new(tokenWith()), file: tokenWith(newAccess, noRefresh, later),
			outcome: keystore.Replaced, after: tokenWith(newAccess, later),
		},
		"later, of nobody known, with the same refresh token": {
			stored: new(tokenWith(ofNobody)), file: tokenWith(ofNobody, newAccess, later),
			outcome: keystore.Replaced, after: tokenWith(ofNobody, newAccess, later),
		},
		"later, of nobody known": {
			stored: new(tokenWith(ofNobody)), file: tokenWith(ofNobody, newAccess, newRefresh, later),
			outcome: keystore.Kept, reason: "nothing shows that the stored login is the same account's", after: tokenWith(ofNobody),
		},
		"later, of nobody known, both without refresh token": {
			stored: new(tokenWith(ofNobody, noRefresh)), file: tokenWith(ofNobody, noRefresh, newAccess, later),
			outcome: keystore.Kept, reason: "nothing shows that the stored login is the same account's", after: tokenWith(ofNobody, noRefresh),
		},
		"later, of the same subject at another issuer": {
			stored: new(tokenWith()), file: tokenWith(ofIssuer("https://another.example"), newAccess, newRefresh, later),
			outcome: keystore.Kept, reason: "nothing shows that the stored login is the same account's", after: tokenWith(),
		},
		"of another issuer, and the user insists": {
			stored: new(tokenWith()), file: tokenWith(ofIssuer("https://another.example"), newAccess, noRefresh), overwrite: true,
			outcome: keystore.Replaced, after: tokenWith(ofIssuer("https://another.example"), newAccess, noRefresh),
		},
		"the same, of a login here whose person was not known": {
			stored: new(tokenWith(ofNobody, loggedIn)), file: tokenWith(),
			outcome: keystore.Completed, after: tokenWith(),
		},
		"earlier": {
			stored: new(tokenWith()), file: tokenWith(newAccess, newRefresh, earlier),
			outcome: keystore.Kept, reason: "the stored token does not expire earlier", after: tokenWith(),
		},
		"at the same time": {
			stored: new(tokenWith()), file: tokenWith(newAccess),
			outcome: keystore.Kept, reason: "the stored token does not expire earlier", after: tokenWith(),
		},
		"earlier, and the user insists": {
			stored: new(tokenWith()), file: tokenWith(newAccess, newRefresh, earlier), overwrite: true,
			outcome: keystore.Replaced, after: tokenWith(newAccess, newRefresh, earlier),
		},
		"of nobody known, and the user insists": {
			stored: new(tokenWith(ofNobody)), file: tokenWith(ofNobody, newAccess, newRefresh), overwrite: true,
			outcome: keystore.Replaced, after: tokenWith(ofNobody, newAccess, newRefresh),
		},
		"the stored one is damaged": {
			stored: new(tokenWith()), damaged: keystore.ErrTampered, file: tokenWith(later),
			outcome: keystore.Kept, reason: "the stored record cannot be read",
		},
		"the stored one is damaged, and the user insists": {
			stored: new(tokenWith()), damaged: keystore.ErrTampered, file: tokenWith(newAccess), overwrite: true,
			outcome: keystore.Replaced, after: tokenWith(newAccess),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.stored != nil {
				w.put(*c.stored)
			}
			if c.damaged != nil {
				w.damage(keyOf(transfer), c.damaged)
			}
			content := keystore.Content{Namespace: keystore.DefaultNamespace, Tokens: []keystore.Token{c.file}}
			results, err := w.Import(t.Context(), []keystore.Content{content}, c.overwrite)
			w.ok(err)
			if len(results) != 1 || results[0].Key != keyOf(transfer) || results[0].Outcome != c.outcome {
				t.Fatalf("got %+v, want %s", results, c.outcome)
			}
			if got := results[0].Reason; !strings.HasPrefix(got, c.reason) || c.reason == "" && got != "" {
				t.Errorf("the reason is %q, want %q", got, c.reason)
			}
			if c.damaged != nil && c.outcome == keystore.Kept {
				_, err := w.Get(t.Context(), transfer)
				w.fails(err, c.damaged)
				return
			}
			if got := w.get(transfer); !sameToken(got, c.after) {
				t.Errorf("got %+v with %q, %q; want %+v", got, got.AccessToken.Reveal(), got.RefreshToken.Reveal(), c.after)
			}
		})
	}
}

func TestImportOfConfigsNeverReplacesUnasked(t *testing.T) {
	w := newWorld(t)
	w.ok(w.PutConfig(t.Context(), "same", map[string]int{"a": 1}))
	w.ok(w.PutConfig(t.Context(), "differs", 1))
	w.ok(w.PutConfig(t.Context(), "damaged", 1))
	w.damage(configKey("damaged"), keystore.ErrTampered)
	content := keystore.Content{Namespace: keystore.DefaultNamespace, Configs: map[string]keystore.Secret{
		"new": keystore.NewSecret(`null`), "same": keystore.NewSecret(`{ "a": 1 }`),
		"differs": keystore.NewSecret(`2`), "damaged": keystore.NewSecret(`2`),
	}}
	for _, c := range []struct {
		overwrite bool
		want      map[string]keystore.Outcome
	}{
		{false, map[string]keystore.Outcome{"new": keystore.Imported, "same": keystore.Unchanged, "differs": keystore.Kept, "damaged": keystore.Kept}},
		{true, map[string]keystore.Outcome{"new": keystore.Unchanged, "same": keystore.Unchanged, "differs": keystore.Replaced, "damaged": keystore.Replaced}},
		{true, map[string]keystore.Outcome{"new": keystore.Unchanged, "same": keystore.Unchanged, "differs": keystore.Unchanged, "damaged": keystore.Unchanged}},
	} {
		results, err := w.Import(t.Context(), []keystore.Content{content}, c.overwrite)
		w.ok(err)
		got := make(map[string]keystore.Outcome)
		for _, r := range results {
			got[r.Key.Name] = r.Outcome
			if (r.Reason != "") != (r.Outcome == keystore.Kept) {
				t.Errorf("%v is %s because %q", r.Key, r.Outcome, r.Reason)
			}
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("overwrite %v: got %v, want %v", c.overwrite, got, c.want)
		}
		holds := w.Holds(t.Context(), []keystore.Content{content})
		if c.overwrite {
			w.ok(holds)
		} else if holds == nil {
			t.Error("Holds says that all was imported, and two values were kept")
		}
	}
}

func configKey(name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindConfig, Name: name}
}

func TestImportKeepsNamespaces(t *testing.T) {
	w := newWorld(t)
	contents := []keystore.Content{
		{Namespace: "userprofile/production", Account: keystore.Account{Subject: alice}, Tokens: []keystore.Token{tokenWith(ofNobody)}},
		{Namespace: "clientprofile/sandbox", Account: keystore.Account{Subject: bob}, Tokens: []keystore.Token{tokenWith(ofNobody, newAccess)}},
	}
	_, err := w.Import(t.Context(), contents, false)
	w.ok(err)
	w.ok(w.Holds(t.Context(), contents))
	for _, c := range contents {
		account, err := w.In(c.Namespace).Account(t.Context())
		if err != nil || account.Subject != c.Account.Subject {
			t.Errorf("namespace %q is of %+v, error %v", c.Namespace, account, err)
		}
	}
	_, err = w.Account(t.Context())
	w.fails(err, keystore.ErrNotFound)
}

func TestImportFillsIssuerAndClientFromTheFile(t *testing.T) {
	w := newWorld(t)
	_, err := w.Import(t.Context(), []keystore.Content{{
		Namespace: keystore.DefaultNamespace,
		Account:   keystore.Account{Issuer: issuer, ClientID: "client"},
		Tokens:    []keystore.Token{tokenWith(ofNoClient)},
	}}, false)
	w.ok(err)
	if got := w.get(transfer); got.Issuer != issuer || got.ClientID != "client" {
		t.Errorf("stored as of client %q at %q", got.ClientID, got.Issuer)
	}
}

func TestImportIsAllOrNone(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(groups))
	before := dump(t, w.Adapter())
	for _, bad := range []keystore.Content{
		{Namespace: "", Tokens: []keystore.Token{tokenWith()}},
		{Namespace: "x", Tokens: []keystore.Token{bareToken("", "a")}},
		{Namespace: "x", Tokens: []keystore.Token{bareToken("y", "")}},
		{Namespace: "x", Tokens: []keystore.Token{tokenWith(), tokenWith()}},
		{Namespace: "x", Configs: map[string]keystore.Secret{"x": keystore.NewSecret("{")}},
		{Namespace: "x", Configs: map[string]keystore.Secret{"": keystore.NewSecret("{}")}},
	} {
		good := keystore.Content{Namespace: "good", Tokens: []keystore.Token{tokenWith()}}
		results, err := w.Import(t.Context(), []keystore.Content{good, bad}, true)
		w.fails(err, keystore.ErrInvalid)
		if results != nil {
			t.Errorf("the import failed and reports %v", results)
		}
		if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
			t.Errorf("the import failed and the store holds %v", after)
		}
	}
}

func TestImportOfAnotherAccountIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		account   keystore.Account
		servers   []string // in the file
		overwrite bool
		want      error
	}{
		"another subject":                      {keystore.Account{Subject: bob, Issuer: issuer}, []string{transfer, groups}, false, keystore.ErrSubjectMismatch},
		"another issuer":                       {keystore.Account{Subject: alice, Issuer: "https://other"}, []string{transfer, groups}, false, keystore.ErrSubjectMismatch},
		"another subject, forced, one remains": {keystore.Account{Subject: bob, Issuer: issuer}, []string{transfer}, true, keystore.ErrSubjectMismatch},
		"another issuer, forced, one remains":  {keystore.Account{Subject: alice, Issuer: "https://other"}, []string{transfer}, true, keystore.ErrSubjectMismatch},
		"another subject, forced, all go":      {keystore.Account{Subject: bob, Issuer: issuer}, []string{transfer, groups}, true, nil},
		"another issuer, forced, all go":       {keystore.Account{Subject: alice, Issuer: "https://other"}, []string{transfer, groups}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := response(fullToken(transfer), fullToken(groups))
			first.Account = keystore.Account{Subject: alice, Issuer: issuer, ClientID: "client"}
			w.ok(w.Put(t.Context(), first))
			before := dump(t, w.Adapter())
			content := keystore.Content{Namespace: keystore.DefaultNamespace, Account: c.account}
			for _, server := range c.servers {
				content.Tokens = append(content.Tokens, bareToken(server, "theirs"))
			}
			_, err := w.Import(t.Context(), []keystore.Content{content}, c.overwrite)
			w.fails(err, c.want)
			if c.want != nil {
				if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
					t.Errorf("refused, and yet the store holds %v", after)
				}
				return
			}
			account, err := w.Account(t.Context())
			if err != nil || account.Subject != c.account.Subject || account.Issuer != c.account.Issuer {
				t.Errorf("the account is %+v, error %v", account, err)
			}
			for _, server := range c.servers {
				if got := w.get(server); got.AccessToken.Reveal() != "theirs" || !got.RefreshToken.IsZero() || len(got.Extra) > 0 {
					t.Errorf("got %+v: something of the account before is left", got)
				}
			}
		})
	}
}

// A file whose every token was turned away says nothing of the namespace.
func TestImportThatKeepsEverythingLeavesTheAccount(t *testing.T) {
	w := newWorld(t)
	w.put(tokenWith(ofNobody, ofNoClient))
	before := dump(t, w.Adapter())
	results, err := w.Import(t.Context(), []keystore.Content{{
		Namespace: keystore.DefaultNamespace,
		Account:   keystore.Account{Subject: bob, Issuer: issuer, ClientID: "another"},
		Tokens:    []keystore.Token{tokenWith(ofNobody, newAccess, newRefresh, later)},
	}}, false)
	w.ok(err)
	if len(results) != 1 || results[0].Outcome != keystore.Kept {
		t.Fatalf("got %+v", results)
	}
	if after := dump(t, w.Adapter()); !maps.Equal(before, after) {
		t.Errorf("the stored login was kept, and now the store says that it is another's: %v", after[accountKey])
	}
}

func TestHoldsReadsBack(t *testing.T) {
	w := newWorld(t)
	contents := []keystore.Content{{
		Namespace: "a", Tokens: []keystore.Token{tokenWith()},
		Configs: map[string]keystore.Secret{"null": keystore.NewSecret(`null`), "x": keystore.NewSecret(` {"b" : 1, "a": "é<"} `)},
	}}
	w.fails(w.Holds(t.Context(), contents), keystore.ErrNotFound)
	_, err := w.Import(t.Context(), contents, false)
	w.ok(err)
	w.ok(w.Holds(t.Context(), contents))
	in := w.In("a")
	for name, spoil := range map[string]func() error{
		"another token":     func() error { return in.Put(t.Context(), response(tokenWith(newAccess))) },
		"another refresh":   func() error { return in.Put(t.Context(), response(tokenWith(newRefresh))) },
		"another end":       func() error { return in.Put(t.Context(), response(tokenWith(later))) },
		"no token":          func() error { return in.Delete(t.Context(), transfer) },
		"another value":     func() error { return in.PutConfig(t.Context(), "x", 1) },
		"no value":          func() error { return in.DeleteConfig(t.Context(), "x") },
		"a value, not null": func() error { return in.PutConfig(t.Context(), "null", 0) },
	} {
		w.ok(spoil())
		if err := w.Holds(t.Context(), contents); err == nil {
			t.Errorf("%s: Holds finds everything as it was", name)
		}
		_, err := w.Import(t.Context(), contents, true)
		w.ok(err)
		w.ok(w.Holds(t.Context(), contents))
	}
}
