package local

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// readGiven reads a file that holds a key or passphrase and was named by the
// run: a path, or "fd:N".
func readGiven(name string, getenv func(string) string) ([]byte, error) {
	if strings.Contains(strings.ToUpper(name), "AGE-SECRET-KEY-") {
		return nil, &keystore.Error{Op: "read", Err: keystore.ErrInvalid, Detail: "what was given for a file is an age identity itself: write it to a file of your own (chmod 600) and name that"}
	}
	data, err := readGivenFile(name, getenv)
	if errors.Is(err, fs.ErrNotExist) {
		err = &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the file with the key is not there"}
	}
	if err == nil && len(data) > maxKeyFile {
		err = &keystore.Error{Err: keystore.ErrTooLarge, Detail: "it is too long for a key or passphrase"}
	}
	return data, keystore.Annotate(err, keystore.Error{Op: "read", Store: name})
}

func readGivenFile(name string, getenv func(string) string) ([]byte, error) {
	if number, ok := strings.CutPrefix(name, "fd:"); ok {
		return readDescriptor(number)
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
	return limited(f)
}

func readDescriptor(number string) ([]byte, error) {
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "a descriptor is named fd:N"}
	}
	f, err := openDescriptor(uintptr(n))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := limited(f)
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

func limited(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxKeyFile+1)) }

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
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
	erase.Do(func() {
		var data []byte
		data, err = readGiven(name, getenv)
		secret = keystore.NewSecret(firstLine(data))
	})
	if err == nil && secret.IsZero() {
		err = &keystore.Error{Op: "read", Store: name, Err: keystore.ErrInvalid, Detail: "its first line is empty"}
	}
	return secret, err
}
