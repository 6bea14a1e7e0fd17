package keystore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// TestMigrateOfWhatIsSpooled: an answer that waits in the spool is stored, and carried
// over; nothing of it is left there, nor of refreshes that were begun.
func TestMigrateOfWhatIsSpooled(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		synctest.Test(t, func(t *testing.T) { migrateSpooled(t, opts) })
	})
}

func migrateSpooled(t *testing.T, opts *keystore.MigrateOptions) {
	s := newSpooling(t)
	s.spool()
	s.adapter.broken.Store(false)
	b := memory.New()
	planned := migrate(t.Context(), s.store(), keystore.New(b, nil), &keystore.MigrateOptions{DryRun: true})
	s.holds(1)
	if len(planned) == 0 || planned.err() != nil {
		t.Errorf("a dry run: %v", planned)
	}
	if err := migrate(t.Context(), s.store(), keystore.New(b, nil), opts).err(); err != nil {
		t.Fatal(err)
	}
	s.holds(0)
	got, err := keystore.New(b, nil).Get(t.Context(), "rs")
	if err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
		t.Errorf("the target holds %q, %v", got.RefreshToken.Reveal(), err)
	}
	for key := range dump(t, b) {
		if key.Kind == keystore.KindPending {
			t.Errorf("the target has %v", key)
		}
	}
}

// TestMigrateOfWhatIsSpooledMeanwhile, when the migration has begun.
func TestMigrateOfWhatIsSpooledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t)
		s.ok(s.store().PutConfig(t.Context(), "before the tokens", 1))
		to := keystore.New(memory.New(), nil)
		for m, err := range keystore.Migrate(t.Context(), s.store(), to, &keystore.MigrateOptions{DeleteSource: true}) {
			s.ok(err)
			if m.Key.Kind == keystore.KindConfig {
				s.spool()
				s.adapter.broken.Store(false)
			}
		}
		s.holds(0)
		got, err := to.Get(t.Context(), "rs")
		if err != nil || got.RefreshToken.Reveal() != "FakeRefresh1" {
			t.Errorf("the target holds %q, %v", got.RefreshToken.Reveal(), err)
		}
	})
}

// TestMigrateBehindAStoppedProcess: the login that it renews is told as busy, and stays.
func TestMigrateBehindAStoppedProcess(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		synctest.Test(t, func(t *testing.T) {
			a, b := stored(t), memory.New()
			unlock, err := a.LockCredential(t.Context(), keyOf(groups))
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			got := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), opts)
			if !errors.Is(got[keyOf(groups)].err, keystore.ErrBusy) || got[keyOf(transfer)].Outcome != keystore.Copied {
				t.Errorf("%v", got)
			}
			if dump(t, a)[keyOf(groups)] == "" || dump(t, b)[keyOf(groups)] != "" {
				t.Error("a login that is being renewed was carried over")
			}
		})
	})
}

// TestMigrateOfARefreshThatWasBegun: who began it is gone; its record goes with the
// token, and not over.
func TestMigrateOfARefreshThatWasBegun(t *testing.T) {
	a, b := memory.New(), memory.New()
	store, _ := expired(t, a)
	away := func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
		return keystore.TokenResponse{}, errors.New("the issuer is away")
	}
	if _, err := store.Refresh(t.Context(), "rs", over, away, nil); err == nil {
		t.Fatal("it was renewed")
	}
	pending := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindPending, Name: "rs"}
	if dump(t, a)[pending] == "" {
		t.Fatal("there is no record of it")
	}
	got := migrate(t.Context(), store, keystore.New(b, nil), &keystore.MigrateOptions{DeleteSource: true})
	if got.err() != nil || len(dump(t, a)) > 0 || dump(t, b)[pending] != "" {
		t.Errorf("%v, the source holds %v", got, dump(t, a))
	}
}

// TestMigrateBesideALogin: what is stored in the source after it was read, and before it
// was removed, stays there, and the same migration again carries it over.
func TestMigrateBesideALogin(t *testing.T) {
	a, b := stored(t), memory.New()
	store := keystore.New(a, nil)
	newer := fullToken(transfer)
	newer.AccessToken, newer.RefreshToken = keystore.NewSecret("newer"), keystore.NewSecret("newer refresh")
	newer.ExpiresAt, newer.LoggedIn = newer.ExpiresAt.Add(time.Hour), start
	var n int
	from := keystore.New(&before{StorageAdapter: a, update: func() {
		var err error
		switch n++; n {
		case 1: // the values are to be removed
			err = store.PutConfig(t.Context(), "client", 2)
		case 3: // the second token is
			err = store.Put(t.Context(), response(newer))
		}
		if err != nil {
			t.Error(err)
		}
	}}, nil)
	opts := &keystore.MigrateOptions{DeleteSource: true}
	got := migrate(t.Context(), from, keystore.New(b, nil), opts)
	config := configKey("client")
	for key, what := range map[keystore.RecordKey]string{config: "2", keyOf(transfer): `"newer"`} {
		if got[key].Outcome != keystore.Kept || !strings.Contains(dump(t, a)[key], what) || got.err() != nil {
			t.Errorf("%+v; the source holds %v", got[key], dump(t, a))
		}
	}
	if dump(t, a)[accountKey] == "" {
		t.Error("the account does not stand beside its token")
	}
	b.Update(t.Context(), func(w keystore.Writer) error { return w.Delete(config) })
	got = migrate(t.Context(), from, keystore.New(b, nil), opts)
	if got.err() != nil || got[keyOf(transfer)].Outcome != keystore.Replaced || len(dump(t, a)) > 0 ||
		dump(t, b)[config] != "2" || !strings.Contains(dump(t, b)[keyOf(transfer)], `"newer"`) {
		t.Errorf("once more: %v; the source holds %v", got, dump(t, a))
	}
}
