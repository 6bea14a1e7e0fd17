//go:build unix

package spool_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

var (
	store  = keystore.StoreID{1, 2, 3}
	other  = keystore.StoreID{4, 5, 6}
	sealed = []byte("fake sealed bytes")
)

func key(namespace, name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: namespace, Kind: keystore.KindPending, Name: name}
}

// in returns the spool below a runtime directory, on every Unix.
func in(dir string) spool.Dir {
	return spool.Dir{Getenv: func(name string) string {
		if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
			return dir
		}
		return ""
	}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSaveLoadRemove(t *testing.T) {
	d, ctx := in(t.TempDir()), t.Context()
	k := key("DEFAULT", "rs")
	if _, err := d.Load(ctx, store, k); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Load of nothing: %v, want ErrNotFound", err)
	}
	check(t, d.Remove(ctx, store, k))
	check(t, d.Save(ctx, store, k, []byte("before")))
	check(t, d.Save(ctx, store, k, sealed))
	if got, err := d.Load(ctx, store, k); err != nil || !bytes.Equal(got, sealed) {
		t.Errorf("Load: %q, %v", got, err)
	}
	for _, where := range []struct {
		keystore.StoreID
		keystore.RecordKey
	}{{other, k}, {store, key("DEFAULT", "rs2")}, {store, key("second", "rs")}} {
		if _, err := d.Load(ctx, where.StoreID, where.RecordKey); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("Load of %v of %v: %v, want ErrNotFound", where.RecordKey, where.StoreID, err)
		}
	}
	check(t, d.Remove(ctx, store, k))
	if keys, err := d.Keys(ctx, store); err != nil || len(keys) != 0 {
		t.Errorf("after Remove: %v, %v", keys, err)
	}
}

func TestOddNamesAreKeptApart(t *testing.T) {
	d, ctx := in(t.TempDir()), t.Context()
	names := []string{"rs", "RS", "../../up", "/etc/passwd", "a b", `"quoted"`, "<&>", "é", "e\u0301", "CON", ".", strings.Repeat("x", keystore.MaxName)}
	var want []keystore.RecordKey
	for _, name := range names {
		for _, k := range []keystore.RecordKey{key("DEFAULT", name), key(name, "rs2")} {
			check(t, d.Save(ctx, store, k, []byte(k.String())))
			want = append(want, k)
		}
	}
	keys, err := d.Keys(ctx, store)
	if err != nil || len(keys) != len(want) {
		t.Fatalf("%d keys, %v, want %d", len(keys), err, len(want))
	}
	for _, k := range want {
		got, err := d.Load(ctx, store, k)
		if err != nil || string(got) != k.String() || !slices.Contains(keys, k) {
			t.Errorf("%v: %q, %v", k, got, err)
		}
	}
}

// TestKeysPassesOver what Save has not made, or not under that name.
func TestKeysPassesOver(t *testing.T) {
	base := t.TempDir()
	d, ctx := in(base), t.Context()
	check(t, d.Save(ctx, store, key("DEFAULT", "rs"), sealed))
	dir := filepath.Join(base, "globus-keys", "spool", store.String())
	entries, err := os.ReadDir(dir)
	check(t, err)
	data, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
	check(t, err)
	for name, plant := range map[string]func(path string) error{
		"moved.json":    func(path string) error { return os.WriteFile(path, data, 0o600) },
		"empty.json":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"fifo.json":     func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link.json":     func(path string) error { return os.Symlink(entries[0].Name(), path) },
		"dir.json":      func(path string) error { return os.Mkdir(path, 0o700) },
		".x.json.tmp":   func(path string) error { return os.WriteFile(path, data[:10], 0o600) },
		"something.txt": func(path string) error { return os.WriteFile(path, data, 0o600) },
	} {
		check(t, plant(filepath.Join(dir, name)))
	}
	if keys, err := d.Keys(ctx, store); err != nil || len(keys) != 1 {
		t.Errorf("%v, %v, want one key", keys, err)
	}
}

// TestPlantedInTheSpool: what lies in place of a directory or of the file is
// refused by name, and nothing hangs.
func TestPlantedInTheSpool(t *testing.T) {
	plants := map[string]func(path string) error{
		"is a symbolic link": func(path string) error { return os.Symlink(t.TempDir(), path) },
		"is a FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"is a file":          func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"is a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"can be written by others (mode 0777)": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777))
		},
		"belongs to uid 65534": func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 65534, 65534)) },
	}
	for place, reasons := range map[string][]string{
		"spool":                   {"is a symbolic link", "is a FIFO", "is a file", "can be written by others (mode 0777)", "belongs to uid 65534"},
		"spool/" + store.String(): {"is a symbolic link", "is a FIFO", "is a file", "can be written by others (mode 0777)", "belongs to uid 65534"},
		"FILE":                    {"is a symbolic link", "is a FIFO", "is a directory"},
	} {
		for _, reason := range reasons {
			t.Run(place+" "+reason, func(t *testing.T) {
				if strings.Contains(reason, "uid") {
					testenv.NeedRoot(t)
				}
				base := t.TempDir()
				d, ctx, k := in(base), t.Context(), key("DEFAULT", "rs")
				check(t, d.Save(ctx, store, k, sealed))
				path := filepath.Join(base, "globus-keys", place)
				if place == "FILE" {
					found, err := filepath.Glob(filepath.Join(base, "globus-keys", "spool", "*", "*"))
					check(t, err)
					path = found[0]
				}
				check(t, os.RemoveAll(path))
				check(t, plants[reason](path))
				_, loadErr := d.Load(ctx, store, k)
				for call, err := range map[string]error{"Load": loadErr, "Save": d.Save(ctx, store, k, sealed)} {
					if !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), reason) {
						t.Errorf("%s: %v, want ErrTampered that names %s and says that it %s", call, err, path, reason)
					}
				}
			})
		}
	}
}

// saverVariable makes the process save something below a directory.
const saverVariable = "GLOBUS_KEYS_TEST_SAVER"

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	if dir := os.Getenv(saverVariable); dir != "" {
		check(t, in(dir).Save(t.Context(), store, key("DEFAULT", "rs"), sealed))
		return
	}
	for _, mask := range []string{"000", "022", "077", "277"} {
		base := t.TempDir()
		cmd := exec.Command("/bin/sh", "-c", "umask "+mask+`; exec "$0" "$@"`, os.Args[0], "-test.run=^TestModesDoNotDependOnTheUmask$")
		cmd.Env = append(os.Environ(), saverVariable+"="+base)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files := 0
		check(t, filepath.WalkDir(filepath.Join(base, "globus-keys"), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = 0o700
			} else {
				files++
			}
			if err == nil && info.Mode().Perm() != want {
				t.Errorf("umask %s: %s has mode %v", mask, path, info.Mode())
			}
			return err
		}))
		if files != 1 {
			t.Errorf("umask %s: %d files", mask, files)
		}
	}
}
