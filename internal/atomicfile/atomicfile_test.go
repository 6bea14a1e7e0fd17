package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
	"github.com/globus-keys/globus-keys/keystore"
)

var disk = atomicfile.OS()

// Three generations of one file. They differ in length and in every byte.
var (
	older = bytes.Repeat([]byte("older "), 100)
	old   = bytes.Repeat([]byte("OLD-"), 300)
	new_  = bytes.Repeat([]byte("n3w_;"), 200)
)

var modes = map[string]atomicfile.Backup{
	"NoBackup":      atomicfile.NoBackup,
	"KeepPrevious":  atomicfile.KeepPrevious,
	"ReplaceBackup": atomicfile.ReplaceBackup,
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is what is at path, nil if nothing is.
func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// generations returns the path of a file with content old and backup older.
func generations(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.json")
	check(t, atomicfile.Replace(disk, path, older, atomicfile.NoBackup))
	check(t, atomicfile.Replace(disk, path, old, atomicfile.KeepPrevious))
	return path
}

func word(data []byte) string { return fmt.Sprintf("%.5q (%d bytes)", data, len(data)) }

func mustBe(t *testing.T, path string, allowed ...[]byte) {
	t.Helper()
	got := content(t, path)
	for _, want := range allowed {
		if bytes.Equal(got, want) && (got == nil) == (want == nil) {
			return
		}
	}
	t.Errorf("%s holds %s", filepath.Base(path), word(got))
}

// faults are the ways in which an operation fails.
var faults = map[string]faultfs.Plan{
	"device error": {Err: syscall.EIO},
	"disk full":    {Err: syscall.ENOSPC, Torn: true},
	"crash":        {Crash: true},
	"torn crash":   {Crash: true, Torn: true},
}

// walk calls step with a plan that fails at each operation in turn, until step
// reports that fewer operations were made.
func walk(t *testing.T, step func(t *testing.T, plan faultfs.Plan) (ops int)) {
	for name, plan := range faults {
		for more := true; more; {
			plan.Op++
			t.Run(fmt.Sprintf("%s at %d", name, plan.Op), func(t *testing.T) {
				more = step(t, plan) >= plan.Op && !t.Failed()
			})
		}
	}
}

func TestReplaceIsAllOrNothingWhateverFails(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Run("with links", func(t *testing.T) { walkReplace(t, disk, mode) })
			t.Run("without", func(t *testing.T) { walkReplace(t, noLinks{disk}, mode) })
		})
	}
}

func walkReplace(t *testing.T, on atomicfile.FS, mode atomicfile.Backup) {
	walk(t, func(t *testing.T, plan faultfs.Plan) int {
		path := generations(t)
		f := faultfs.New(on, plan)
		err := atomicfile.Replace(f, path, new_, mode)
		defer func() {
			if t.Failed() {
				t.Log(strings.Join(f.Trace(), "\n"), "\n", err)
			}
		}()
		checkOutcome(t, f, plan, path, err)
		checkBackup(t, path, mode, err)
		checkNextReplace(t, on, path, mode)
		return f.Ops()
	})
}

// checkOutcome: an error is reported, names the file and its cause; path has the
// new content exactly if its rename was made.
func checkOutcome(t *testing.T, f *faultfs.FS, plan faultfs.Plan, path string, err error) {
	failed, trace := f.Ops() >= plan.Op, f.Trace()
	if failed && !plan.Crash && trace[plan.Op-1] == "close "+path {
		failed = false // it was only read, to be copied
	}
	if failed != (err != nil) {
		t.Fatalf("failed: %v, but the error is %v", failed, err)
	}
	if failed && (!strings.Contains(err.Error(), filepath.Base(path)) || !errors.Is(err, cause(plan))) {
		t.Errorf("the error does not name file and cause: %v", err)
	}
	want := old
	if i := slices.IndexFunc(trace, func(op string) bool {
		return strings.HasPrefix(op, "rename ") && strings.HasSuffix(op, " "+path)
	}); i >= 0 && i+1 != plan.Op && (i+1 < plan.Op || !plan.Crash) {
		want = new_
	}
	mustBe(t, path, want)
	if failed && !plan.Crash && hidden(names(t, filepath.Dir(path))) {
		t.Errorf("temporary names are left: %v", names(t, filepath.Dir(path)))
	}
	if i := plan.Op - 1; failed && !plan.Crash && strings.HasPrefix(trace[i], "sync ") && slices.Contains(trace[i+1:], trace[i]) {
		t.Error("a failed sync was tried again")
	}
}

func cause(plan faultfs.Plan) error {
	if plan.Err == nil {
		return syscall.EIO
	}
	return plan.Err
}

func hidden(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") })
}

// checkBackup: the backup, too, is one of the generations that it may be.
func checkBackup(t *testing.T, path string, mode atomicfile.Backup, err error) {
	backup := path + ".bak"
	switch mode {
	case atomicfile.NoBackup:
		mustBe(t, backup, older)
	case atomicfile.KeepPrevious:
		mustBe(t, backup, older, old)
	case atomicfile.ReplaceBackup:
		mustBe(t, backup, older, nil, new_)
	}
	if err != nil {
		return
	}
	mustBe(t, backup, map[atomicfile.Backup][]byte{
		atomicfile.NoBackup: older, atomicfile.KeepPrevious: old, atomicfile.ReplaceBackup: new_}[mode])
}

// checkNextReplace: the next writer clears away what is left.
func checkNextReplace(t *testing.T, on atomicfile.FS, path string, mode atomicfile.Backup) {
	last := []byte("last")
	check(t, atomicfile.Replace(on, path, last, mode))
	mustBe(t, path, last)
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"store.json", "store.json.bak"}) {
		t.Errorf("the directory holds %v", got)
	}
	if mode == atomicfile.ReplaceBackup {
		mustBe(t, path+".bak", last)
	}
}

// noLinks is a file system like FAT.
type noLinks struct{ atomicfile.FS }

func (noLinks) Link(oldname, newname string) error {
	return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: syscall.ENOTSUP}
}

func TestTheFirstReplaceIsAllOrNothingToo(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			walk(t, func(t *testing.T, plan faultfs.Plan) int {
				path := filepath.Join(t.TempDir(), "store.json")
				f := faultfs.New(disk, plan)
				err := atomicfile.Replace(f, path, new_, mode)
				if (err == nil) != (f.Ops() < plan.Op) {
					t.Errorf("got %v", err)
				}
				mustBe(t, path, nil, new_)
				if err == nil {
					mustBe(t, path, new_)
				}
				return f.Ops()
			})
		})
	}
}

func TestReplaceSyncsTwice(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			f := faultfs.New(disk, faultfs.Plan{})
			check(t, atomicfile.Replace(f, generations(t), new_, mode))
			if f.Syncs() != 2 {
				t.Errorf("%d syncs:\n%s", f.Syncs(), strings.Join(f.Trace(), "\n"))
			}
		})
	}
}

func TestNothingIsRenamedBeforeItIsSynced(t *testing.T) {
	path := generations(t)
	f := faultfs.New(disk, faultfs.Plan{})
	check(t, atomicfile.Replace(f, path, new_, atomicfile.KeepPrevious))
	temp := filepath.Join(filepath.Dir(path), ".store.json.tmp")
	var order []string
	for _, op := range f.Trace() {
		if op == "sync "+temp || op == "rename "+temp+" "+path || op == "syncdir "+filepath.Dir(path) {
			order = append(order, strings.Fields(op)[0])
		}
	}
	if !slices.Equal(order, []string{"sync", "rename", "syncdir"}) {
		t.Errorf("the order is %v", order)
	}
}

func TestABackupThatIsTheFileItselfIsKept(t *testing.T) {
	path := generations(t)
	check(t, atomicfile.Replace(disk, path, old, atomicfile.ReplaceBackup)) // one inode, two names
	check(t, atomicfile.Replace(disk, path, new_, atomicfile.KeepPrevious))
	mustBe(t, path, new_)
	mustBe(t, path+".bak", old)
	if got := names(t, filepath.Dir(path)); len(got) != 2 {
		t.Errorf("the directory holds %v", got)
	}
}

// With ReplaceBackup the old content holds what the user wants to be rid of: it
// must be gone even if the process dies, as then nobody may try again.
func TestReplaceBackupLeavesNoNameOfTheOldContentBesideTheNew(t *testing.T) {
	walk(t, func(t *testing.T, plan faultfs.Plan) int {
		path := generations(t)
		dir := filepath.Dir(path)
		for _, left := range []string{".store.json.bak.tmp", ".store.json.tmp"} { // by a killed process
			check(t, os.WriteFile(filepath.Join(dir, left), old, 0o600))
		}
		f := faultfs.New(disk, plan)
		err := atomicfile.Replace(f, path, new_, atomicfile.ReplaceBackup)
		if err == nil || bytes.Equal(content(t, path), new_) {
			for _, name := range names(t, dir) {
				mustBe(t, filepath.Join(dir, name), new_)
			}
		}
		return f.Ops()
	})
}

func TestReadersNeverSeeAbsenceOrATornFile(t *testing.T) {
	const writes, readers = 2000, 3
	path := filepath.Join(t.TempDir(), "store.json")
	contents := [][]byte{older, old, new_}
	check(t, atomicfile.Replace(disk, path, old, atomicfile.NoBackup))

	var done atomic.Bool
	var reads atomic.Int64
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for !done.Load() {
				began := time.Now()
				data, err := atomicfile.Read(disk, path, 1<<20)
				if err != nil || !slices.ContainsFunc(contents, func(c []byte) bool { return bytes.Equal(c, data) }) {
					t.Errorf("read %s, %v", word(data), err)
					return
				}
				reads.Add(1)
				if runtime.GOOS == "windows" {
					// Rename waits for a moment without readers: there must be some on
					// any machine, however slow its files are.
					time.Sleep(time.Millisecond + 4*time.Since(began))
				}
			}
		})
	}
	for i := range writes {
		if err := atomicfile.Replace(disk, path, contents[i%3], atomicfile.Backup(i%3)); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	all.Wait()
	if reads.Load() == 0 {
		t.Error("nobody has read")
	}
}

func TestReadReturnsWhatIsThere(t *testing.T) {
	path := generations(t)
	data, err := atomicfile.Read(disk, path, int64(len(old)))
	if err != nil || !bytes.Equal(data, old) {
		t.Errorf("got %s, %v", word(data), err)
	}
	if _, err := atomicfile.Read(disk, path, int64(len(old))-1); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("one byte more than allowed: %v", err)
	}
	if _, err := atomicfile.Read(disk, path+".no", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestReadReportsEveryFailure(t *testing.T) {
	path := generations(t)
	for n := 1; n <= 3; n++ { // open, stat, read
		_, err := atomicfile.Read(faultfs.New(disk, faultfs.Plan{Op: n}), path, 1<<20)
		if !errors.Is(err, syscall.EIO) || errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("operation %d: %v", n, err)
		}
	}
}

func TestCreateWritesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.age")
	f := faultfs.New(disk, faultfs.Plan{})
	check(t, atomicfile.Create(f, path, old))
	if f.Syncs() != 2 {
		t.Errorf("%d syncs", f.Syncs())
	}
	if err := atomicfile.Create(disk, path, new_); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	mustBe(t, path, old)
}

func TestCreateLeavesNoPartAfterAnError(t *testing.T) {
	walk(t, func(t *testing.T, plan faultfs.Plan) int {
		path := filepath.Join(t.TempDir(), "identity.age")
		f := faultfs.New(disk, plan)
		err := atomicfile.Create(f, path, new_)
		if (err == nil) != (f.Ops() < plan.Op) {
			t.Errorf("got %v", err)
		}
		switch {
		case err == nil:
			mustBe(t, path, new_)
		case !plan.Crash:
			mustBe(t, path, nil)
		}
		return f.Ops()
	})
}

func TestMkdirPrivateIsDurable(t *testing.T) {
	base := t.TempDir()
	f := faultfs.New(disk, faultfs.Plan{})
	check(t, atomicfile.MkdirPrivate(f, filepath.Join(base, "a", "b")))
	for _, parent := range []string{base, filepath.Join(base, "a")} {
		if !slices.Contains(f.Trace(), "syncdir "+parent) {
			t.Errorf("%s was not synced", parent)
		}
	}
	again := faultfs.New(disk, faultfs.Plan{})
	check(t, atomicfile.MkdirPrivate(again, filepath.Join(base, "a", "b")))
	if again.Syncs() != 0 {
		t.Error("a directory that exists was made again")
	}
}

func TestMkdirPrivateReportsEveryFailure(t *testing.T) {
	walk(t, func(t *testing.T, plan faultfs.Plan) int {
		f := faultfs.New(disk, plan)
		err := atomicfile.MkdirPrivate(f, filepath.Join(t.TempDir(), "a", "b"))
		if (err == nil) != (f.Ops() < plan.Op) {
			t.Errorf("got %v", err)
		}
		return f.Ops()
	})
}
