package residue_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/residue"
)

// TestSearchFinds what a process has in its memory, in each form: a cat whose
// environment has it.
func TestSearchFinds(t *testing.T) {
	secret := "fake-" + strings.ReplaceAll(rand.Text(), "6", "5") // 0x36, which would be a NUL
	for name, text := range map[string]string{
		"nothing":                "fake-" + rand.Text(),
		"first half":             secret[:len(secret)/2],
		"second half":            "of it only " + secret[len(secret)/2:],
		"hexadecimal":            hex.EncodeToString([]byte(secret)),
		"upper-case hexadecimal": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64":                 base64.StdEncoding.EncodeToString([]byte("x" + secret + "y")),
		"base64url":              base64.URLEncoding.EncodeToString([]byte("???" + secret)),
		"as HMAC's inner key":    xored(secret, 0x36),
		"as HMAC's outer key":    xored(secret, 0x5c),
	} {
		found := residue.Search(t, holding(t, text), residue.Secret{Name: "the secret", Text: secret})
		for _, where := range []string{"[stack]", "the core file"} {
			line := "the secret, " + name + ": in " + where
			if has := slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, line) }); has != (name != "nothing") {
				t.Errorf("%s: found %q", name, found)
			}
		}
		if slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, secret) }) {
			t.Errorf("%s: the findings show it", name)
		}
	}
}

func xored(text string, with byte) string {
	b := []byte(text)
	for i := range b {
		b[i] ^= with
	}
	return string(b)
}

// holding starts a process that has text in its memory.
func holding(t *testing.T, text string) (pid int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/cat")
	cmd.Env = []string{"TEXT=" + text}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	in.Write([]byte("x"))
	if _, err := out.Read(make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	return cmd.Process.Pid
}
