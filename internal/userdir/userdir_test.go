package userdir

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestWhereFilesLie(t *testing.T) {
	for _, c := range []struct {
		os           string // "unix" is every other
		env          map[string]string
		data, config string // "": an error that names missing
		missing      string
	}{
		{"unix", map[string]string{"HOME": "/h"}, "/h/.local/share/globus-keys", "/h/.config/globus-keys", ""},
		{"unix", map[string]string{"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}, "/d/globus-keys", "/c/globus-keys", ""},
		{"unix", map[string]string{"HOME": "/h", "XDG_DATA_HOME": "d", "XDG_CONFIG_HOME": "c"}, "/h/.local/share/globus-keys", "/h/.config/globus-keys", ""},
		{"unix", map[string]string{"HOME": "h"}, "", "", "HOME"},
		{"unix", nil, "", "", "HOME"},
		{"darwin", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "/h/Library/Application Support/globus-keys", "/h/Library/Application Support/globus-keys", ""},
		{"darwin", nil, "", "", "HOME"},
		{"windows", map[string]string{"LOCALAPPDATA": `C:\l`}, `C:\l\globus-keys`, `C:\l\globus-keys`, ""},
		{"windows", map[string]string{"LOCALAPPDATA": `l`}, "", "", "LOCALAPPDATA"},
	} {
		if c.os != system() {
			continue
		}
		getenv := func(name string) string { return c.env[name] }
		for i, find := range []func(func(string) string) (string, error){Data, Config} {
			want := []string{c.data, c.config}[i]
			got, err := find(getenv)
			if got != filepath.FromSlash(want) || (err == nil) != (want != "") {
				t.Errorf("%v: %q, %v, want %q", c.env, got, err, want)
			}
			if err != nil && !strings.Contains(err.Error(), c.missing) {
				t.Errorf("%v: %q does not name %s", c.env, err, c.missing)
			}
		}
	}
}

func system() string {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return runtime.GOOS
	}
	return "unix"
}
