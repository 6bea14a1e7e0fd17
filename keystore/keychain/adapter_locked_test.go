package keychain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// TestNobodyWaitsBehindADialog: while one who wants to write is being asked to
// unlock the keychain, another writes; and the first then writes on what is
// stored by then.
func TestNobodyWaitsBehindADialog(t *testing.T) {
	p := made(t, change{"a": "1"})
	b := p.keychain()
	locked := true
	b.Before = func(call string, _ int) error {
		if call == "get" && locked { // outside of the lock: the dialog is answered
			other := p.open()
			err := change{"b": "2"}.update(t.Context(), other)
			if err != nil {
				t.Errorf("another writer: %v", err)
			}
			locked = false
		}
		if locked {
			return &keychain.Problem{State: keychain.Locked, Detail: "the test keychain is locked"}
		}
		return nil
	}
	a := p.over(b)
	done := make(chan error, 1)
	go func() { done <- change{"c": "3"}.update(t.Context(), a) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second): // less than a writer's patience
		t.Fatal("another writer waits behind the dialog")
	}
	p.holds(map[string]string{"a": "1", "b": "2", "c": "3"})
}

// TestLockedKeychainThatNobodyOpens is told, and nothing is written.
func TestLockedKeychainThatNobodyOpens(t *testing.T) {
	p := made(t, change{"a": "1"})
	b := p.keychain()
	b.Before = func(string, int) error {
		return &keychain.Problem{State: keychain.Locked, Detail: "the test keychain is locked"}
	}
	a := p.over(b)
	if err := (change{"c": "3"}).update(t.Context(), a); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("put: %v, want ErrLocked", err)
	}
	if err := (change{"a": ""}).update(t.Context(), a); err != nil {
		t.Errorf("delete needs no keychain: %v", err)
	}
	p.holds(map[string]string{})
}
