package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// ErrNoFile is the ErrUnavailable of a file that the run names and that is not there.
var ErrNoFile = fmt.Errorf("%w", keystore.ErrUnavailable)

// readGiven reads a file that holds a key and was named by the run: a path, or "fd:N".
func readGiven(name string, getenv func(string) string) ([]byte, error) {
	return readBy(whole, name, getenv)
}

// readPassphrase is the same for a passphrase, which ends with the line: a pipe may
// stay open.
func readPassphrase(name string, getenv func(string) string) (keystore.Secret, error) {
	data, err := readBy(firstLine, name, getenv)
	return keystore.NewSecret(string(bytes.TrimSuffix(data, []byte("\r")))), err
}

// reading is how much of a file is read: more than maxKeyFile bytes are too many.
type reading func(io.Reader) ([]byte, error)

func readBy(read reading, name string, getenv func(string) string) ([]byte, error) {
	if strings.Contains(strings.ToUpper(name), "AGE-SECRET-KEY-") {
		return nil, &keystore.Error{Op: "read", Err: keystore.ErrInvalid, Detail: "what was given for a file is an age identity itself: write it to a file of your own (chmod 600) and name that"}
	}
	data, err := readGivenFile(read, name, getenv)
	if errors.Is(err, fs.ErrNotExist) {
		err = &keystore.Error{Err: ErrNoFile, Detail: "the file with the key is not there"}
	}
	if err == nil && len(data) > maxKeyFile {
		err = &keystore.Error{Err: keystore.ErrTooLarge, Detail: "it is too long for a key or passphrase"}
	}
	return data, keystore.Annotate(err, keystore.Error{Op: "read", Store: name})
}

func readGivenFile(read reading, name string, getenv func(string) string) ([]byte, error) {
	if number, ok := strings.CutPrefix(name, "fd:"); ok {
		return readDescriptor(read, number)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	f, err := openGiven(path, managed(path, getenv))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

func readDescriptor(read reading, number string) ([]byte, error) {
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "a descriptor is named fd:N"}
	}
	if term.IsTerminal(int(n)) { // what is typed would be shown, and its end is ^D
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "it is a terminal: do not name it, and you are asked"}
	}
	f, err := openDescriptor(uintptr(n))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := read(f)
	if err != nil {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "it is not a descriptor that can be read"}
	}
	return data, nil
}

// managed reports whether a service manager or container runtime keeps the
// file: they make symbolic links and wider modes in directories of their own.
func managed(path string, getenv func(string) string) bool {
	for _, dir := range []string{getenv("CREDENTIALS_DIRECTORY"), "/run/credentials", "/run/secrets"} {
		if filepath.IsAbs(dir) && strings.HasPrefix(path, filepath.Clean(dir)+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

func whole(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxKeyFile+1)) }

// firstLine takes nothing that comes after it: that is for whoever reads next.
func firstLine(r io.Reader) (line []byte, err error) {
	b := make([]byte, 1)
	for len(line) <= maxKeyFile {
		if _, err := io.ReadFull(r, b); err == io.EOF || err == nil && b[0] == '\n' {
			return line, nil
		} else if err != nil {
			return nil, err
		}
		line = append(line, b[0])
	}
	return line, nil
}

// ReadSecret returns the first line of a file with a secret that the run names, as
// "fd:N" too, by the rules for files with keys that the package comment has. getenv
// may be nil: os.Getenv.
func ReadSecret(name string, getenv func(string) string) (keystore.Secret, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	var secret keystore.Secret
	var err error
	erase.Do(func() { secret, err = readPassphrase(name, getenv) })
	if err == nil && secret.IsZero() {
		err = &keystore.Error{Op: "read", Store: name, Err: keystore.ErrInvalid, Detail: "its first line is empty"}
	}
	return secret, err
}
