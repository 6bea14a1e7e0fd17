package memory_test

import (
	"context"
	"errors"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

func TestConformance(t *testing.T) {
	open := func(string) (keystore.StorageAdapter, error) { return memory.New(), nil }
	keystoretest.Run(t, open, nil)
}

func TestEveryStoreHasItsOwnID(t *testing.T) {
	headers := make(map[keystore.StoreID]bool)
	for range 10 {
		err := memory.New().View(t.Context(), func(r keystore.Reader) error {
			headers[r.Header().StoreID] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(headers) != 10 || headers[keystore.StoreID{}] {
		t.Errorf("10 new stores have %d ids: %v", len(headers), headers)
	}
}

func TestErrorsWrapTheCauseOfTheContext(t *testing.T) {
	reason := errors.New("the user has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	err := memory.New().Update(ctx, func(keystore.Writer) error { return nil })
	if !errors.Is(err, reason) || !errors.Is(err, context.Canceled) {
		t.Errorf("Update returned %v, want it to wrap %v and %v", err, reason, context.Canceled)
	}
}
