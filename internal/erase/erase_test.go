package erase_test

import (
	"sync"
	"testing"
	"weak"

	"github.com/globus-keys/globus-keys/internal/erase"
)

func TestDoRunsItsFunction(t *testing.T) {
	calls := 0
	erase.Do(func() { erase.Do(func() { calls++ }) })
	if calls != 1 {
		t.Errorf("it ran %d times", calls)
	}
}

func TestPanicGoesOn(t *testing.T) {
	defer func() {
		if got := recover(); got != "by test" {
			t.Errorf("recovered %v", got)
		}
	}()
	erase.Do(func() { panic("by test") })
}

// TestNowReachesPools: of what a pool has, one collection leaves half.
func TestNowReachesPools(t *testing.T) {
	var pool sync.Pool
	buffer := new([64]byte)
	pointer := weak.Make(buffer)
	pool.Put(buffer)
	buffer = nil
	erase.Now()
	if pointer.Value() != nil {
		t.Error("what lay in a pool is still there")
	}
	pool.New = nil // the pool itself lasts until here
}
