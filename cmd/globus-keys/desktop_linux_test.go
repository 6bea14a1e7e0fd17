package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

// limit is how long a command may take that waits for nobody.
const limit = 5 * time.Second

// session is a desktop session in which the command is run.
type session struct {
	t   *testing.T
	bus *desktoptest.Bus
}

func newSession(t *testing.T, bus *desktoptest.Bus) *session {
	bus.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second more
	return &session{t, bus}
}

// outcome is what a command did.
type outcome struct {
	code        int
	out, errors string
}

// run runs the command. It fails the test if that does not end within the limit.
func (s *session) run(args ...string) outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	cmd := s.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		s.t.Fatalf("globus-keys %v takes more than %v:\n%s", args, limit, errs.String())
	case err != nil && !errors.As(err, &exit):
		s.t.Fatal(err)
	}
	if strings.Contains(errs.String(), "panic") || strings.Contains(errs.String(), "AGE-SECRET") {
		s.t.Errorf("globus-keys %v:\n%s", args, errs.String())
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// command is the command in a session of its own: without a terminal.
func (s *session) command(ctx context.Context, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = append([]string{"globus-keys"}, args...)
	cmd.Env = s.bus.Env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// must runs a command that must succeed, and returns what it printed.
func (s *session) must(args ...string) string {
	s.t.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.t.Fatalf("globus-keys %v: exit code %d\n%s", args, o.code, o.errors)
	}
	return o.out
}

// refuses runs a command that must end with this exit code and these words, as
// patterns, on standard error.
func (s *session) refuses(code int, words []string, args ...string) {
	s.t.Helper()
	o := s.run(args...)
	if o.code != code || o.out != "" {
		s.t.Errorf("globus-keys %v: exit code %d, want %d; printed %q\n%s", args, o.code, code, o.out, o.errors)
	}
	for _, w := range words {
		if !regexp.MustCompile(w).MatchString(o.errors) {
			s.t.Errorf("globus-keys %v says nothing like %q:\n%s", args, w, o.errors)
		}
	}
}

const plainLogin = `{"transfer.api.globus.org": {"resource_server": "transfer.api.globus.org",
 "access_token": "FakeAccessDesktop", "refresh_token": "FakeRefreshDesktop", "expires_at_seconds": 4070908799}}`

// plain writes another program's login.
func (s *session) plain() string {
	s.t.Helper()
	path := filepath.Join(s.bus.Dir, "plain.json")
	if err := os.WriteFile(path, []byte(plainLogin), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *session) storeFile() string {
	return filepath.Join(s.bus.Getenv("XDG_DATA_HOME"), "globus-keys", "tokens.json")
}

func (s *session) read(path string) string {
	s.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// sh runs a line of shell in the session.
func (s *session) sh(line string) string {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = s.bus.Env()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, errs.String())
	}
	return string(out)
}

// TestDesktop is a user's day with a real gnome-keyring: nobody is asked for
// anything, no key crosses the bus in plain, stock tools recover the login, and
// no connection is left over.
func TestDesktop(t *testing.T) {
	testenv.Need(t, "secret-tool")
	testenv.Need(t, "age")
	s := newSession(t, desktoptest.StartKeyring(t).Bus)
	monitor := s.monitor()
	clients := len(s.bus.Clients())

	s.must("import", s.plain())
	if got := s.must("token", "transfer"); got != "FakeAccessDesktop\n" {
		t.Errorf("token %q", got)
	}
	if got := s.must("status"); !strings.Contains(got, "Key:    keychain v1/") || !strings.Contains(got, "in the Secret Service") {
		t.Errorf("status does not say where the key is:\n%s", got)
	}
	before := s.item()
	s.must("rekey")
	if s.item() == before {
		t.Error("rekey has kept the key item")
	}
	if got := s.must("token", "transfer"); got != "FakeAccessDesktop\n" {
		t.Errorf("token after rekey %q", got)
	}
	s.must("verify")

	key := s.sh("secret-tool lookup service globus-keys username " + s.item() + " | grep -o 'AGE-SECRET-KEY-[0-9A-Z-]*'")
	recovered := s.sh(`grep '"kind":"token"' '` + s.storeFile() + `' | sed 's/.*"age":"\([^"]*\)".*/\1/' | base64 -d >record.age &&
		secret-tool lookup service globus-keys username ` + s.item() + ` | grep -o 'AGE-SECRET-KEY-[0-9A-Z-]*' | age -d -i - record.age; rm -f record.age`)
	if !strings.Contains(recovered, "FakeRefreshDesktop") {
		t.Errorf("stock tools recover %q", recovered)
	}
	if left := len(s.bus.Clients()); left != clients {
		t.Errorf("%d connections to the bus, before there were %d", left, clients)
	}

	seen := monitor(s.item())
	// secret-tool, which ran above, uses an encrypted session too.
	for _, secret := range []string{strings.TrimSpace(key), "AGE-SECRET", "FakeAccess", "FakeRefresh"} {
		if strings.Contains(seen, secret) {
			t.Errorf("the monitor has seen a secret that begins %.10q", secret)
		}
	}
	for _, canary := range []string{"FakeAccessDesktop", "FakeRefreshDesktop", strings.TrimSpace(key)} {
		if found := keystoretest.FindCanary(filepath.Dir(s.storeFile()), canary); len(found) > 0 {
			t.Errorf("a secret lies in plain in %v", found)
		}
	}
}

// item returns the account that the store's keychain slot names.
func (s *session) item() string {
	s.t.Helper()
	found := regexp.MustCompile(`"item":"(v1/[^"]*)"`).FindStringSubmatch(s.read(s.storeFile()))
	if found == nil {
		s.t.Fatalf("the store has no keychain slot:\n%.200s", s.read(s.storeFile()))
	}
	return found[1]
}

// monitor watches the bus; what it returns ends that, once the word was seen,
// and returns all that was.
func (s *session) monitor() func(word string) string {
	s.t.Helper()
	program := testenv.Need(s.t, "dbus-monitor")
	seen, err := os.Create(filepath.Join(s.bus.Dir, "seen"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer seen.Close()
	cmd := exec.Command(program, "--address", s.bus.Address)
	cmd.Env = s.bus.Env()
	cmd.Stdout = seen
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	desktoptest.Until(s.t, "dbus-monitor watches", func() bool { return strings.Contains(s.read(seen.Name()), "NameLost") })
	return func(word string) string {
		desktoptest.Until(s.t, "dbus-monitor has seen "+word, func() bool { return strings.Contains(s.read(seen.Name()), word) })
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		return s.read(seen.Name())
	}
}

// TestPassphraseBesideTheKeychain: set, changed and removed by files; without
// the keychain the passphrase opens the store.
func TestPassphraseBesideTheKeychain(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	s := newSession(t, keyring.Bus)
	s.must("import", s.plain())
	first, second := filepath.Join(s.bus.Dir, "first"), filepath.Join(s.bus.Dir, "second")
	os.WriteFile(first, []byte("the first passphrase\n"), 0o600)
	os.WriteFile(second, []byte("the second passphrase\n"), 0o600)

	s.must("passphrase", "set", "--new-passphrase-file", first)
	s.must("passphrase", "change", "--new-passphrase-file", second)
	s.must("--passphrase-file", second, "rekey", "--add-recovery", "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj")
	if got := s.must("--passphrase-file", second, "status"); !strings.Contains(got, "passphrase identity-") || !strings.Contains(got, "age1zvkyg") {
		t.Errorf("status names not all places of the key:\n%s", got)
	}
	s.refuses(2, []string{"already"}, "passphrase", "set", "--new-passphrase-file", first)
	keyring.Kill()
	s.refuses(5, []string{"wrong passphrase"}, "--passphrase-file", first, "token", "transfer")
	if got := s.must("--passphrase-file", second, "token", "transfer"); got != "FakeAccessDesktop\n" {
		t.Errorf("token %q", got)
	}
	keyring.Start()
	s.must("passphrase", "remove")
	s.refuses(2, []string{"lie nowhere"}, "rekey", "--remove-keychain")
	s.must("token", "transfer")
}

// TestUnlockOfAKeychain: there is nothing to hand to an agent, and none is started; with
// a passphrase besides the keychain too, unless that is named.
func TestUnlockOfAKeychain(t *testing.T) {
	s := newSession(t, desktoptest.StartKeyring(t).Bus)
	pass := filepath.Join(s.bus.Dir, "pass")
	os.WriteFile(pass, []byte("a fine passphrase\n"), 0o600)
	s.must("import", s.plain())
	unlocks := func() {
		t.Helper()
		if o := s.run("unlock"); o.code != 0 || o.out != "" || !strings.Contains(o.errors, "opens: its key is in the Secret Service") {
			t.Errorf("unlock: exit code %d, printed %q, and said:\n%s", o.code, o.out, o.errors)
		}
		s.refuses(3, []string{"no agent is running"}, "agent", "status")
	}
	unlocks()
	s.must("passphrase", "set", "--new-passphrase-file", pass)
	unlocks()
	if o := s.run("--store", "keychain:work", "unlock"); o.code != 3 {
		t.Errorf("a store that is not there: exit code %d\n%s", o.code, o.errors)
	}
	s.must("--store", "keychain:work", "import", s.plain())
	if o := s.run("--store", "keychain:work", "unlock"); o.code != 0 || !strings.Contains(o.errors, "keychain:work opens") {
		t.Errorf("a store in the keychain: exit code %d\n%s", o.code, o.errors)
	}
	if o := s.run("--store", "keychain:work", "migrate", "--to", "file:"+filepath.Join(s.bus.Dir, "emptied.json"), "--delete-source"); o.code != 0 || !strings.Contains(o.errors, "keychain:work is empty now; the store itself is still there") {
		t.Errorf("an emptied keychain: exit code %d\n%s", o.code, o.errors)
	}
	if o := s.run("lock"); o.code != 0 || !strings.Contains(o.errors, "was not unlocked") {
		t.Errorf("lock: exit code %d\n%s", o.code, o.errors)
	}
}

// TestKeychainStore: the logins are items of the keychain; there is no key, and
// nothing in the index that is secret.
func TestKeychainStore(t *testing.T) {
	s := newSession(t, desktoptest.StartKeyring(t).Bus)
	s.bus.Setenv("GLOBUS_KEYS_STORE", "keychain:My Work:Ünïcode")
	s.must("import", s.plain())
	s.must("import", s.other())
	if got := s.must("token", "transfer"); got != "FakeAccessDesktop\n" {
		t.Errorf("token %q", got)
	}
	if got := s.must("status"); !strings.Contains(got, "each login is an item in the Secret Service") || !strings.Contains(got, "groups.api.globus.org") {
		t.Errorf("status:\n%s", got)
	}
	s.must("verify")
	s.refuses(2, []string{"it has no key"}, "rekey")
	s.refuses(6, []string{"backup"}, "restore", "--backup", "--yes")
	if found := keystoretest.FindCanary(s.bus.Getenv("XDG_DATA_HOME")+"/globus-keys", "FakeAccessDesktop"); len(found) > 0 {
		t.Errorf("a token lies in plain in %v", found)
	}
	s.must("remove", "groups")
	s.refuses(3, nil, "token", "groups")
	s.must("--store", "keychain:other", "import", s.plain())
	s.must("--store", "keychain:other", "remove", "--all")
	s.must("token", "transfer")
	s.must("reset", "--yes")
	s.refuses(3, nil, "token", "transfer")
}
