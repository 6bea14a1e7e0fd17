package keychain_test

import (
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// TestIndexIsDurableBeforeTheKeychainChanges: a list that a power cut takes back
// must not have been acted upon.
func TestIndexIsDurableBeforeTheKeychainChanges(t *testing.T) {
	p := made(t, change{"one": "1", "two": "2"})
	for _, c := range []change{{"one": "2"}, {"one": "3"}, {"two": ""}, {"one": "4"}} {
		fsys := faultfs.New(atomicfile.OS(), faultfs.Plan{})
		calls := 0
		b := p.keychain()
		b.Before = func(call string, n int) error {
			if calls++; fsys.Syncs() != 2 {
				t.Errorf("%v: at %s, call %d, there were %d syncs, want 2 (file, directory)", c, call, n, fsys.Syncs())
			}
			return nil
		}
		a := p.over(b)
		keychain.SetFS(a, fsys)
		if err := c.update(t.Context(), a); err != nil || calls == 0 || fsys.Syncs() != 4 {
			t.Errorf("%v: %v, %d calls, %d syncs, want 4", c, err, calls, fsys.Syncs())
		}
		p.later(2 * time.Minute)
	}
	if len(p.strays()) != 1 {
		t.Errorf("left over: %v, want the value before the last", p.strays())
	}
}

// TestEveryFaultOfTheDisk: the store is old or new, and new if there was no
// error.
func TestEveryFaultOfTheDisk(t *testing.T) {
	before := change{"one": "1", "two": sized(2, "o")}
	from := made(t, before)
	from.update(change{"one": "2"})
	from.later(2 * time.Minute)
	state := change{"one": "2"}.apply(before)
	c := change{"one": sized(3, "n"), "two": "", "new": "1"}
	for name, plan := range map[string]faultfs.Plan{
		"EIO": {Err: syscall.EIO}, "ENOSPC, torn": {Err: syscall.ENOSPC, Torn: true}, "crash": {Crash: true}, "crash in torn": {Crash: true, Torn: true},
	} {
		n := 1
		for ; ; n++ {
			plan.Op = n
			p := from.copy(t)
			fsys := faultfs.New(atomicfile.OS(), plan)
			a := p.open()
			keychain.SetFS(a, fsys)
			failed := c.update(t.Context(), a)
			got, err := p.read()
			if err != nil || !maps.Equal(got, c.apply(state)) && (failed == nil || !maps.Equal(got, state)) {
				t.Errorf("%s at operation %d: %v; then the store holds %s (%v)", name, n, failed, brief(got), err)
			}
			checkSwept(p, name, got)
			if fsys.Ops() < n {
				break
			}
		}
		if n < 20 {
			t.Errorf("%s: the walk ended after %d operations", name, n)
		}
	}
}
