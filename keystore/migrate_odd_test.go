package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

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
	defer cancel()
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

// counted counts the Updates that were made, and the records that were read.
type counted struct {
	keystore.StorageAdapter
	updates int
}

func (a *counted) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	a.updates++
	return a.StorageAdapter.Update(ctx, fn)
}

// TestMigrateOfMany records takes few Updates, a token that leaves one in each store.
func TestMigrateOfMany(t *testing.T) {
	a, b := &counted{StorageAdapter: stored(t)}, &counted{StorageAdapter: memory.New()}
	const many = 10_150 // more than are listed at once
	err := a.Update(t.Context(), func(w keystore.Writer) error {
		for n := range many {
			key := keystore.RecordKey{Namespace: fmt.Sprint("namespace ", n%7), Kind: keystore.KindConfig, Name: fmt.Sprint(n)}
			if err := w.Put(key, []byte("1")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a.updates = 0
	want := dump(t, a)
	got := migrate(t.Context(), keystore.New(a, nil), keystore.New(b, nil), &keystore.MigrateOptions{DeleteSource: true})
	if len(got) != len(want) || got.err() != nil || !maps.Equal(dump(t, b), want) || len(dump(t, a)) > 0 {
		t.Errorf("%d of %d records, %v", len(got), len(want), got.err())
	}
	const batches = 102 // of configuration values
	if there, here := b.updates, a.updates; there != 2+1+batches+2+1 || here != batches+2+1 {
		t.Errorf("%d updates at the target (probe, accounts, values, tokens, accounts) and %d at the source", there, here)
	}
}

// TestMigrateOfForeignTokens: one of another identity than its namespace's account, here
// or there, is not carried over.
func TestMigrateOfForeignTokens(t *testing.T) {
	for _, known := range []string{"here", "there"} {
		a, b := stored(t), memory.New()
		err := a.Update(t.Context(), func(w keystore.Writer) error { // as no Store would
			payload, err := w.Get(keyOf(transfer))
			if err != nil {
				return err
			}
			if known == "there" {
				err = w.Delete(accountKey)
			}
			return errors.Join(err, w.Put(keyOf(transfer), []byte(strings.ReplaceAll(string(payload), alice, bob))))
		})
		if err != nil {
			t.Fatal(err)
		}
		to := keystore.New(b, nil)
		if known == "there" {
			if err := to.Put(t.Context(), response(fullToken("third"))); err != nil {
				t.Fatal(err)
			}
		}
		got := migrate(t.Context(), keystore.New(a, nil), to, &keystore.MigrateOptions{DeleteSource: true})
		if got[keyOf(groups)].Outcome != keystore.Copied || got[keyOf(transfer)].Outcome != keystore.Kept || dump(t, b)[keyOf(transfer)] != "" {
			t.Errorf("the account is known %s: %v", known, got)
		}
		if left := dump(t, a); left[keyOf(transfer)] == "" || left[keyOf(groups)] != "" || known == "here" && left[accountKey] == "" {
			t.Errorf("the account is known %s: the source holds %v", known, left)
		}
	}
}

// hiding is an adapter that does not list one of its records, as one whose hidden name is
// damaged.
type hiding struct {
	keystore.StorageAdapter
	hidden keystore.RecordKey
}

func (a hiding) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return a.StorageAdapter.View(ctx, func(r keystore.Reader) error { return fn(hidingReader{r, a.hidden}) })
}

type hidingReader struct {
	keystore.Reader
	hidden keystore.RecordKey
}

func (r hidingReader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		for k, err := range r.Reader.Keys(kind, namespaces...) {
			if k != r.hidden && !yield(k, err) {
				return
			}
		}
	}
}

func (r hidingReader) Count(kind keystore.Kind) (n int, err error) {
	for _, err := range r.Reader.Keys(kind) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// TestMigrateOfWhatIsNotListed says that there is something more.
func TestMigrateOfWhatIsNotListed(t *testing.T) {
	bothWays(t, func(t *testing.T, opts *keystore.MigrateOptions) {
		for _, hidden := range []keystore.RecordKey{keyOf(transfer), configKey("client"), accountKey} {
			a, b := stored(t), memory.New()
			want := dump(t, a)
			got := migrate(t.Context(), keystore.New(hiding{a, hidden}, nil), keystore.New(b, nil), opts)
			if !errors.Is(got.err(), keystore.ErrTampered) || len(got) != len(want) || dump(t, a)[hidden] != want[hidden] {
				t.Errorf("%v is not listed: %v", hidden, got)
			}
		}
	})
}

// TestMigrateOfAccounts: what the target knows stays, and what it does not know is added.
func TestMigrateOfAccounts(t *testing.T) {
	a, b := stored(t), memory.New()
	to := keystore.New(b, nil)
	theirs := keystore.TokenResponse{Tokens: []keystore.Token{fullToken("third")},
		Account: keystore.Account{Subject: alice, ClientID: "theirs", Username: "alice"}}
	if err := to.Put(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	for _, want := range []keystore.Outcome{keystore.Completed, keystore.Unchanged} {
		got := migrate(t.Context(), keystore.New(a, nil), to, nil)
		account, err := to.Account(t.Context())
		known := keystore.Account{Subject: alice, Issuer: issuer, ClientID: "theirs", Username: "alice"}
		if got[accountKey].Outcome != want || account != known || err != nil {
			t.Errorf("%+v; the account is %+v, %v", got[accountKey], account, err)
		}
	}
}
