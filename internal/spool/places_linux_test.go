package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// placesVariable says that /run and /tmp are the process's own.
const placesVariable = "GLOBUS_KEYS_TEST_PLACES"

// TestSpoolIsFoundFromElsewhere: a job runs while nobody is logged in, so without
// /run/user/UID, and spools below /tmp; and another one beside the user's session does
// not know XDG_RUNTIME_DIR. What one saves the other finds, and removes.
func TestSpoolIsFoundFromElsewhere(t *testing.T) {
	if os.Getenv(placesVariable) == "" {
		inOwnRunAndTmp(t)
		return
	}
	session := fmt.Sprintf("/run/user/%d", os.Geteuid())
	night := as("")
	evening := as(session)
	k, l := key("DEFAULT", "rs"), key("DEFAULT", "rs2")
	check(t, night.Save(t.Context(), store, k, []byte("of the night")))
	check(t, os.MkdirAll(session, 0o700))
	finds(t, evening, k, "of the night")
	if left, err := os.ReadDir(session); err != nil || len(left) != 0 {
		t.Errorf("looking has made %v, %v", left, err)
	}
	longAgo := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(files(t, "/tmp/globus-keys-*")[0], longAgo, longAgo))
	check(t, evening.Save(t.Context(), store, k, []byte("of the evening")))
	check(t, evening.Save(t.Context(), store, l, sealed))
	for _, d := range []spool.Dir{night, evening} {
		finds(t, d, k, "of the evening")
		if keys, err := d.Keys(t.Context(), store); err != nil || len(keys) != 2 {
			t.Errorf("%v, %v, want two keys", keys, err)
		}
	}
	check(t, night.Remove(t.Context(), store, k))
	for _, d := range []spool.Dir{night, evening} {
		if _, err := d.Load(t.Context(), store, k); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("after Remove: %v, want ErrNotFound", err)
		}
		finds(t, d, l, string(sealed))
	}
}

// TestSpoolPassesOverAnothersPlace: what somebody has put below /tmp keeps nobody from
// the spool of his session.
func TestSpoolPassesOverAnothersPlace(t *testing.T) {
	if os.Getenv(placesVariable) == "" {
		inOwnRunAndTmp(t)
		return
	}
	planted := fmt.Sprintf("/tmp/globus-keys-%d", os.Geteuid())
	check(t, os.Mkdir(planted, 0o777))
	check(t, os.Chown(planted, 65534, 65534))
	d, k := as(t.TempDir()), key("DEFAULT", "rs")
	check(t, d.Save(t.Context(), store, k, sealed))
	finds(t, d, k, string(sealed))
	check(t, d.Remove(t.Context(), store, k))
	if _, err := as("").Load(t.Context(), store, k); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("who has no other place: %v, want ErrTampered", err)
	}
}

// inOwnRunAndTmp runs the test once more, where /run and /tmp are empty.
func inOwnRunAndTmp(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	self, err := os.Executable()
	check(t, err)
	cmd := exec.Command(testenv.Need(t, "unshare"), "-m", "/bin/sh", "-c",
		`exec 9<"$0" && mount -t tmpfs none /run && mount -t tmpfs -o mode=1777 none /tmp && exec /proc/self/fd/9 "$@"`,
		self, "-test.run=^"+t.Name()+"$")
	cmd.Env = []string{placesVariable + "=1", "PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// as is the spool of a process with this XDG_RUNTIME_DIR.
func as(dir string) spool.Dir {
	return spool.Dir{Getenv: func(string) string { return dir }}
}

func finds(t *testing.T, d spool.Dir, k keystore.RecordKey, want string) {
	t.Helper()
	if got, err := d.Load(t.Context(), store, k); err != nil || !bytes.Equal(got, []byte(want)) {
		t.Errorf("%v: %q, %v, want %q", k, got, err, want)
	}
}

func files(t *testing.T, runtime string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(runtime, "spool", "*", "*.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("%v, %v, want a file", found, err)
	}
	return found
}
