//go:build unix && !darwin

package secretservice

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/dbusdial"
)

func TestOnlySocketsOfThisMachineAreAddresses(t *testing.T) {
	for list, want := range map[string]string{
		"unix:path=/run/user/1/bus":                  "unix:path=/run/user/1/bus",
		"unix:path=/run/a%20b,guid=00":               "unix:path=/run/a%20b,guid=00",
		"unix:abstract=/tmp/dbus-x,guid=00":          "unix:abstract=/tmp/dbus-x,guid=00",
		"autolaunch:;unix:path=/a;tcp:;unix:path=/b": "unix:path=/a;unix:path=/b",
		"disabled:":                 "",
		"autolaunch:":               "",
		"unixexec:path=/bin/true":   "",
		"UNIX:path=/a":              "",
		" unix:path=/a":             "",
		"unix:path=":                "",
		"unix:path=@abstract":       "",
		"unix:path=/a%00":           "",
		"unix:path=/a,path=/b":      "",
		"unix:path=/a,abstract=b":   "",
		"unix:dir=/tmp":             "",
		"tcp:host=localhost,port=1": "",
		"nonce-tcp:host=localhost":  "",
		"/run/user/1/bus":           "",
		";;":                        "",
	} {
		got, err := Address(func(name string) string {
			return map[string]string{"DBUS_SESSION_BUS_ADDRESS": list}[name]
		})
		if got != want || (want == "") != errors.Is(err, ErrNoBus) {
			t.Errorf("%q: %q, %v; want %q", list, got, err, want)
		}
	}
}

func TestRuntimeDirectoryNeedsASocket(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "gk a,") // to be escaped
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	runtime := dir
	address := func() (string, error) {
		return Address(func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": runtime}[name] })
	}
	refused := func(why string) {
		t.Helper()
		if got, err := address(); !errors.Is(err, ErrNoBus) {
			t.Errorf("%s: %q, %v", why, got, err)
		}
	}
	refused("no file")
	if err := os.WriteFile(filepath.Join(dir, "bus"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file")
	os.Remove(filepath.Join(dir, "bus"))
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := address()
	if err != nil {
		t.Fatal(err)
	}
	if name, err := dbusdial.Endpoint(got); err != nil || name != filepath.Join(dir, "bus") {
		t.Errorf("%s: %q, %v", got, name, err)
	}
	runtime = "relative"
	refused("a relative directory")
	runtime = ""
	refused("nothing set")
}
