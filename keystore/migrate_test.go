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
			if broken < 20 {
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
	for name, c := range map[string]struct {
		next       func(keystore.Token) keystore.Token
		unlike     bool // nothing shows that next is what old has become
		oldAccount keystore.Account
	}{
		"renewed":                {next: later},
		"not later":              {without(func(t *keystore.Token) { t.ExpiresAt = old.ExpiresAt }), true, keystore.Account{}},
		"used before":            {without(func(t *keystore.Token) { t.Used = start.Add(-time.Hour) }), true, keystore.Account{}},
		"logged in before":       {without(func(t *keystore.Token) { t.LoggedIn = start.Add(-time.Hour) }), true, keystore.Account{}},
		"fewer scopes":           {without(func(t *keystore.Token) { t.Scope = "openid" }), true, keystore.Account{}},
		"without refresh token":  {without(func(t *keystore.Token) { t.RefreshToken = keystore.Secret{} }), true, keystore.Account{}},
		"another client":         {without(func(t *keystore.Token) { t.ClientID = "other" }), true, keystore.Account{}},
		"another issuer":         {without(func(t *keystore.Token) { t.Issuer = "https://other.example" }), true, keystore.Account{}},
		"another identity":       {without(func(t *keystore.Token) { t.IdentityID = bob }), true, keystore.Account{}},
		"no identity":            {without(func(t *keystore.Token) { t.IdentityID = "" }), true, keystore.Account{}},
		"without unknown fields": {without(func(t *keystore.Token) { t.Extra = nil }), true, keystore.Account{}},
		"of a client":            {without(func(t *keystore.Token) { t.Grant = keystore.GrantClientCredentials }), true, keystore.Account{}},
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

// TestMigrateOfConfigsThatDiffer keeps both.
func TestMigrateOfConfigsThatDiffer(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		a, b := stored(t), stored(t)
		if err := keystore.New(b, nil).PutConfig(t.Context(), "client", 2); err != nil {
			t.Fatal(err)
		}
		b.Update(t.Context(), func(w keystore.Writer) error { return w.SetHeader(keystore.Header{StoreID: keystore.StoreID{1}}) })
		key := configKey("client")
		got := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), opts)
		if got[key].Outcome != keystore.Kept || got[key].Reason == "" || dump(t, a)[key] != "1" || dump(t, b)[key] != "2" {
			t.Errorf("%+v, the source holds %s and the target %s", got[key], dump(t, a)[key], dump(t, b)[key])
		}
	})
}

// smallTarget takes no record of more than some bytes, as a keychain.
type smallTarget struct{ keystore.StorageAdapter }

func (a smallTarget) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	return a.StorageAdapter.Update(ctx, func(w keystore.Writer) error { return fn(smallWriter{w}) })
}

type smallWriter struct{ keystore.Writer }

func (w smallWriter) Put(k keystore.RecordKey, payload []byte) error {
	if len(payload) > 2000 {
		return &keystore.Error{Key: k, Err: keystore.ErrTooLarge}
	}
	return w.Writer.Put(k, payload)
}

// TestMigrateToASmallStore: what is too large for the target keeps nothing else back.
func TestMigrateToASmallStore(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		a, b := stored(t), memory.New()
		if err := keystore.New(a, nil).PutConfig(t.Context(), "large", strings.Repeat("x", 2000)); err != nil {
			t.Fatal(err)
		}
		want, large := dump(t, a), configKey("large")
		got := migrate(t.Context(), keystore.New(a, nil), keystore.New(smallTarget{b}, nil), opts)
		if len(got) != len(want) || !errors.Is(got[large].err, keystore.ErrTooLarge) || dump(t, a)[large] != want[large] {
			t.Errorf("%v", got)
		}
		delete(want, large)
		if !maps.Equal(dump(t, b), want) {
			t.Errorf("the target holds %v", dump(t, b))
		}
	})
}

// liar is an adapter that forgets what it has stored, or mixes it up.
type liar struct {
	keystore.StorageAdapter
	forgets bool
}

func (a liar) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return a.StorageAdapter.View(ctx, func(r keystore.Reader) error { return fn(lyingReader{r, a.forgets}) })
}

type lyingReader struct {
	keystore.Reader
	forgets bool
}

func (r lyingReader) Get(k keystore.RecordKey) ([]byte, error) {
	payload, err := r.Reader.Get(k)
	if err != nil || k.Kind != keystore.KindToken {
		return payload, err
	}
	if r.forgets {
		return nil, &keystore.Error{Key: k, Err: keystore.ErrNotFound}
	}
	return []byte(strings.Replace(string(payload), "3600", "3601", 1) + " "), nil
}

// TestMigrateToALiar deletes nothing that does not read back as it was written.
func TestMigrateToALiar(t *testing.T) {
	for _, forgets := range []bool{true, false} {
		a := stored(t)
		want := dump(t, a)
		got := migrate(t.Context(), keystore.New(a, nil), keystore.New(liar{memory.New(), forgets}, nil), &keystore.MigrateOptions{DeleteSource: true})
		left := dump(t, a)
		for _, key := range []keystore.RecordKey{keyOf(transfer), keyOf(groups), accountKey} {
			if left[key] != want[key] {
				t.Errorf("forgets=%v: %v has left the source: %v", forgets, key, got)
			}
		}
		if forgets && !errors.Is(got.err(), keystore.ErrCorrupt) {
			t.Errorf("%v, want ErrCorrupt", got.err())
		}
	}
}

// TestMigrateBrokenOff: who does not want to hear more, or cancels, ends it between two
// records.
func TestMigrateBrokenOff(t *testing.T) {
	a, b := stored(t), memory.New()
	want := dump(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	opts := &keystore.MigrateOptions{DeleteSource: true}
	for m := range keystore.Migrate(ctx, keystore.New(a, nil), keystore.New(b, nil), opts) {
		if m.Key.Kind == keystore.KindToken {
			break
		}
	}
	if n := len(dump(t, a)); n != len(want)-2 { // a config and a token
		t.Errorf("%d records are left", n)
	}
	var last error
	for m, err := range keystore.Migrate(ctx, keystore.New(a, nil), keystore.New(b, nil), opts) {
		last = err
		if m.Key.Kind == keystore.KindAccount {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) || len(dump(t, a)) != len(want)-2 {
		t.Errorf("%v, %d records are left", last, len(dump(t, a)))
	}
	if err := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), opts).err(); err != nil || len(dump(t, a)) > 0 || !maps.Equal(dump(t, b), want) {
		t.Errorf("once more: %v", err)
	}
}

// TestMigrateUpdatesMadeTwice: an Update may call its function again.
func TestMigrateUpdatesMadeTwice(t *testing.T) {
	a, b := stored(t), memory.New()
	want := dump(t, a)
	got := migrate(t.Context(), keystore.New(retrying{a}, nil), keystore.New(retrying{b}, nil), &keystore.MigrateOptions{DeleteSource: true})
	if len(got) != len(want) || got.err() != nil || !maps.Equal(dump(t, b), want) || len(dump(t, a)) > 0 {
		t.Errorf("%v", got)
	}
}
