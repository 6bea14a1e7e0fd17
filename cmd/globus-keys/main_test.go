package main

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

func TestMain(m *testing.M) {
	rundir.FirstOnly = true
	if slices.Equal(os.Args[1:], agentWords) { // a command has started its agent
		os.Args[0] = "globus-keys"
	}
	testscript.Main(m, map[string]func(){
		"globus-keys": func() {
			time.AfterFunc(longest, func() { os.Exit(99) })
			testWorkFactor = cmp.Or(number(os.Getenv(workFactorVariable)), 10)
			if runtime.GOOS != "linux" { // where no environment hides the tester's own
				none := keychaintest.New("")
				none.Before = func(string, int) error { return &keychain.Problem{State: keychain.Absent, Detail: "none in tests"} }
				testKeychain = none
			}
			os.Exit(overheard(run))
		},
		"fake-browser":     browser,
		"useless-browser":  func() {},
		"person":           person,
		"panics-at-prompt": panics,
	})
}

// longest is how long a command may run: an agent that a test has left behind, because
// it was killed or has panicked, ends by that.
const longest = 10 * time.Minute

// workFactorVariable gives scrypt more work than tests need as a rule.
const workFactorVariable = "GLOBUS_KEYS_TEST_WORK_FACTOR"

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// The scripts in testdata run the command as users do. Each begins with what
// it shows. HOME is empty, FIXTURES holds token files that the real Globus SDK
// and CLI wrote, PASS is a file with a passphrase. The words about an issuer are in
// issuer_test.go.
func TestScripts(t *testing.T) { runScripts(t, "testdata", "file") }

// TestScriptsInDatabase runs them over a store in a database. Where a script looks into a
// store's file it says [sqlite] or [!sqlite]. $STORE is the same path in both, $KIND the kind.
func TestScriptsInDatabase(t *testing.T) {
	if _, err := sqliteadapter.Open("x", nil, nil); errors.Is(err, keystore.ErrUnavailable) {
		testenv.Missing(t, "it was built without cgo")
	}
	runScripts(t, "testdata", "sqlite")
}

// TestScriptsWithAge is the same, for what stock age can read.
func TestScriptsWithAge(t *testing.T) {
	testenv.Need(t, "age")
	testenv.Need(t, "age-keygen")
	runScripts(t, filepath.Join("testdata", "age"), "file")
}

func runScripts(t *testing.T, dir, kind string) {
	fixtures, err := filepath.Abs("../../internal/legacy/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			fixtureCopy := filepath.Join(env.WorkDir, "fixtures")
			pass := filepath.Join(env.WorkDir, "pass")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second more
			env.Setenv("HOME", home)
			env.Setenv("DISPLAY", "") // no window of the tester's desktop
			env.Setenv("WAYLAND_DISPLAY", "")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			if err := prepareRuntime(env); err != nil {
				return err
			}
			env.Setenv(talkVariable, filepath.Join(env.WorkDir, "talk"))
			env.Setenv("LOCALAPPDATA", home)
			env.Setenv("FIXTURES", fixtureCopy)
			env.Setenv("PASS", pass)
			store := filepath.Join(home, ".local", "share", "globus-keys", "tokens.json")
			env.Setenv("STORE", store)
			env.Setenv("KIND", kind)
			if kind != "file" {
				env.Setenv("GLOBUS_KEYS_STORE", kind+":"+store)
			}
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			prepareIssuer(env)
			if err := os.CopyFS(fixtureCopy, os.DirFS(fixtures)); err != nil {
				return err
			}
			return os.WriteFile(pass, []byte("correct horse battery staple\n"), 0o600)
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Geteuid() == 0, nil
			case "sqlite":
				return kind == "sqlite", nil
			}
			return false, errors.New("unknown condition " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"nosecrets": noSecrets,
			"edit":      edit,
			"chmodfile": chmodFile,
			"settings":  writeSettings,
			"sql":       changeDatabase,
			"damage":    damageDatabase,
			"hold":      holdDatabase,
			"spoil":     spoil,
			"waitfor":   waitFor,

			"issuer":              startIssuer,
			"issuer-answers":      issuerAnswers,
			"issuer-asked":        issuerAsked,
			"issuer-client":       issuerClient,
			"issuer-counts":       issuerCounts,
			"issuer-denies":       issuerDenies,
			"issuer-kills-logins": issuerKillsLogins,
			"issuer-takes":        issuerTakes,
			"issuer-user":         issuerUser,
			"logged-in":           loggedIn,
		},
	})
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// noSecrets DIR searches every byte below DIR, of the runtime directory, and of
// what the commands so far have written to standard error, for the fixtures' tokens
// and client secrets and for an issuer's, as they are and in base64 and hexadecimal.
func noSecrets(ts *testscript.TestScript, neg bool, args []string) {
	for _, secret := range []string{
		"Ag01Fake", "Ag02Fake", "Ag03Fake", "Ag04Fake", "Ag05Fake", "Ag07Fake", "AgIdFake", "AgCfgFake",
		"FakeAccess", "FakeRefresh", "FakeTemplatedClientSecret", "FakeClientSecret", "correct horse",
		"fake-access", "fake-refresh", "fake-code", "fake-secret", "eyJhbGci",
	} {
		for _, place := range []string{ts.MkAbs(args[0]), ts.Getenv("XDG_RUNTIME_DIR"), ts.Getenv(talkVariable)} {
			if _, err := os.Lstat(place); err != nil {
				continue // nobody has written there
			}
			if found := keystoretest.FindCanary(place, secret); len(found) > 0 {
				ts.Fatalf("%q lies in plain in %v", secret, found)
			}
		}
	}
}

// edit FILE OLD NEW replaces the first OLD in a file, which must be there.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	data := ts.ReadFile(path)
	if !strings.Contains(data, args[1]) {
		ts.Fatalf("%s does not hold %q", path, args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.Replace(data, args[1], args[2], 1)), 0o600))
}

func chmodFile(ts *testscript.TestScript, neg bool, args []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(mode)))
}
