package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// migrated is what became of each record, and what ended the migration, at the zero key.
type migrated map[keystore.RecordKey]struct {
	keystore.Migrated
	err error
}

func migrate(ctx context.Context, from, to *keystore.Store, opts *keystore.MigrateOptions) migrated {
	all := make(migrated)
	for m, err := range keystore.Migrate(ctx, from, to, opts) {
		all[m.Key] = struct {
			keystore.Migrated
			err error
		}{m, err}
	}
	return all
}

func (m migrated) err() error { return m[keystore.RecordKey{}].err }

// are checks the outcomes of all records.
func (m migrated) are(t *testing.T, want map[keystore.RecordKey]keystore.Outcome) {
	t.Helper()
	got := make(map[keystore.RecordKey]keystore.Outcome)
	for key, one := range m {
		got[key] = one.Outcome
	}
	if !maps.Equal(got, want) {
		t.Errorf("the outcomes are %v, want %v", got, want)
	}
}

// bothWays runs a test with the source kept, and deleted.
func bothWays(t *testing.T, test func(t *testing.T, opts *keystore.MigrateOptions)) {
	for _, deletes := range []bool{false, true} {
		t.Run(fmt.Sprintf("delete=%v", deletes), func(t *testing.T) {
			test(t, &keystore.MigrateOptions{DeleteSource: deletes})
		})
	}
}

// TestMigrateCarriesEverything, byte for byte, and once only.
func TestMigrateCarriesEverything(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		a, b := stored(t), memory.New()
		odd := keystore.New(a, nil).In("Ümlaut 漢字 \u202e")
		for n := range 250 { // more than one batch
			if err := odd.PutConfig(t.Context(), fmt.Sprintf("value %03d", n), n); err != nil {
				t.Fatal(err)
			}
		}
		if err := odd.Put(t.Context(), response(fullToken("🜛"))); err != nil {
			t.Fatal(err)
		}
		bobs := response(bareToken(transfer, "of bob"), bareToken(groups, "of bob"))
		bobs.Account.Subject = bob
		if err := keystore.New(a, nil).In("second").Put(t.Context(), bobs); err != nil {
			t.Fatal(err)
		}
		want := dump(t, a)
		from, to := keystore.New(a, nil), keystore.New(b, nil)
		planned := migrate(t.Context(), from, to, &keystore.MigrateOptions{DryRun: true, DeleteSource: opts.DeleteSource})
		if !maps.Equal(dump(t, a), want) || len(dump(t, b)) > 0 {
			t.Error("a dry run has changed something")
		}
		got := migrate(t.Context(), from, to, opts)
		if len(got) != len(want) || !maps.Equal(got, planned) || got[keyOf(transfer)].Shared == opts.DeleteSource {
			t.Errorf("%d records were told, and %d were planned, of %d; %+v", len(got), len(planned), len(want), got[keyOf(transfer)])
		}
		if !maps.Equal(dump(t, b), want) {
			t.Error("the target holds something else")
		}
		if left := dump(t, a); opts.DeleteSource && len(left) > 0 || !opts.DeleteSource && !maps.Equal(left, want) {
			t.Errorf("the source holds %v", left)
		}
		for key, one := range migrate(t.Context(), from, to, opts) {
			if one.Outcome != keystore.Unchanged || one.err != nil {
				t.Errorf("once more: %v is %q, %v", key, one.Outcome, one.err)
			}
		}
	})
}

// TestMigrateOverEveryFault lets each operation of either store fail in turn: no record
// is ever in neither store, and the same migration again finishes it.
func TestMigrateOverEveryFault(t *testing.T) {
	for _, atTarget := range []bool{false, true} {
		bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
			want := dump(t, stored(t))
			broken := 0
			for n := 1; ; n++ {
				a, b := stored(t), memory.New()
				from, to := keystore.New(a, nil), keystore.New(b, nil)
				var failing *keystoretest.Failing
				if atTarget {
					failing = keystoretest.FailAt(b, n, errInjected)
					to = keystore.New(failing, nil)
				} else {
					failing = keystoretest.FailAt(a, n, errInjected)
					from = keystore.New(failing, nil)
				}
				err := migrate(t.Context(), from, to, opts).err()
				if failing.Failed() == "" {
					break
				}
				broken++
				_, ofTarget := errors.AsType[keystore.TargetError](err)
				if !errors.Is(err, errInjected) || ofTarget != atTarget {
					t.Errorf("operation %d, %s, failed and the caller heard %v", n, failing.Failed(), err)
				}
				for key, payload := range want {
					if dump(t, a)[key] != payload && dump(t, b)[key] != payload {
						t.Errorf("operation %d, %s, failed: %v is in neither store", n, failing.Failed(), key)
					}
				}
				again := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), opts)
				got := dump(t, b)
				delete(got, probeKey) // a probe that could not be taken back
				if again.err() != nil || !maps.Equal(got, want) || opts.DeleteSource && len(dump(t, a)) > 0 {
					t.Errorf("operation %d, %s, failed; once more: %v, the target holds %v, the source %v", n, failing.Failed(), again.err(), got, dump(t, a))
				}
			}
			if broken < 15 {
				t.Errorf("only %d operations were broken", broken)
			}
		})
	}
}

var probeKey = keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindPending, Name: "(a login is tried out)"}

// TestMigrateOfTwoStatesOfALogin: the later one of the same login is the target's then,
// everything else stays as it is, in both.
func TestMigrateOfTwoStatesOfALogin(t *testing.T) {
	later := func(t keystore.Token) keystore.Token {
		t.AccessToken, t.RefreshToken = keystore.NewSecret("next"), keystore.NewSecret("next refresh")
		t.ExpiresAt = t.ExpiresAt.Add(time.Hour)
		return t
	}
	without := func(change func(*keystore.Token)) func(keystore.Token) keystore.Token {
		return func(t keystore.Token) keystore.Token {
			t = later(t)
			change(&t)
			return t
		}
	}
	old := fullToken(transfer)
	old.Used, old.LoggedIn = start, start
	old.Endpoints.Token = issuer + "/token"
	for name, c := range map[string]struct {
		next   func(keystore.Token) keystore.Token
		unlike bool // nothing shows that next is what old has become
	}{
		"renewed":                         {next: later},
		"not later":                       {without(func(t *keystore.Token) { t.ExpiresAt = old.ExpiresAt }), true},
		"used before":                     {without(func(t *keystore.Token) { t.Used = start.Add(-time.Hour) }), true},
		"logged in before":                {without(func(t *keystore.Token) { t.LoggedIn = start.Add(-time.Hour) }), true},
		"fewer scopes":                    {without(func(t *keystore.Token) { t.Scope = "openid" }), true},
		"without refresh token":           {without(func(t *keystore.Token) { t.RefreshToken = keystore.Secret{} }), true},
		"another client":                  {without(func(t *keystore.Token) { t.ClientID = "other" }), true},
		"another issuer":                  {without(func(t *keystore.Token) { t.Issuer = "https://other.example" }), true},
		"another identity":                {without(func(t *keystore.Token) { t.IdentityID = bob }), true},
		"no issuer":                       {without(func(t *keystore.Token) { t.Issuer = "" }), true},
		"no identity, same refresh token": {without(func(t *keystore.Token) { t.IdentityID, t.RefreshToken = "", old.RefreshToken }), true},
		"other endpoints":                 {without(func(t *keystore.Token) { t.Endpoints.Token = "https://other.example/t" }), true},
		"no identity":                     {without(func(t *keystore.Token) { t.IdentityID = "" }), true},
		"without unknown fields":          {without(func(t *keystore.Token) { t.Extra = nil }), true},
		"of a client":                     {without(func(t *keystore.Token) { t.Grant = keystore.GrantClientCredentials }), true},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
				for _, laterInSource := range []bool{true, false} {
					// without accounts, so that each token is judged by itself
					one := func(token keystore.Token) *memory.Adapter {
						a := memory.New()
						if err := keystore.New(a, nil).Put(t.Context(), response(token)); err != nil {
							t.Fatal(err)
						}
						a.Update(t.Context(), func(w keystore.Writer) error { return w.Delete(accountKey) })
						return a
					}
					a, b := one(old), one(c.next(old))
					if laterInSource {
						a, b = b, a
					}
					here, there := dump(t, a)[keyOf(transfer)], dump(t, b)[keyOf(transfer)]
					got := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), opts)
					if name == "another identity" || name == "another issuer" {
						if !errors.Is(got.err(), keystore.ErrSubjectMismatch) {
							t.Errorf("%v, want ErrSubjectMismatch", got.err())
						}
						continue
					}
					outcome, want := keystore.Superseded, there
					switch {
					case c.unlike:
						outcome = keystore.Kept
					case laterInSource:
						outcome, want = keystore.Replaced, here
					}
					got.are(t, map[keystore.RecordKey]keystore.Outcome{keyOf(transfer): outcome})
					if got := dump(t, b)[keyOf(transfer)]; got != want {
						t.Errorf("the target holds %s", got)
					}
					left, gone := dump(t, a)[keyOf(transfer)], opts.DeleteSource && !c.unlike
					if gone && left != "" || !gone && left != here {
						t.Errorf("the source holds %q", left)
					}
				}
			})
		})
	}
}

// TestMigrateToAnotherAccount is refused before anything is written; a namespace without
// logins is free.
func TestMigrateToAnotherAccount(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		for _, named := range []string{"accounts", "tokens"} {
			a, b := stored(t), memory.New()
			from, to := keystore.New(a, nil), keystore.New(b, nil)
			theirs := fullToken("third")
			theirs.IdentityID = bob
			put := func(s *keystore.Store, token keystore.Token) {
				if err := s.Put(t.Context(), response(token)); err != nil {
					t.Fatal(err)
				}
			}
			put(from.In("zeta"), fullToken(transfer))
			put(to.In("zeta"), theirs)
			if named == "tokens" {
				for _, x := range []*memory.Adapter{a, b} {
					x.Update(t.Context(), func(w keystore.Writer) error {
						return w.Delete(keystore.RecordKey{Namespace: "zeta", Kind: keystore.KindAccount, Name: "account"})
					})
				}
			}
			here, there := dump(t, a), dump(t, b)
			err := migrate(t.Context(), from, to, opts).err()
			_, ofTarget := errors.AsType[keystore.TargetError](err)
			if !errors.Is(err, keystore.ErrSubjectMismatch) || !ofTarget || !strings.Contains(err.Error(), `"zeta"`) {
				t.Errorf("by %s: %v, want ErrSubjectMismatch of the target", named, err)
			}
			if !maps.Equal(dump(t, a), here) || !maps.Equal(dump(t, b), there) {
				t.Errorf("by %s: something was written", named)
			}
			if err := to.In("zeta").Delete(t.Context(), "third"); err != nil {
				t.Fatal(err)
			}
			if err := migrate(t.Context(), from, to, opts).err(); err != nil || !maps.Equal(dump(t, b), here) {
				t.Errorf("by %s: to a namespace that is free: %v", named, err)
			}
		}
	})
}

// TestMigrateOfOneStore is refused, a copy too; so is a store that is not there.
func TestMigrateOfOneStore(t *testing.T) {
	a := stored(t)
	s := keystore.New(a, nil)
	if err := migrate(t.Context(), s, keystore.New(a, nil).In("other"), nil).err(); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if err := migrate(t.Context(), keystore.New(memory.NewEmpty(), nil), s, nil).err(); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// TestMigrateGoesOnPastABadRecord, in either store, which stays where it is.
func TestMigrateGoesOnPastABadRecord(t *testing.T) {
	for _, err := range []error{keystore.ErrTampered, keystore.ErrCorrupt, keystore.ErrNoSeal} {
		bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
			for _, atTarget := range []bool{false, true} {
				for _, bad := range []keystore.RecordKey{keyOf(transfer), configKey("client"), accountKey} {
					from, to := newWorld(t), newWorld(t)
					for _, w := range []*world{from, to} {
						if w == from || atTarget {
							w.put(fullToken(transfer), fullToken(groups))
							w.ok(w.PutConfig(t.Context(), "client", 1))
							w.ok(w.PutConfig(t.Context(), "other", 2))
						}
					}
					there := dump(t, to.damaged.StorageAdapter)[bad]
					if atTarget {
						to.damage(bad, err)
					} else {
						from.damage(bad, err)
					}
					got := migrate(t.Context(), from.Store, to.Store, opts)
					_, ofTarget := errors.AsType[keystore.TargetError](got[bad].err)
					if len(got) != 5 || got[bad].Outcome != keystore.Failed || !errors.Is(got[bad].err, err) || ofTarget != atTarget {
						t.Errorf("%v: %v", bad, got)
					}
					if left := dump(t, from.damaged.StorageAdapter); left[bad] == "" || opts.DeleteSource && left[keyOf(groups)] != "" {
						t.Errorf("%v: the source holds %v", bad, left)
					}
					if dump(t, to.damaged.StorageAdapter)[bad] != there {
						t.Errorf("%v: the target has another record", bad)
					}
				}
			}
		})
	}
}

// TestMigrateOfWhatNoLoginIs: a record that opens and cannot be one is not carried over.
func TestMigrateOfWhatNoLoginIs(t *testing.T) {
	for name, payload := range map[string]string{
		"another server's":  `{"token": {"resource_server": "other", "access_token": "x"}}`,
		"a later version's": `{"token": {"resource_server": "transfer.api.globus.org", "access_token": "x"}, "new": 1}`,
		"no object":         `3`, "null": `null`, "no token": `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := stored(t), memory.New()
			err := a.Update(t.Context(), func(w keystore.Writer) error { return w.Put(keyOf(transfer), []byte(payload)) })
			if err != nil {
				t.Fatal(err)
			}
			got := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), &keystore.MigrateOptions{DeleteSource: true})
			if !errors.Is(got[keyOf(transfer)].err, keystore.ErrCorrupt) || dump(t, a)[keyOf(transfer)] != payload || dump(t, b)[keyOf(transfer)] != "" {
				t.Errorf("%v", got)
			}
			if dump(t, a)[accountKey] == "" || dump(t, b)[accountKey] == "" || dump(t, a)[keyOf(groups)] != "" {
				t.Error("the account does not stand beside the login that stays, or another one stays")
			}
		})
	}
}
