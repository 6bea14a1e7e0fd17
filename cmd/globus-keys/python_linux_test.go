package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// python is a home with programs in it that use the Globus SDK: those of
// testdata/python/program.py, by their names.
type python struct {
	*home
	interpreter, program string
	api                  *oauthtest.API
}

func newPython(t *testing.T, r oauthtest.Rotation) *python {
	p := &python{interpreter: testenv.Python(t), home: newHome(t, r)}
	var err error
	if p.program, err = filepath.Abs("testdata/python/program.py"); err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Abs("../../examples/python")
	if err != nil {
		t.Fatal(err)
	}
	p.api = p.issuer.API(t)
	p.env = append(p.env, "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=error,ignore::DeprecationWarning",
		"GLOBUS_SDK_SERVICE_URL_AUTH="+p.issuer.URL+"/", "GLOBUS_SDK_SERVICE_URL_GROUPS="+p.api.URL+"/")
	return p
}

// runningPython is a program, and what it says.
type runningPython struct {
	*python
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	error bytes.Buffer
}

func (p *python) start(args ...string) *runningPython {
	p.Helper()
	r := &runningPython{python: p}
	r.cmd = exec.CommandContext(p.Context(), p.interpreter, append([]string{p.program}, args...)...)
	r.cmd.Env, r.cmd.Stderr = p.env, &r.error
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		p.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	r.out = bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	return r
}

// says reads lines of the program.
func (r *runningPython) says(want ...string) {
	r.Helper()
	for _, line := range want {
		if !r.out.Scan() || r.out.Text() != line {
			r.in.Close()
			r.cmd.Wait()
			r.Fatalf("it says %q, want %q\n%s", r.out.Text(), line, r.error.String())
		}
	}
}

// goOn lets a program go on that waits.
func (r *runningPython) goOn() { io.WriteString(r.in, "\n") }

// end returns what else the program says, and waits for its good end.
func (r *runningPython) end() (lines []string) {
	r.Helper()
	for r.out.Scan() {
		lines = append(lines, r.out.Text())
	}
	r.in.Close()
	if err := r.cmd.Wait(); err != nil {
		r.Fatalf("%v: %q\n%s", err, lines, r.error.String())
	}
	return lines
}

const fakeGroups = "groups Fake Astronomers Fake Biologists"

// A UserApp of the Globus SDK that names our storage, and nothing else, logs in, uses
// the login, renews it while the program goes on and in another one, and logs out.
func TestUserApp(t *testing.T) {
	for name, rotation := range map[string]oauthtest.Rotation{"omitted": oauthtest.Omitted, "rotating": oauthtest.Rotating} {
		t.Run(name, func(t *testing.T) {
			p := newPython(t, rotation)
			p.issuer.SetLifetime(2)
			r := p.start("life")
			r.says("login", fakeGroups, "next")
			before := p.issuer.Counts().Refreshes // on a slow machine a token is over before it is used
			p.issuer.SetLifetime(1000)            // of what the refreshes bring
			r.goOn()
			r.says(fakeGroups, "login required False", "next")
			if c := p.issuer.Counts(); c.Exchanges != 1 || c.Refreshes != before+2 || c.Denied != 0 {
				t.Errorf("%+v", c)
			}
			if got := p.start("use").end(); !slices.Equal(got, []string{fakeGroups, "handle True", "handle True", "refresh tokens 0", "access tokens True"}) {
				t.Errorf("another program says %q", got)
			}
			logins := p.logins()
			r.goOn()
			r.says("left")
			r.end()
			for _, login := range logins {
				if access, refresh := login.AccessToken.Reveal(), login.RefreshToken.Reveal(); p.issuer.Active(access) || !p.issuer.Dead(refresh) {
					t.Errorf("%s is not revoked", login.ResourceServer)
				}
			}
			if c := p.issuer.Counts(); len(logins) != 2 || c.Exchanges != 1 || c.Refreshes != before+2 || c.Reuse != 0 || c.Strays != 0 {
				t.Errorf("%d logins, %+v", len(logins), c)
			}
		})
	}
}

// logins are what is stored.
func (p *python) logins() (all []keystore.Token) {
	p.Helper()
	_, store := p.store()
	for login, err := range store.All(p.Context()) {
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, login)
	}
	return all
}

// What the first program has stored is a login like any other.
func TestLoginOfAUserApp(t *testing.T) {
	p := newPython(t, oauthtest.Rotating)
	p.start("use").end()
	_, store := p.store()
	login, err := store.Get(t.Context(), oauthtest.Groups)
	if err != nil {
		t.Fatal(err)
	}
	if login.Issuer != p.issuer.URL || login.ClientID != testClient || login.IdentityID != oauthtest.Subject ||
		login.Endpoints.Token != p.issuer.Provider().TokenEndpoint || login.LoggedIn.IsZero() || p.issuer.Dead(login.RefreshToken.Reveal()) {
		t.Errorf("%+v", login)
	}
	if a, err := store.Account(t.Context()); err != nil || a.Subject != oauthtest.Subject || a.Issuer != p.issuer.URL {
		t.Errorf("%+v, %v", a, err)
	}
	p.must("logout", "--all")
	if living := p.issuer.Living(); len(living) != 0 {
		t.Errorf("not revoked: %q", living)
	}
}

// When a login is over the SDK's own handler logs in anew; a program that has used it
// before gets a LoginRequired, and a hint.
func TestDeadLoginOfAUserApp(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	p.issuer.SetLifetime(2)
	r := p.start("dead")
	r.says("login", fakeGroups, "next")
	p.issuer.KillLogins()
	r.goOn()
	if got := r.end(); len(got) != 1 || !strings.HasPrefix(got[0], "LoginRequired globus-keys login ") {
		t.Errorf("it says %q", got)
	}
	if got := p.start("use").end(); got[0] != "login" || got[1] != fakeGroups {
		t.Errorf("the next program says %q", got)
	}
	p.issuer.KillLogins()
	p.start("end").end() // what is over can be logged out
}

// Who asks the issuer about what it has in place of a refresh token does not end the
// login by that; who revokes it does.
func TestQuestionAboutAHandle(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	p.expired()
	if got := p.start("ask_about").end(); !slices.Equal(got, []string{"transfer.api.globus.org", ""}) {
		t.Errorf("it says %q", got)
	}
}

// 16 processes with one expired token: one refresh, and all have its token.
func TestOneRefreshForAllOfPython(t *testing.T) {
	p := newPython(t, oauthtest.Rotating)
	p.expired()
	got := p.start("one_refresh").end()
	slices.Sort(got)
	if c := p.issuer.Counts(); c.Refreshes != 1 || c.Denied != 0 || len(got) != 16 || got[0] != got[15] {
		t.Errorf("%q, %+v", got, c)
	}
}

// 16 processes of 5 stores in one namespace, of either kind of store: none fails, none is
// lost.
func TestStoresOfPython(t *testing.T) {
	for _, kind := range []string{"file", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			p := newPython(t, oauthtest.Static)
			p.env = append([]string{"GLOBUS_KEYS_STORE=" + kind + ":" + filepath.Join(p.dir, "data", "logins")}, slices.DeleteFunc(p.env,
				func(v string) bool { return strings.HasPrefix(v, "GLOBUS_KEYS_STORE=") })...)
			if got := p.start("stores").end(); len(got) != 0 {
				t.Errorf("%q", got)
			}
			if n := len(p.logins()); n != 80 {
				t.Errorf("%d of 80 stores are there", n)
			}
		})
	}
}

// A program that is killed while it stores: what was acknowledged is there.
func TestKilledPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	_, store := p.store()
	for round := range 5 {
		r := p.start("loop")
		last := 0
		for range 3 + 2*round {
			if !r.out.Scan() {
				t.Fatal(r.error.String())
			}
			last, _ = strconv.Atoi(r.out.Text())
		}
		r.cmd.Process.Kill()
		for r.out.Scan() {
			last, _ = strconv.Atoi(r.out.Text())
		}
		r.cmd.Wait()
		login, err := store.Get(t.Context(), "transfer.api.globus.org")
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(strings.TrimPrefix(login.AccessToken.Reveal(), "fake-access-"))
		if n != last && n != last+1 {
			t.Errorf("%d is stored, %d was acknowledged", n, last)
		}
		if login.RefreshToken.Reveal() != fmt.Sprintf("fake-refresh-%d", n) {
			t.Error("torn")
		}
	}
}

// One damaged record costs only itself, and a new login replaces it.
func TestDamagedRecordInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	_, store := p.store()
	for _, rs := range []string{"a", "b", "c"} {
		put := keystore.TokenResponse{Tokens: []keystore.Token{{ResourceServer: rs, AccessToken: keystore.NewSecret("fake-access-" + rs)}}}
		if err := store.Put(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(p.dir, "data", "tokens.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(`"name":"b"`))
	if at < 0 {
		at = bytes.Index(data, []byte(`"name": "b"`))
	}
	seal := at + bytes.Index(data[at:], []byte(`"age"`)) + 200
	data[seal] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"WARNING", "all a c", "a fake-access-a", "b Tampered True", "c fake-access-c", "d None"}
	if got := p.start("read", "a", "b", "c", "d").end(); !slices.Equal(got, want) {
		t.Errorf("it says %q", got)
	}
	if got := p.start("renew_login", "b").end(); !slices.Equal(got, []string{"fake-access-1"}) {
		t.Errorf("it says %q", got)
	}
}

// Nobody is asked where nobody can be: the error comes at once.
func TestLockedStoreInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	p.expired()
	p.env = slices.DeleteFunc(p.env, func(v string) bool { return strings.HasPrefix(v, "GLOBUS_KEYS_PASSPHRASE_FILE=") })
	r := p.start("locked")
	for r.out.Scan() {
	}
	if err := r.cmd.Wait(); err == nil || !strings.Contains(r.error.String(), "globus_keys.errors.Locked: ") || !strings.Contains(r.error.String(), "(hint: globus-keys unlock") {
		t.Errorf("%v\n%s", err, r.error.String())
	}
}

// The package as a command says which logins there are, that there are none, or why it
// cannot say, without a traceback.
func TestPackageAsACommandInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	list := func() (code int, out, said string) {
		cmd := exec.CommandContext(t.Context(), p.interpreter, "-m", "globus_keys")
		var stdout, stderr strings.Builder
		cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &stdout, &stderr
		cmd.Run()
		return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
	}
	if code, out, said := list(); code != 0 || out != "" || !strings.HasSuffix(said, "\nno logins\n") {
		t.Errorf("empty: exit code %d, %q, %q", code, out, said)
	}
	p.expired()
	if code, out, said := list(); code != 0 || !strings.HasPrefix(out, "DEFAULT\ttransfer.api.globus.org\t") || strings.Contains(said, "no logins") {
		t.Errorf("a login: exit code %d, %q, %q", code, out, said)
	}
	p.env = slices.DeleteFunc(p.env, func(v string) bool { return strings.HasPrefix(v, "GLOBUS_KEYS_PASSPHRASE_FILE=") })
	code, out, said := list()
	if code != 1 || out != "" || !strings.Contains(said, "\nhint: globus-keys ") || strings.Contains(said, "Traceback") {
		t.Errorf("locked: exit code %d, %q, %q", code, out, said)
	}
}

func TestEveryMethodInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	if got := p.start("interface").end(); !slices.Equal(got, []string{"ok"}) {
		t.Errorf("it says %q", got)
	}
}

// A helper that is stopped, and a command that is none, hold no program up: they are
// killed, and the next request has another one.
func TestStoppedHelperInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	late := "the helper of globus-keys has not answered for "
	want := []string{late + "0.2 seconds", "killed True None", late + "0.2 seconds", "killed True None", "None", late + "0.1 seconds"}
	if got := p.start("stopped", t.TempDir()).end(); !slices.Equal(got, want) {
		t.Errorf("it says %q", got)
	}
}

// A program that lies where somebody works is not taken for ours.
func TestPlantedCommandInPython(t *testing.T) {
	p := newPython(t, oauthtest.Static)
	want := []string{"None False", "the command 'globus-keys' is not installed, or not in PATH",
		"the helper of globus-keys has ended, with exit code 0; standard error has its reason", "True"}
	if got := p.start("planted", t.TempDir()).end(); !slices.Equal(got, want) {
		t.Errorf("it says %q", got)
	}
}
