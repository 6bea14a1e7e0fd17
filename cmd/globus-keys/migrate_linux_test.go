package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestInterruptedMigration ends between two records, says what is done and how to go on;
// said again, it finishes.
func TestInterruptedMigration(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	_, store := h.store()
	for _, name := range []string{"one", "two"} {
		login := keystore.Token{ResourceServer: name, AccessToken: keystore.NewSecret("FakeAccess"), ExpiresAt: store.Now().AddDate(1, 0, 0)}
		if err := store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{login}}); err != nil {
			t.Fatal(err)
		}
	}
	key := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindToken, Name: "two"}
	unlock, err := store.Adapter().LockCredential(t.Context(), key) // as who renews it
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"migrate", "--to", "file:" + filepath.Join(h.dir, "data", "other.json"), "--to-passphrase-file", h.pass(), "--delete-source"}
	out := make(chan string, 1)
	m := h.startAs(func(cmd *exec.Cmd) {
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			out <- line
		}()
	}, args...)
	if line := <-out; line != "copied     token \"one\" in namespace \"DEFAULT\"\n" {
		t.Errorf("it says %q", line)
	}
	m.signal(syscall.SIGINT)
	code := m.end()
	for _, words := range []string{"other.json: 1 copied\n", "broken off between two records", "hint: globus-keys migrate --to file:",
		"--to-passphrase-file", "--delete-source goes on from here", "error: cancelled"} {
		if said := m.said.String(); code != 2 || !strings.Contains(said, words) {
			t.Errorf("exit code %d, want 2 and %q:\n%s", code, words, said)
		}
	}
	if said := m.said.String(); strings.Index(said, "error: ") > strings.Index(said, "hint: ") {
		t.Errorf("the hint comes before its error:\n%s", said)
	}
	unlock()
	if got := h.must(args...); got != "copied     token \"two\" in namespace \"DEFAULT\"\n" {
		t.Errorf("once more: %q", got)
	}
}
