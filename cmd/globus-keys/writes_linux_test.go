package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestAllThatIsWritten by commands and their agent, to whatever: a token goes to
// standard output, a refresh token to the issuer, which is reached without TLS here, and
// the key of the store's seals from unlock to the agent. Nothing goes anywhere else, and
// no passphrase and no identity to anybody. The arguments and the environment of what is
// started count too.
func TestAllThatIsWritten(t *testing.T) {
	testenv.NeedRoot(t)
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	w := &writes{home: h.locked(), dir: filepath.Join(h.dir, "writes"), strace: testenv.Need(t, "strace")}
	old, id, key := w.secrets()
	h.asks()

	typed := h.at(w.strace, w.args("unlock", "unlock")...)
	typed.until("Passphrase for")
	typed.types(passphraseOfHome + "\n")
	typed.until("is unlocked")
	w.run("refresh", "refresh", "transfer")
	token := strings.TrimSpace(w.run("token", "token", "transfer"))
	w.run("status", "status")
	w.run("stop", "agent", "stop")
	typed.ends(0) // and the agent with it
	next, _, _ := w.secrets()
	if token != next.AccessToken.Reveal() || token == old.AccessToken.Reveal() {
		t.Errorf("token printed %q", token)
	}
	// The agent ends before strace does.
	file := exec.CommandContext(t.Context(), w.strace, w.args("unlock by a file", "unlock", "--passphrase-file", h.pass())...)
	file.Env = h.env
	if err := file.Start(); err != nil {
		t.Fatal(err)
	}
	h.waitFor("an agent", func() bool { return h.command("agent", "status").Run() == nil && len(h.agent().Stores) == 1 })
	h.must("agent", "stop")
	if err := file.Wait(); err != nil {
		t.Error(err)
	}

	w.sort("unlock", "refresh", "token", "status", "stop", "unlock by a file")
	for _, c := range []struct {
		name, secret string
		places       []string
	}{
		{"passphrase", passphraseOfHome, nil},
		{"identity", id.Text().Reveal(), nil},
		{"key", key.Secret.Reveal(), []string{"unlock by a file, to UNIX-STREAM", "unlock, to UNIX-STREAM"}},
		{"access token, old", old.AccessToken.Reveal(), nil},
		{"access token", token, []string{"token, to 1"}},
		{"refresh token, old", old.RefreshToken.Reveal(), []string{"refresh, to TCP"}},
		{"refresh token", next.RefreshToken.Reveal(), nil},
	} {
		if got := w.placesOf(c.secret); !slices.Equal(got, c.places) {
			t.Errorf("the %s was written: %q, want %q", c.name, got, c.places)
		}
	}
}

// writes is what commands write.
type writes struct {
	*home
	dir    string // a file for each command and each kind of place
	strace string
}

func (w *writes) trace(name string) string { return filepath.Join(w.home.dir, name+".trace") }

// args are those of strace for a command.
func (w *writes) args(name string, command ...string) []string {
	return append([]string{"-f", "-qq", "-v", "-yy", "-xx", "-s", "65535", "-o", w.trace(name),
		"-e", "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,execve", w.globusKeys()}, command...)
}

func (w *writes) run(name string, command ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.strace, w.args(name, command...)...)
	cmd.Env = w.env
	out, err := cmd.Output()
	if err != nil {
		w.Fatalf("%v: %v\n%s", command, err, stderrOf(err))
	}
	return string(out)
}

// secrets are the token, the identity and the key that the store has now.
func (w *writes) secrets() (keystore.Token, *identity.Identity, seal.Key) {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.home.dir, "data", "identity-*.age"))
	if err != nil || len(files) != 1 {
		w.Fatalf("%q, %v", files, err)
	}
	id, store, err := identity.OpenPassphrase([]byte(w.read(files[0])), keystore.NewSecret(passphraseOfHome))
	if err != nil {
		w.Fatal(err)
	}
	known := *w.home
	known.env = append([]string{"GLOBUS_KEYS_PASSPHRASE_FILE=" + w.pass()}, w.env...)
	_, s := known.store()
	token, err := s.Get(w.Context(), "transfer.api.globus.org")
	if err != nil {
		w.Fatal(err)
	}
	return token, id, seal.KeyOf(id, store)
}

// call is a line of strace's: its process, the call, and the descriptor if it has one.
var call = regexp.MustCompile(`^\d+ +(\w+)\((?:(\d+)<([A-Z0-9-]*))?`)

// sort makes of the traces a file for each place: what was written there.
func (w *writes) sort(names ...string) {
	w.Helper()
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		w.Fatal(err)
	}
	for _, name := range names {
		to := make(map[string][]byte)
		for line := range strings.Lines(w.read(w.trace(name))) {
			m := call.FindStringSubmatch(line)
			if m == nil {
				continue // how a process or an interrupted call has ended
			}
			place := m[3]
			switch {
			case m[1] == "execve":
				place = "a program"
			case place == "" || m[2] < "3" && len(m[2]) == 1:
				place = m[2]
			}
			to[place] = append(to[place], w.bytes(line)...)
		}
		for place, text := range to {
			w.write(filepath.Join(w.dir, name+", to "+place), string(text))
		}
	}
}

// bytes are those of all strings of a line.
func (w *writes) bytes(line string) (all []byte) {
	w.Helper()
	for _, text := range regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`).FindAllStringSubmatch(line, -1) {
		b, err := hex.DecodeString(strings.ReplaceAll(text[1], `\x`, ""))
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, b...)
	}
	if len(all) == 0 && !strings.Contains(line, `""`) {
		w.Errorf("nothing can be read in %s", line)
	}
	return all
}

// placesOf returns where something was written, in any form.
func (w *writes) placesOf(secret string) (places []string) {
	w.Helper()
	files, err := os.ReadDir(w.dir)
	if err != nil || len(files) < 10 {
		w.Fatal(fmt.Sprint(files), err)
	}
	for _, f := range files {
		if len(keystoretest.FindCanary(filepath.Join(w.dir, f.Name()), secret)) > 0 {
			places = append(places, f.Name())
		}
	}
	return places
}
