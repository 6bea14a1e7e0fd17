package fileadapter

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// operation is a change that a second process makes while it is killed or its
// system calls fail. Afterwards the store must be before or after, and after if
// the process had said so.
type operation struct {
	before, after map[string]string // nil: no store
	run           func(context.Context, *Adapter) error
	prepare       func(context.Context, *Adapter) error // makes before out of base; nil: makes before
}

var base = map[string]string{"one": "1", "two": "2", "three": "3"}

var operations = map[string]operation{
	"create": {after: base, run: func(ctx context.Context, a *Adapter) error { return makeStore(ctx, a, base) }},
	"put":    {before: base, after: with("four", "4"), run: put("four", "4")},
	"update": {before: base, after: with("two", "second"), run: put("two", "second")},
	"restore": {before: with("two", "second"), after: base, prepare: put("two", "second"),
		run: func(ctx context.Context, a *Adapter) error { return a.RestoreBackup(ctx) }},
	"reset": {before: base, run: func(ctx context.Context, a *Adapter) error {
		_, err := a.Reset(ctx)
		return err
	}},
	"delete": {before: base, after: with("two", ""), run: func(ctx context.Context, a *Adapter) error {
		return a.Update(ctx, func(w keystore.Writer) error { return w.Delete(tokenKey("two")) })
	}},
	"header": {before: base, after: base, run: func(ctx context.Context, a *Adapter) error { return rekey(ctx, a, slotB) }},
}

func with(name, value string) map[string]string {
	m := maps.Clone(base)
	delete(m, name)
	if value != "" {
		m[name] = value
	}
	return m
}

func put(name, value string) func(context.Context, *Adapter) error {
	return func(ctx context.Context, a *Adapter) error {
		return a.Update(ctx, func(w keystore.Writer) error { return putAll(w, map[string]string{name: value}) })
	}
}

func prepared(t *testing.T, k keychain, op operation) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if op.before == nil {
		return dir
	}
	a := k.open(t, filepath.Join(dir, "tokens.json"))
	first := op.before
	if op.prepare != nil {
		first = base
	}
	if err := makeStore(t.Context(), a, first); err != nil {
		t.Fatal(err)
	}
	if op.prepare != nil {
		if err := op.prepare(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func checkAfter(t *testing.T, k keychain, op operation, dir string, acknowledged bool, point string) {
	path := filepath.Join(dir, "tokens.json")
	a := k.open(t, path)
	got, err := read(t.Context(), a)
	switch {
	case err != nil:
		t.Errorf("%s: the store cannot be read: %v", point, err)
		return
	case acknowledged && !maps.Equal(got, op.after):
		t.Errorf("%s: acknowledged, but the store holds %v", point, got)
	case !maps.Equal(got, op.before) && !maps.Equal(got, op.after) || (got == nil) != (op.before == nil) && (got == nil) != (op.after == nil):
		t.Errorf("%s: torn: the store holds %v", point, got)
	}
	if got == nil {
		err = makeStore(t.Context(), a, base)
	} else {
		err = put("next", "5")(t.Context(), a)
	}
	if err != nil {
		t.Errorf("%s: the next process cannot write: %v", point, err)
	}
	if left := tempLeft(t, dir); len(left) > 0 {
		t.Errorf("%s: the next process left %v", point, left)
	}
}

// child runs one operation, or the endless loop of TestRandomKills, in a
// process of its own. It keeps to one thread, since strace counts by thread.
func child(name, path, keys string) error {
	runtime.LockOSThread()
	k, err := keychainFrom(keys)
	if err != nil {
		return err
	}
	a, err := Open(path, k.unseal, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if name != "loop" {
		return operations[name].run(ctx, a)
	}
	for n := 1; ; n++ {
		if err := put("counter", fmt.Sprint(n))(ctx, a); err != nil {
			return err
		}
		fmt.Println(n) // acknowledged
	}
}

// childCommand is how to run child under a tracer.
func childCommand(t testing.TB, k keychain, name, path string, tracer ...string) *exec.Cmd {
	args := append(tracer, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FILEADAPTER_CHILD="+name, "FILEADAPTER_PATH="+path, "FILEADAPTER_KEYS="+k.String(),
		// One thread, as far as can be: strace counts calls by thread.
		"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}
