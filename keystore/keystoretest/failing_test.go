package keystoretest_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

var (
	errInjected = errors.New("injected")
	key         = keystore.RecordKey{Namespace: "a", Kind: keystore.KindConfig, Name: "b"}
)

// TestFailAtFailsEachOperationOnce walks through one call of everything.
func TestFailAtFailsEachOperationOnce(t *testing.T) {
	var failed []string
	for n := 1; ; n++ {
		inner := memory.New()
		a := keystoretest.FailAt(inner, n, errInjected)
		err := everything(t.Context(), a)
		if a.Failed() == "" {
			if err != nil {
				t.Fatalf("nothing failed, and yet: %v", err)
			}
			break
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("operation %d, %s, failed and the caller heard %v", n, a.Failed(), err)
		}
		if stored, want := holds(t, inner), a.Failed() == "Update end" || n > 8; stored != want {
			t.Errorf("operation %d, %s, failed and the record is stored: %v, want %v", n, a.Failed(), stored, want)
		}
		failed = append(failed, a.Failed())
	}
	want := []string{"Update begin", "SetHeader", "Put", "Get", "Delete", "Put", "Update commit", "Update end",
		"LockCredential", "View", "Keys", "Get"}
	if !slices.Equal(failed, want) {
		t.Errorf("failed in turn: %q, want %q", failed, want)
	}
}

func everything(ctx context.Context, a keystore.StorageAdapter) error {
	err := a.Update(ctx, func(w keystore.Writer) error {
		if err := w.SetHeader(w.Header()); err != nil {
			return err
		}
		if err := w.Put(key, []byte(`1`)); err != nil {
			return err
		}
		if _, err := w.Get(key); err != nil {
			return err
		}
		if err := w.Delete(key); err != nil {
			return err
		}
		return w.Put(key, []byte(`2`))
	})
	if err != nil {
		return err
	}
	unlock, err := a.LockCredential(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	return a.View(ctx, func(r keystore.Reader) error {
		for k, err := range r.Keys(keystore.KindConfig) {
			if err != nil {
				return err
			}
			if _, err := r.Get(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func holds(t *testing.T, a keystore.StorageAdapter) bool {
	t.Helper()
	var err error
	a.View(t.Context(), func(r keystore.Reader) error {
		_, err = r.Get(key)
		return nil
	})
	return err == nil
}
