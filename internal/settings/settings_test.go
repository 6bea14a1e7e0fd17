package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/globus-keys/globus-keys/internal/hook"
	"github.com/globus-keys/globus-keys/internal/userdir"
	"github.com/globus-keys/globus-keys/keystore"
)

// tell is a program of the texts, where they say "@".
func tell() string {
	if runtime.GOOS == "windows" {
		return `C:\bin\tell`
	}
	return "/bin/tell"
}

func parseText(text string) (*Settings, error) {
	return parse([]byte(strings.ReplaceAll(text, "@", tell())))
}

const whole = `
client_id = "client"
issuer = "https://issuer.example"
scopes = ["a", "b[c *d]"]
[sessions]
transfer = "11h"
"groups.api.globus.org" = "90m"
"UPPER" = "1s"
[hooks.on_refresh]
command = ['@', "--x", ""]
timeout = "60s"
tokens = ["access_token"]
[hooks.on_login_required]
command = ['@']
`

func TestEveryKey(t *testing.T) {
	want := &Settings{ClientID: "client", Issuer: "https://issuer.example", Scopes: []string{"a", "b[c *d]"},
		Sessions: map[string]time.Duration{"transfer": 11 * time.Hour, "groups.api.globus.org": 90 * time.Minute, "UPPER": time.Second},
		OnRefresh: hook.Command{Args: []string{tell(), "--x", ""}, Timeout: time.Minute,
			Tokens: []string{hook.AccessToken}},
		OnLoginRequired: hook.Command{Args: []string{tell()}, Timeout: 10 * time.Second},
	}
	for _, text := range []string{whole, "\ufeff" + whole, strings.ReplaceAll(whole, "\n", "\r\n")} {
		got, err := parseText(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	for _, text := range []string{"", "\n# nothing\n", "[hooks]", "[sessions]"} {
		got, err := parseText(text)
		if err != nil || len(got.Sessions) != 0 || got.OnRefresh.Args != nil || got.OnLoginRequired.Args != nil {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestWhatIsRefused: each with its line where there is one, and its key, and
// without the value, which here says "fake".
func TestWhatIsRefused(t *testing.T) {
	refresh := "[hooks.on_refresh]\ncommand = ['@']\n"
	for text, want := range map[string]string{
		"\nclient = 'fake'":                    "line 2: there is no key client",
		"[hooks.on_refresh]\ncmd = ['fake']":   "line 2: there is no key hooks.on_refresh.cmd",
		"[hook]\nx = 'fake'":                   "line 1: there is no key hook",
		"[hooks.on_expiry]\ncommand=['/fake']": "line 1: there is no key hooks.on_expiry",
		"Client_ID = 'fake'":                   "there is no key Client_ID: keys are in lower case",
		"[hooks.on_refresh]\nTokens = []":      "there is no key Tokens",
		"[hooks.on_login_required]\ncommand = ['@']\ntokens = ['access_token']": "line 3: there is no key hooks.on_login_required.tokens",
		"client_id = 'fake'\nclient_id = 'fake'":                                "line 2: client_id is given twice",
		"\n\nclient_id = 7":                                                     "line 3: client_id takes a string",
		"scopes = 'fake'":                                                       "line 1: scopes takes a list of strings",
		"scopes = ['fake',\n1]":                                                 "line 2: scopes takes a list of strings",
		"hooks = 'fake'":                                                        "line 1: hooks takes keys of its own",
		"[sessions]\ntransfer = 11":                                             `line 2: sessions.transfer takes a duration like "11h"`,
		"[sessions]\na.b = '11h'":                                               "line 2: sessions.a.b takes a duration like",
		"client_id = fake":                                                      "line 1, column 13: this is not TOML",
		"\nx = 1e99999fake":                                                     "line 2, column",
		"x = 1e99999":                                                           "this is not TOML",
		"client_id = 'fake":                                                     "this is not TOML",
		"client_id = \"fake\x07\"":                                              "this is not TOML",
		"client_id = 'fake\xff'":                                                "this is not TOML",
		`client_id = "fake\u0007"`:                                              "client_id has a control character",
		`issuer = "fake\u009b"`:                                                 "issuer has a control character",
		"scopes = ['''fake\nfake''']":                                           "scopes has a control character",
		"[sessions]\n\"a\\u001b\" = '11h'":                                      "a name in sessions has a control character",
		"scopes = ['fake', '']":                                                 "scopes has an empty entry",
		"scopes = [" + strings.Repeat("'fake',", 101) + "]":                     "scopes has more than 100 entries",
		"client_id = '" + strings.Repeat("fake", 1025) + "'":                    "client_id has a text of more than 4096 bytes",
		"[sessions]\na = 'fake'":                                                `sessions.a is not a duration like "90s"`,
		"[sessions]\na = '0s'":                                                  "sessions.a is not more than 0",
		"[sessions]\na = '-11h'":                                                "sessions.a is not more than 0",
		"[sessions]\n'' = '11h'":                                                "sessions has an entry without a name",
		"[sessions]\n" + numbered("k%d = '1h'\n"):                               "sessions has more than 100 entries",
		"[hooks.on_refresh]":                                                    "hooks.on_refresh.command is missing",
		"[hooks.on_refresh]\ncommand = []":                                      "hooks.on_refresh.command is missing",
		"[hooks.on_login_required]\ntimeout='1s'":                               "hooks.on_login_required.command is missing",
		"[hooks.on_refresh]\ncommand = ['fake']":                                "hooks.on_refresh.command does not begin with an absolute path",
		"[hooks.on_refresh]\ncommand = ['']":                                    "hooks.on_refresh.command does not begin with an absolute path",
		"[hooks.on_refresh]\ncommand = ['@', \"fake\\u0000\"]":                  "hooks.on_refresh.command has a control character",
		"[hooks.on_refresh]\ncommand = [" + strings.Repeat("'@',", 101) + "]": "hooks.on_refresh.command has more than 100 entries",
		refresh + "timeout = '61s'":                          "hooks.on_refresh.timeout is more than 1m0s",
		refresh + "timeout = '0s'":                           "hooks.on_refresh.timeout is not more than 0",
		refresh + "timeout = 'fake'":                         "hooks.on_refresh.timeout is not a duration",
		refresh + "timeout = 10":                             "line 3: hooks.on_refresh.timeout takes a string",
		refresh + "tokens = ['fake']":                        "hooks.on_refresh.tokens takes access_token and refresh_token",
		refresh + "tokens = ['access_token','access_token']": "hooks.on_refresh.tokens takes access_token and refresh_token, each once",
		strings.Repeat("a.", 30_000) + "a = 'fake'":          "line 1: there is no key a.a.a",
		"a = " + strings.Repeat("[", 60_000):                 "this is not TOML",
	} {
		s, err := parseText(text)
		if s != nil || !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "fake") || len(err.Error()) > 300) {
			t.Errorf("%.80q: the error quotes a value, or is long: %v", text, err)
		}
	}
}

func numbered(format string) string {
	var b strings.Builder
	for i := range maxList + 1 {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// settingsFile returns the environment of a user, and where their file lies.
func settingsFile(t *testing.T) (env map[string]string, path string) {
	t.Helper()
	home := t.TempDir()
	env = map[string]string{"HOME": home, "LOCALAPPDATA": home}
	dir, err := userdir.Config(func(name string) string { return env[name] })
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return env, filepath.Join(dir, "config.toml")
}

func load(env map[string]string) (*Settings, error) {
	return Load(func(name string) string { return env[name] })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhichFileIsRead(t *testing.T) {
	env, path := settingsFile(t)
	wants := func(id string) {
		t.Helper()
		if s, err := load(env); err != nil || s.ClientID != id {
			t.Errorf("got %+v, %v, want client %q", s, err, id)
		}
	}
	wants("")
	write(t, path, "")
	wants("")
	write(t, path, "client_id = 'own'")
	wants("own")
	other := filepath.Join(t.TempDir(), "other.toml")
	env["GLOBUS_KEYS_CONFIG"] = other
	if s, err := load(env); s != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), other) {
		t.Errorf("a named file that is missing: %+v, %v", s, err)
	}
	write(t, other, "client_id = 'other'")
	wants("other")
	t.Chdir(filepath.Dir(other))
	env["GLOBUS_KEYS_CONFIG"] = "other.toml"
	wants("other")
	env["GLOBUS_KEYS_CONFIG"] = os.DevNull
	wants("")
	clear(env)
	wants("")
}

func TestErrorsNameFileAndLine(t *testing.T) {
	env, path := settingsFile(t)
	write(t, path, "\nclient = 1")
	_, err := load(env)
	if want := "read the settings of " + path + ": invalid: line 2: there is no key client"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	write(t, path, "client_id = 'a' #"+strings.Repeat("x", maxFile))
	if _, err := load(env); !errors.Is(err, keystore.ErrTooLarge) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrTooLarge with the name", err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := load(env); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a directory: %v, want ErrTampered", err)
	}
}

// FuzzSettings: whatever the text, what is taken is within its limits, and an
// error can be shown.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("client = 1\n\"\\u001b\" = {a.b = [[1]]}"))
	f.Add([]byte("[[hooks]]\n[sessions.a]\nB = 1979-05-27T07:32:00Z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFile {
			return
		}
		s, err := parse(data)
		if err != nil {
			if text := err.Error(); s != nil || !errors.Is(err, keystore.ErrInvalid) || len(text) > 2000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%+v, %q", s, text)
			}
			return
		}
		for _, c := range []hook.Command{s.OnRefresh, s.OnLoginRequired} {
			if len(c.Args) > 0 && (!filepath.IsAbs(c.Args[0]) || c.Timeout <= 0 || c.Timeout > hook.MaxTimeout || len(c.Tokens) > 2) {
				t.Errorf("took %+v", c)
			}
		}
		for name, d := range s.Sessions {
			if name == "" || d <= 0 {
				t.Errorf("took %q: %v", name, d)
			}
		}
		if shown := fmt.Sprint(s.ClientID, s.Issuer, s.Scopes, s.OnRefresh.Args); strings.ContainsFunc(shown, unicode.IsControl) {
			t.Errorf("took %q", shown)
		}
	})
}
