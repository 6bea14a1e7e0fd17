package keystore_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

var errInjected = errors.New("injected")

// TestEveryChangeIsOldOrNew lets each operation of the adapter fail in turn,
// and looks at what is then stored.
func TestEveryChangeIsOldOrNew(t *testing.T) {
	owned := keystore.TokenResponse{Tokens: []keystore.Token{bareToken(transfer, "new"), bareToken("third", "new")},
		Account: keystore.Account{Subject: alice, Issuer: issuer, ClientID: "another"}}
	contents := []keystore.Content{
		{Namespace: keystore.DefaultNamespace, Account: owned.Account, Tokens: []keystore.Token{tokenWith(newAccess, later), bareToken("third", "x")},
			Configs: map[string]keystore.Secret{"client": keystore.NewSecret(`3`), "other": keystore.NewSecret(`4`)}},
		{Namespace: "second", Tokens: []keystore.Token{tokenWith()}},
	}
	displacing := []keystore.Content{{Namespace: keystore.DefaultNamespace, Account: keystore.Account{Subject: bob},
		Tokens: []keystore.Token{bareToken(transfer, "bob"), bareToken(groups, "bob")}}}
	for name, change := range map[string]func(context.Context, *keystore.Store) error{
		"Put":             func(ctx context.Context, s *keystore.Store) error { return s.Put(ctx, owned) },
		"OnRefresh":       func(ctx context.Context, s *keystore.Store) error { return s.OnRefresh(ctx, owned) },
		"Delete":          func(ctx context.Context, s *keystore.Store) error { return s.Delete(ctx, transfer) },
		"PutConfig":       func(ctx context.Context, s *keystore.Store) error { return s.PutConfig(ctx, "client", 2) },
		"DeleteConfig":    func(ctx context.Context, s *keystore.Store) error { return s.DeleteConfig(ctx, "client") },
		"Import":          imports(contents, false),
		"Import, forced":  imports(contents, true),
		"Import of bob's": imports(displacing, true),
	} {
		t.Run(name, func(t *testing.T) {
			before := dump(t, stored(t))
			a := stored(t)
			if err := change(t.Context(), keystore.New(a, nil)); err != nil {
				t.Fatal(err)
			}
			after := dump(t, a)
			if maps.Equal(before, after) {
				t.Fatal("the change changes nothing")
			}
			walkFaults(t, change, before, after)
		})
	}
}

func imports(contents []keystore.Content, overwrite bool) func(context.Context, *keystore.Store) error {
	return func(ctx context.Context, s *keystore.Store) error {
		_, err := s.Import(ctx, contents, overwrite)
		return err
	}
}

// stored is a store with something in it.
func stored(t *testing.T) *memory.Adapter {
	t.Helper()
	a := memory.New()
	s := keystore.New(a, nil)
	login := response(fullToken(transfer), fullToken(groups))
	login.Account = keystore.Account{Subject: alice, Issuer: issuer, ClientID: "client"}
	if err := errors.Join(s.Put(t.Context(), login), s.PutConfig(t.Context(), "client", 1)); err != nil {
		t.Fatal(err)
	}
	return a
}

func walkFaults(t *testing.T, change func(context.Context, *keystore.Store) error, before, after map[keystore.RecordKey]string) {
	t.Helper()
	var undone, done int
	for n := 1; ; n++ {
		inner := stored(t)
		failing := keystoretest.FailAt(inner, n, errInjected)
		err := change(t.Context(), keystore.New(failing, nil))
		got := dump(t, inner)
		if failing.Failed() == "" {
			if err != nil || !maps.Equal(got, after) {
				t.Errorf("nothing failed; error %v, the store holds %v", err, got)
			}
			break
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("operation %d, %s, failed and the caller heard %v", n, failing.Failed(), err)
		}
		switch {
		case maps.Equal(got, before):
			undone++
		case maps.Equal(got, after):
			done++
		default:
			t.Errorf("operation %d, %s, failed and left a mix: %v", n, failing.Failed(), got)
		}
	}
	if undone < 3 || done != 1 {
		t.Errorf("of the failures %d left the old and %d the new state; want begin, write and commit, and end", undone, done)
	}
}

// The contract of Update lets an adapter call fn again, on what is then stored.
func TestAnUpdateMadeTwiceIsToldOnce(t *testing.T) {
	w := newWorld(t)
	w.put(fullToken(groups))
	w.damage(keyOf(groups), keystore.ErrTampered)
	var warned int
	s := keystore.New(retrying{w.damaged}, &keystore.Options{Warn: func(error) { warned++ }})
	if err := s.Put(t.Context(), response(bareToken(groups, "new"))); err != nil {
		t.Fatal(err)
	}
	if warned != 1 {
		t.Errorf("warned %d times of one damaged record", warned)
	}
	results, err := s.Import(t.Context(), []keystore.Content{{Namespace: "x", Tokens: []keystore.Token{tokenWith()}}}, false)
	if err != nil || len(results) != 1 || results[0].Outcome != keystore.Imported {
		t.Errorf("one record was imported, and the result is %+v, %v", results, err)
	}
}

// retrying finds at the first end of fn that another was faster.
type retrying struct{ keystore.StorageAdapter }

func (a retrying) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	stale := errors.New("stale")
	err := a.StorageAdapter.Update(ctx, func(w keystore.Writer) error {
		return errors.Join(fn(discarding{w}), stale)
	})
	if !errors.Is(err, stale) {
		return err
	}
	return a.StorageAdapter.Update(ctx, fn)
}

// discarding writes nothing.
type discarding struct{ keystore.Writer }

func (discarding) Put(keystore.RecordKey, []byte) error { return nil }
func (discarding) Delete(keystore.RecordKey) error      { return nil }
