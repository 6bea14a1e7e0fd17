package local

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestGivenProcess is no test, but a user's process that reads a file with a key.
func TestGivenProcess(t *testing.T) {
	if flag.Arg(0) != "read" {
		return
	}
	data, err := readGiven(flag.Arg(1), os.Getenv)
	line, _, _ := strings.Cut(string(data), "\n")
	fmt.Println(line, err)
}

const service, stranger = 65534, 65533 // users

// TestCredentialsOfAService: files as systemd hands them to a service of a user of its
// own, root's with an access control list, and as containers have them, behind links and
// open to all, in the directory that is told. Elsewhere, or of a stranger, they are
// refused.
func TestCredentialsOfAService(t *testing.T) {
	testenv.NeedRoot(t)
	dir, err := os.MkdirTemp("/tmp", "given")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, credentials := filepath.Join(dir, "program"), filepath.Join(dir, "credentials")
	self, err := os.ReadFile(os.Args[0])
	must(t, err, os.WriteFile(program, self, 0o755), os.Chmod(dir, 0o755), os.Mkdir(credentials, 0o500))
	shared(t, credentials, 5)
	for name, mode := range map[string]os.FileMode{"pass": 0o400, "root's": 0o400, "a stranger's": 0o444, "..1/inside": 0o444, "../stranger's": 0o444} {
		path := filepath.Join(credentials, name)
		os.Mkdir(filepath.Dir(path), 0o755)
		must(t, os.WriteFile(path, []byte("words\n"), 0o600), os.Chmod(path, mode))
		if strings.Contains(name, "stranger") {
			must(t, os.Chown(path, stranger, stranger))
		}
	}
	shared(t, filepath.Join(credentials, "pass"), 4)
	must(t, os.Symlink("..1", filepath.Join(credentials, "..data")), os.Symlink("..data/inside", filepath.Join(credentials, "mounted")),
		os.Symlink("../stranger's", filepath.Join(credentials, "leads out")))

	for name, want := range map[string]struct{ told, untold string }{
		"pass":         {"words <nil>", "others can read it (mode 0440): chmod 600"},
		"mounted":      {"words <nil>", "it is a symbolic link"},
		"..1/inside":   {"words <nil>", "others can read it (mode 0444): chmod 600"},
		"root's":       {"permission denied", "permission denied"},
		"a stranger's": {"it belongs to uid 65533", "it belongs to uid 65533"},
		"leads out":    {"it belongs to uid 65533", "it is a symbolic link"},
	} {
		for variable, want := range map[string]string{"CREDENTIALS_DIRECTORY=" + credentials: want.told, "CREDENTIALS_DIRECTORY=": want.untold} {
			cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestGivenProcess$", "read", filepath.Join(credentials, name))
			cmd.Dir, cmd.Env = "/", []string{variable, "GORACE=atexit_sleep_ms=0"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s, %s: %v, %s, want %q", name, variable, err, out, want)
			}
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// shared lets the service have a file of root's, as `setfacl -m u:65534:…` does.
func shared(t *testing.T, path string, perm uint16) {
	t.Helper()
	list := binary.LittleEndian.AppendUint32(nil, 2) // the version
	for _, entry := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, perm, ^uint32(0)}, {2, perm, service}, {4, 0, ^uint32(0)}, {16, perm, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, entry.tag)
		list = binary.LittleEndian.AppendUint16(list, entry.perm)
		list = binary.LittleEndian.AppendUint32(list, entry.id)
	}
	err := unix.Setxattr(path, "system.posix_acl_access", list, 0)
	if errors.Is(err, unix.ENOTSUP) {
		testenv.Missing(t, "a file system with access control lists at "+path)
	}
	must(t, err)
}
