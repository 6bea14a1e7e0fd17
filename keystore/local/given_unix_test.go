//go:build unix

package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestGivenFilesMustBePrivate: who else can read or plant a file with a key,
// and where a service manager is trusted to know better.
func TestGivenFilesMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	managed := filepath.Join(dir, "managed")
	if err := os.Mkdir(managed, 0o700); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string {
		if name == "CREDENTIALS_DIRECTORY" {
			return managed
		}
		return ""
	}
	write := func(path string, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(path, []byte("words\n"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		make func(path string)
		want error
		here error // below the managed directory
	}{
		"own, closed":    {func(p string) { write(p, 0o600) }, nil, nil},
		"group can read": {func(p string) { write(p, 0o640) }, keystore.ErrInvalid, nil},
		"all can read":   {func(p string) { write(p, 0o444) }, keystore.ErrInvalid, nil},
		"a link": {func(p string) {
			write(p+".to", 0o600)
			os.Symlink(p+".to", p)
		}, keystore.ErrInvalid, nil},
		"a FIFO":      {func(p string) { syscall.Mkfifo(p, 0o600) }, keystore.ErrInvalid, keystore.ErrInvalid},
		"a directory": {func(p string) { os.Mkdir(p, 0o700) }, keystore.ErrInvalid, keystore.ErrInvalid},
		"nothing":     {func(string) {}, keystore.ErrUnavailable, keystore.ErrUnavailable},
		"too long": {func(p string) { os.WriteFile(p, make([]byte, maxKeyFile+1), 0o600) },
			keystore.ErrTooLarge, keystore.ErrTooLarge},
	} {
		for place, want := range map[string]error{dir: c.want, managed: c.here} {
			path := filepath.Join(place, strings.ReplaceAll(name, " ", "-"))
			c.make(path)
			data, err := readGiven(path, getenv)
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", path, err, want)
			}
			if err == nil && string(data) != "words\n" {
				t.Errorf("%s: read %q", path, data)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%q does not name the file", err)
			}
		}
	}
}

// TestDescriptorIsRead: of a passphrase the first line, although the pipe stays open;
// what comes after it is for whoever reads next. Of an identity file all.
func TestDescriptorIsRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("words\r\nmore\n")
	secret, err := ReadSecret(descriptorOf(t, r), os.Getenv)
	if err != nil || secret.Reveal() != "words" {
		t.Errorf("read %q, %v", secret.Reveal(), err)
	}
	w.WriteString("and more")
	w.Close()
	data, err := readGiven(descriptorOf(t, r), os.Getenv)
	if err != nil || string(data) != "more\nand more" {
		t.Errorf("read %q, %v", data, err)
	}
	secret, err = ReadSecret(descriptorOf(t, r), os.Getenv)
	if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), "its first line is empty") {
		t.Errorf("at the end: %q, %v", secret.Reveal(), err)
	}
	for _, bad := range []string{"fd:", "fd:x", "fd:-1"} {
		if _, err := readGiven(bad, os.Getenv); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", bad, err)
		}
	}
}

// TestDescriptorOfOurOwn is neither read nor closed, whatever variable names it.
func TestDescriptorOfOurOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	if err := os.WriteFile(path, []byte("not a passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	closed, err := syscall.Dup(int(own.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(closed)
	for what, fd := range map[string]int{"own": int(own.Fd()), "closed": closed} {
		_, err := readGiven("fd:"+strconv.Itoa(fd), os.Getenv)
		if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), "was not started with") {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	if at, err := own.Seek(0, io.SeekCurrent); at != 0 || err != nil {
		t.Errorf("it is at %d, %v", at, err)
	}
}

// TestWhatAServiceManagerKeeps: files below these directories, and no others.
func TestWhatAServiceManagerKeeps(t *testing.T) {
	for _, c := range []struct {
		path, variable string
		want           bool
	}{
		{"/run/credentials/x.service/pass", "", true},
		{"/run/secrets/pass", "", true},
		{"/run/secrets", "", false},
		{"/run/secrets-of-mine/pass", "", false},
		{"/run/pass", "/run/", true},
		{"/home/u/pass", "", false},
		{"/home/u/pass", "/", false},
		{"/home/u/pass", "home/u", false},
		{"/home/u/pass", ".", false},
		{"/home/user/pass", "/home/u", false},
		{"/home/u/pass", "/home/u//", true},
	} {
		if got := managed(c.path, func(string) string { return c.variable }); got != c.want {
			t.Errorf("%s, CREDENTIALS_DIRECTORY=%q: %v, want %v", c.path, c.variable, got, c.want)
		}
	}
}

// descriptorOf names a descriptor of the same file, which whoever reads it closes.
func descriptorOf(t *testing.T, f *os.File) string {
	t.Helper()
	dup, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return "fd:" + strconv.Itoa(dup)
}

// TestTerminalIsNoDescriptor: what is typed there would be shown, and nobody knows that
// ^D ends it.
func TestTerminalIsNoDescriptor(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	_, err = ReadSecret(descriptorOf(t, terminal), os.Getenv)
	if !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), "it is a terminal") {
		t.Errorf("%v, want ErrInvalid", err)
	}
}
