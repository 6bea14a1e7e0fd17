package keychain_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// childVariable names the directory of a place on which this process makes one
// Update, and ends.
const childVariable = "GLOBUS_KEYS_TEST_ADAPTER_CHILD"

var childChange = change{"one": sized(2, "n"), "new": "1", "two": ""}

// init does the work of a child on the main thread: strace counts by thread.
func init() {
	dir := os.Getenv(childVariable)
	if dir == "" {
		return
	}
	runtime.LockOSThread()
	p := placeIn(nil, dir)
	p.later(2 * time.Minute) // since prepared
	a, err := keychain.OpenAdapter(p.index, p.keychain(), &keychain.AdapterOptions{Clock: p.clock})
	if err == nil {
		err = childChange.update(context.Background(), a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func faultsAtSystemCalls(t *testing.T, fault string) {
	before := change{"one": "1", "two": sized(2, "o")}
	from := made(t, before)
	from.update(change{"one": "2"}) // leaves something to be swept
	state := change{"one": "2"}.apply(before)
	after := childChange.apply(state)
	points := faultcalls.Walk(t, fault, faultcalls.Program{
		Fresh: func() string { return from.copy(t).dir },
		Command: func(dir string, tracer []string) *exec.Cmd {
			args := append(tracer, os.Args[0])
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(faultcalls.Environment(), childVariable+"="+dir)
			return cmd
		},
		Check: func(dir string, acknowledged bool, point string) {
			p := placeIn(t, dir)
			p.later(4 * time.Minute)
			got, err := p.read()
			if err != nil || !maps.Equal(got, after) && (acknowledged || !maps.Equal(got, state)) {
				t.Errorf("%s: acknowledged %v, the store holds %s (%v)", point, acknowledged, brief(got), err)
				return
			}
			checkSwept(p, point, got)
		},
	})
	t.Logf("%d points", points)
}

// TestSIGKILLAtEverySystemCallOfAnUpdate: old or new, and what is left over is
// swept.
func TestSIGKILLAtEverySystemCallOfAnUpdate(t *testing.T) { faultsAtSystemCalls(t, faultcalls.Kill) }

// TestEIOAtEverySystemCallOfAnUpdate: a call that fails gives an error and the
// old state or the new one.
func TestEIOAtEverySystemCallOfAnUpdate(t *testing.T) { faultsAtSystemCalls(t, faultcalls.DeviceError) }

// TestENOSPCAtEverySystemCallOfAnUpdate is the same for a full disk.
func TestENOSPCAtEverySystemCallOfAnUpdate(t *testing.T) { faultsAtSystemCalls(t, faultcalls.NoSpace) }
