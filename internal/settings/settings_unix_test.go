//go:build unix

package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestWhoMayHaveWrittenTheFile: it names programs to run.
func TestWhoMayHaveWrittenTheFile(t *testing.T) {
	write := func(path string, mode os.FileMode) error {
		return errors.Join(os.WriteFile(path, []byte("client_id = 'own'"), 0o600), os.Chmod(path, mode))
	}
	for name, c := range map[string]struct {
		root bool // needed to make it
		make func(path string) error
		want string // of the error; "" is none
	}{
		"closed":        {false, func(p string) error { return write(p, 0o600) }, ""},
		"open to read":  {false, func(p string) error { return write(p, 0o644) }, ""},
		"to the group":  {false, func(p string) error { return write(p, 0o664) }, "can be written by others (mode 0664)"},
		"to all":        {false, func(p string) error { return write(p, 0o666) }, "can be written by others (mode 0666)"},
		"another's":     {true, func(p string) error { return errors.Join(write(p, 0o644), os.Chown(p, 65534, -1)) }, "belongs to uid 65534"},
		"a FIFO":        {false, func(p string) error { return syscall.Mkfifo(p, 0o600) }, "is a FIFO"},
		"a link":        {false, func(p string) error { return errors.Join(write(p+".to", 0o600), os.Symlink(p+".to", p)) }, ""},
		"to a FIFO":     {false, func(p string) error { return errors.Join(syscall.Mkfifo(p+".to", 0o600), os.Symlink(p+".to", p)) }, "is a FIFO"},
		"to 0666":       {false, func(p string) error { return errors.Join(write(p+".to", 0o666), os.Symlink(p+".to", p)) }, "can be written by others"},
		"to nothing":    {false, func(p string) error { return os.Symlink(p+".to", p) }, "leads nowhere"},
		"dir of others": {false, func(p string) error { return errors.Join(write(p, 0o600), os.Chmod(filepath.Dir(p), 0o777)) }, "can be written by others (mode 0777)"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root {
				testenv.NeedRoot(t)
			}
			env, path := settingsFile(t)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			s, err := load(env)
			switch {
			case c.want == "" && (err != nil || s.ClientID != "own"):
				t.Errorf("%+v, %v", s, err)
			case c.want != "" && (s != nil || !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%+v, %v, want %q", s, err, c.want)
			}
		})
	}
}

// TestWhoMayHavePutTheFileThere: each case makes a link through which one of the user's
// own files is read, which he has got from elsewhere. Nobody else may make such a link.
func TestWhoMayHavePutTheFileThere(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(home, downloads string) error
		want  string // of the error
	}{
		"his link leads into a shared directory, where the file has become a link": {func(home, downloads string) error {
			shared, dir := filepath.Join(home, "shared"), filepath.Join(home, ".config", "globus-keys")
			return errors.Join(
				os.MkdirAll(dir, 0o700), os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777),
				os.Symlink(filepath.Join(shared, "globus-keys.toml"), filepath.Join(dir, "config.toml")),
				os.Symlink(filepath.Join(downloads, "config.toml"), filepath.Join(shared, "globus-keys.toml")))
		}, "globus-keys.toml: tampered with: is in a directory that can be written by others (mode 0777)"},
		"the directory above is open to the group, and globus-keys in it has become a link": {func(home, downloads string) error {
			config := filepath.Join(home, ".config")
			return errors.Join(os.Mkdir(config, 0o700), os.Chmod(config, 0o775),
				os.Symlink(downloads, filepath.Join(config, "globus-keys")))
		}, "globus-keys: tampered with: is in a directory that can be written by others (mode 0775)"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			downloads := filepath.Join(home, "Downloads")
			text := []byte("[hooks.on_refresh]\ncommand = ['/no/such/program']\ntokens = ['refresh_token']\n")
			err := errors.Join(os.Mkdir(downloads, 0o700),
				os.WriteFile(filepath.Join(downloads, "config.toml"), text, 0o600), c.plant(home, downloads))
			if err != nil {
				t.Fatal(err)
			}
			s, err := load(map[string]string{"GLOBUS_KEYS_CONFIG": filepath.Join(home, ".config", "globus-keys", "config.toml")})
			if s != nil || !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v, want %q", s, err, c.want)
			}
		})
	}
}
