package keystore_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// TestDeleteLeavesItsArgumentsAlone: they may be part of a longer list of the caller's.
func TestDeleteLeavesItsArgumentsAlone(t *testing.T) {
	s := keystore.New(memory.New(), nil)
	names := []string{"a", "b", "c"}
	if err := s.Put(t.Context(), response(bareToken("a", "A"), bareToken("b", "B"), bareToken("c", "C"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), names[0], names[1:2]...); err != nil {
		t.Fatal(err)
	}
	if names[2] != "c" {
		t.Errorf("the list has become %q", names)
	}
}

// TestNamespacesOfOneState: a View that begins anew has not seen what it saw before.
func TestNamespacesOfOneState(t *testing.T) {
	a := memory.New()
	s := keystore.New(a, nil)
	for _, namespace := range []string{"stays", "goes"} {
		if err := s.In(namespace).Put(t.Context(), response(bareToken("a", "A"))); err != nil {
			t.Fatal(err)
		}
	}
	began := begunAnew{a, func() error { return s.In("goes").Delete(t.Context(), "a") }}
	got, err := keystore.New(began, nil).Namespaces(t.Context())
	if err != nil || !slices.Equal(got, []string{"stays"}) {
		t.Errorf("namespaces %q, %v", got, err)
	}
}

// begunAnew calls the fn of View twice, with something between.
type begunAnew struct {
	keystore.StorageAdapter
	between func() error
}

func (b begunAnew) View(ctx context.Context, fn func(keystore.Reader) error) error {
	if err := errors.Join(b.StorageAdapter.View(ctx, fn), b.between()); err != nil {
		return err
	}
	return b.StorageAdapter.View(ctx, fn)
}
