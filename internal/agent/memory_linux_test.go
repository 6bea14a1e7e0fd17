package agent_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/residue"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestMemoryOfAnAgent, of a release build: it has the key in the one page that is in
// no core file while it is unlocked, and nowhere after lock: neither the key nor what
// it has given out, in 2 rounds of 50 requests, or as many as (20 in .ci/run)
// GLOBUS_KEYS_MEMORY_ROUNDS says: gcore writes more than a gigabyte in each.
func TestMemoryOfAnAgent(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.Need(t, "gcore")
	p := newPlace(t, os.Geteuid())
	p.buildRelease()
	pid := p.agent().Process.Pid
	c := agent.Open(p.getenv)
	defer c.Close()
	for round := range rounds(t) {
		key := randomKey()
		if err := c.Unlock(context.Background(), key, "", hour); err != nil {
			t.Fatal(err)
		}
		given := useKey(t, c, key)
		secrets := []residue.Secret{{Name: "the key", Text: key.Secret.Reveal()}, given[round%len(given)], given[len(given)-1]}
		if round == 0 {
			// What use has left is erased every few seconds, and by an unlock before
			// the next request of its client.
			err := c.Unlock(context.Background(), numbered(1), "", hour)
			if _, again := c.Status(context.Background()); err != nil || again != nil {
				t.Fatal(err, again)
			}
			found := strings.Join(residue.Search(t, pid, secrets[0]), "\n")
			if strings.Count(found, "\n") != 1 || strings.Contains(found, "core file") || strings.Count(found, ", 1 times") != 2 {
				t.Fatalf("unlocked, want the two halves of the key in one page:\n%s", found)
			}
		}
		if n, err := c.Lock(context.Background(), testStore); err != nil || n != 1 {
			t.Fatalf("lock: %d, %v", n, err)
		}
		if found := residue.Search(t, pid, secrets...); len(found) > 0 {
			t.Fatalf("round %d: %s", round, strings.Join(found, "\n"))
		}
	}
}

func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GLOBUS_KEYS_MEMORY_ROUNDS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// buildRelease makes the program as a release is built.
func (p place) buildRelease() {
	p.t.Helper()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		testenv.Missing(p.t, "runtime/secret has no "+runtime.GOARCH)
	}
	cmd := exec.CommandContext(p.t.Context(), "go", "test", "-c", "-o", p.program, ".")
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=runtimesecret", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
}

func randomKey() seal.Key {
	b := make([]byte, seal.KeySize)
	rand.Read(b)
	key := fakeKey(1)
	key.Secret = keystore.NewSecret(string(b))
	return key
}

// useKey has all that an agent gives out, given out, and returns it.
func useKey(t *testing.T, c *agent.Client, key seal.Key) (given []residue.Secret) {
	t.Helper()
	h := c.Holder(key.Public)
	for range 25 {
		k, err := h.WrapKey(context.Background(), testRecord, seal.NewSalt())
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, residue.Secret{Name: "a wrap key", Text: k.Reveal()})
		fresh, err := h.Fresh(context.Background(), testRecord, 2)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, residue.Secret{Name: "a new wrap key", Text: fresh[1].Key.Reveal()})
	}
	return given
}

// TestAgentTellsNobody what it has: its log at the highest level, its arguments, its
// environment, its output and all that it writes have no key; to its socket it writes
// what it gives out.
func TestAgentTellsNobody(t *testing.T) {
	testenv.NeedRoot(t)
	p := newPlace(t, os.Geteuid())
	log, trace := filepath.Join(p.dir, "log"), filepath.Join(p.dir, "trace")
	proc := ready(t, p.as(p.uid, testenv.Need(t, "strace"), "-f", "-qq", "-xx", "-s", "65535", "-o", trace,
		"-e", "trace=write,writev,pwrite64,sendto,sendmsg,execve", p.program, "be-the-agent", log))
	c := agent.Open(p.getenv)
	defer c.Close()
	key := randomKey()
	if err := c.Unlock(context.Background(), key, "", hour); err != nil {
		t.Fatal(err)
	}
	given := useKey(t, c, key)
	st, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for _, file := range []string{log, fmt.Sprintf("/proc/%d/cmdline", st.PID), fmt.Sprintf("/proc/%d/environ", st.PID)} {
		text, err := os.ReadFile(file)
		if err != nil || len(text) == 0 {
			t.Fatalf("%s: %q, %v", file, text, err)
		}
		seen = append(seen, text...)
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
	written, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	inTrace := func(text string) bool { return strings.Contains(string(written), escaped(text)) }
	for _, g := range given {
		text := base64.RawStdEncoding.EncodeToString([]byte(g.Text))
		if strings.Contains(string(seen), text) || !inTrace(text) {
			t.Fatalf("%s: it was not written to the socket alone", g.Name)
		}
	}
	secret := key.Secret.Reveal()
	for _, form := range []string{secret[:16], secret[16:], hex.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret))} {
		if strings.Contains(string(seen), form) || inTrace(form) {
			t.Errorf("the key was written")
		}
	}
	if text := string(seen); !strings.Contains(text, "op=derive") || strings.Contains(text, testRecord.Name) {
		t.Errorf("the log and the arguments are %q", text)
	}
}

// escaped is what strace -xx writes of text.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, `\x%02x`, text[i])
	}
	return b.String()
}

// TestCrashOfAnAgent leaves no core file, where there would be one.
func TestCrashOfAnAgent(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Max != ^uint64(0) {
		testenv.Missing(t, "core files, which are limited here")
	}
	p := newPlace(t, os.Geteuid())
	for signal, name := range map[syscall.Signal]string{syscall.SIGTERM: "", syscall.SIGSEGV: "signal", syscall.SIGABRT: "signal"} {
		cmd := p.as(p.uid, "/bin/sh", "-c", `ulimit -c unlimited && exec "$0" be-the-agent`, p.program)
		cmd.Env = append(cmd.Env, "GOTRACEBACK=crash")
		proc := ready(t, cmd)
		p.unlocked()
		if err := proc.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		err := proc.Wait()
		status := proc.ProcessState.Sys().(syscall.WaitStatus)
		if status.CoreDump() || (name == "") != (err == nil) {
			t.Errorf("%v: %v, core: %v", signal, err, status.CoreDump())
		}
	}
}
