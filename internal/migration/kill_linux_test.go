package migration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/keystore"
)

// walk is a migration that is killed.
type walk struct {
	from, to sort
	deletes  bool
}

var walks = map[string]walk{
	"file to file":              {file, file, false},
	"file to file, deletes":     {file, file, true},
	"file to database, deletes": {file, database, true},
	"database to file, deletes": {database, file, true},
}

// stride is how many system calls a walk goes on by: it leaves some 50 of a thousand and
// more. GLOBUS_KEYS_STRIDE=1 takes all.
func stride() int {
	if all, err := strconv.Atoi(os.Getenv("GLOBUS_KEYS_STRIDE")); err == nil {
		return all
	}
	return 31
}

func init() {
	for name, w := range walks {
		jobs[name] = w.run
	}
}

func (w walk) open(dir string) (from, to *keystore.Store, err error) {
	from, errFrom := w.from.open(dir + "/from")
	to, errTo := w.to.open(dir + "/to")
	return from, to, errors.Join(errFrom, errTo)
}

func (w walk) options() *keystore.MigrateOptions {
	return &keystore.MigrateOptions{DeleteSource: w.deletes}
}

func (w walk) run(ctx context.Context, dir string) error {
	from, to, err := w.open(dir)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, from, to, w.options()), from.Close(), to.Close())
}

// prepare fills the source with little.
func (w walk) prepare(t *testing.T) (dir string, holds content) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"/from", "/to"} {
		if err := os.Rename(newDir(t), dir+sub); err != nil {
			t.Fatal(err)
		}
	}
	from := w.from.mustOpen(t, dir+"/from")
	defer from.Close()
	login := keystore.TokenResponse{Account: keystore.Account{Subject: "somebody"}}
	for _, name := range []string{"one", "two"} {
		login.Tokens = append(login.Tokens, keystore.Token{ResourceServer: name,
			AccessToken: keystore.NewSecret("access " + name), RefreshToken: keystore.NewSecret("refresh " + name)})
	}
	err := errors.Join(from.Put(t.Context(), login), from.PutConfig(t.Context(), "setting", 1))
	if err != nil {
		t.Fatal(err)
	}
	return dir, mustHold(t, from)
}

// TestSIGKILLAtEverySystemCall of a migration, or at each n-th: no record is in neither
// store, and the same migration again finishes it.
func TestSIGKILLAtEverySystemCall(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for name, w := range walks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if w.from == database || w.to == database {
				needDatabase(t)
			}
			template, want := w.prepare(t)
			killed, halfway := 0, 0
			points := faultcalls.Walk(t, faultcalls.Kill, faultcalls.Program{
				Stride: stride(),
				Fresh: func() string {
					dir := t.TempDir() + "/stores"
					if out, err := exec.Command("cp", "-a", template, dir).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					return dir
				},
				Command: func(dir string, tracer []string) *exec.Cmd {
					args := append(tracer, os.Args[0])
					cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
					cmd.Env = append(faultcalls.Environment(), jobVariable+"="+name, dirVariable+"="+dir)
					return cmd
				},
				Check: func(dir string, acknowledged bool, point string) {
					if !acknowledged {
						killed++
					}
					if w.check(t, dir, want, acknowledged, point) {
						halfway++
					}
				},
			})
			t.Logf("%d points, %d kills, %d of them with some records carried over and some not", points, killed, halfway)
		})
	}
}

// check looks at the stores after a kill, and migrates again. It reports whether that
// had anything to do that was begun.
func (w walk) check(t *testing.T, dir string, want content, acknowledged bool, point string) (halfway bool) {
	t.Helper()
	from, to := w.from.mustOpen(t, dir+"/from"), w.to.mustOpen(t, dir+"/to")
	here, errHere := contentOf(from)
	there, errThere := contentOf(to)
	if err := errors.Join(errHere, errThere); err != nil {
		t.Errorf("%s: a store cannot be read: %v", point, err)
		return false
	}
	n := 0
	for key, payload := range want {
		if here[key] != payload && there[key] != payload {
			t.Errorf("%s: %v is in neither store", point, key)
		}
		if there[key] == payload {
			n++
		}
	}
	if acknowledged && (n < len(want) || w.deletes && len(here) > 0) {
		t.Errorf("%s: acknowledged, but the target holds %d of %d records, and the source %d", point, n, len(want), len(here))
	}
	if err := migrate(t.Context(), from, to, w.options()); err != nil {
		t.Errorf("%s: once more: %v", point, err)
	}
	here, there = mustHold(t, from), mustHold(t, to)
	if !there.equal(want) || w.deletes && len(here) > 0 || !w.deletes && !here.equal(want) {
		t.Errorf("%s: once more: the target holds %d records of %d, the source %d", point, len(there), len(want), len(here))
	}
	from.Close()
	to.Close()
	return n > 0 && n < len(want)
}
