package residue_test

import (
	"bufio"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/residue"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// build returns the client program, built with these flags: those of packaging/build,
// or those of tests, for the sake of what is in Go's cache already.
func build(t *testing.T, experiment string, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "client")
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", program}, flags...), "./client")...)
	cmd.Env = append(os.Environ(), "GOEXPERIMENT="+experiment, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// home is a store with a login, and all that is secret about it.
type home struct {
	env     []string
	secrets []residue.Secret
}

const passphrase = "fake-passphrase-of-nobody-7Kq2Zr"

// newHome makes a store whose key is in an identity file, or behind a passphrase.
func newHome(t *testing.T, behindPassphrase bool) *home {
	t.Helper()
	dir := t.TempDir()
	id, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	var store keystore.StoreID
	rand.Read(store[:])
	keyFile := filepath.Join(dir, "key.txt")
	text := identity.FormatFile(id, store)
	variable := "GLOBUS_KEYS_IDENTITY_FILE"
	if behindPassphrase {
		text, variable = []byte(passphrase+"\n"), "GLOBUS_KEYS_PASSPHRASE_FILE"
	}
	if err := os.WriteFile(keyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &home{env: []string{"HOME=" + dir, "GLOBUS_KEYS_STORE=file:" + filepath.Join(dir, "tokens.json"), variable + "=" + keyFile}}
	p, err := local.Find(&local.Options{Getenv: h.getenv, KeyFromEnv: true, WorkFactor: 10})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Store()
	defer s.Close()
	access, refresh := "fake-access-"+rand.Text(), "fake-refresh-"+rand.Text()
	err = s.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "transfer.api.globus.org", Scope: "all",
		AccessToken: keystore.NewSecret(access), RefreshToken: keystore.NewSecret(refresh)}}})
	if err != nil {
		t.Fatal(err)
	}
	if behindPassphrase {
		id, store = openPassphrase(t, dir)
	}
	seed := id.Seed()
	k, err := hkdf.Key(sha256.New, seed[:], store[:], "globus-keys/v1/seal-key\x00"+id.Type(), 32)
	if err != nil {
		t.Fatal(err)
	}
	h.secrets = []residue.Secret{
		{Name: "identity", Text: id.Text().Reveal()}, // the only one that nobody keeps
		{Name: "access token", Text: access},
		{Name: "refresh token", Text: refresh},
		{Name: "seed", Text: string(seed[1:31])}, // all but the bits that X25519 sets
		{Name: "K", Text: string(k)},
	}
	if behindPassphrase {
		h.secrets = append(h.secrets, residue.Secret{Name: "passphrase", Text: passphrase})
	}
	return h
}

func openPassphrase(t *testing.T, dir string) (*identity.Identity, keystore.StoreID) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "identity-*.age"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	id, store, err := identity.OpenPassphrase(data, keystore.NewSecret(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return id, store
}

func (h *home) getenv(name string) string {
	for _, line := range h.env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

// client is the program as it runs.
type client struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, program string, h *home) *client {
	t.Helper()
	c := &client{Cmd: exec.CommandContext(t.Context(), program)}
	c.Env, c.Stderr = h.env, os.Stderr
	in, err := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if err := errors.Join(err, outErr, c.Start()); err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	t.Cleanup(func() { in.Close(); c.Wait() })
	return c
}

// until waits for a station.
func (c *client) until(t *testing.T, station string) {
	t.Helper()
	for {
		line, err := c.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the client has not come to %q: %v", station, err)
		}
		if line == station+"\n" {
			return
		}
	}
}

func (c *client) goOn(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// TestClientLeavesNothingInMemory: of a program that has used a store, closed it and
// let go of its tokens there is no key, token or passphrase in memory after two
// collections. While the store is open the search finds those that are in use.
func TestClientLeavesNothingInMemory(t *testing.T) {
	program := build(t, "runtimesecret", "-trimpath")
	for name, behindPassphrase := range map[string]bool{"identity file": false, "passphrase": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, behindPassphrase)
			for n := range 10 {
				c := start(t, program, h)
				c.until(t, "open")
				if n == 0 {
					h.has(t, residue.Search(t, c.Process.Pid, h.secrets...))
				}
				c.goOn(t)
				c.until(t, "closed")
				for _, f := range residue.Search(t, c.Process.Pid, h.secrets...) {
					t.Errorf("run %d: %s", n, f)
				}
				c.goOn(t)
			}
		})
	}
}

// TestClientThatErasesNothing leaves all of it: that nothing is found of the other
// is not chance.
func TestClientThatErasesNothing(t *testing.T) {
	h := newHome(t, true)
	c := start(t, build(t, "noruntimesecret"), h)
	c.until(t, "open")
	c.goOn(t)
	c.until(t, "closed")
	h.has(t, residue.Search(t, c.Process.Pid, h.secrets...))
}

// has checks that all is found that a program keeps while a store is open.
func (h *home) has(t *testing.T, found []string) {
	t.Helper()
	for _, s := range h.secrets[1:] {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, s.Name+", ") }) {
			t.Errorf("the %s is not found, where it must be", s.Name)
		}
	}
}
