//go:build unix

package oauth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// refresherVariable makes a process one of those that refresh: it holds the
// directory of the store.
const refresherVariable = "GLOBUS_KEYS_TEST_REFRESHER"

// TestOneRefreshForAllProcesses: an issuer that rotates refresh tokens, and takes
// a spent one for a theft, is asked once for each expiry, whoever needs the token.
func TestOneRefreshForAllProcesses(t *testing.T) {
	const expiries = 50
	const processes = 64
	letAllRefresh(t, processes, expiries)
}

// TestOneRefreshFor256Processes is the same for a crowd.
func TestOneRefreshFor256Processes(t *testing.T) { letAllRefresh(t, 256, 1) }

func letAllRefresh(t *testing.T, processes, expiries int) {
	t.Helper()
	s, dir, token := storedLogin(t, oauthtest.Rotating)
	var all []*process
	for range processes {
		all = append(all, startRefresher(t, dir))
	}
	stale := token.AccessToken.Reveal()
	for n := 1; n <= expiries; n++ {
		for _, p := range all {
			p.ask(n)
		}
		fresh := ""
		for _, p := range all {
			answer := p.answer()
			if fresh == "" {
				fresh = answer
			}
			if answer != fresh || answer == stale || strings.HasPrefix(answer, "error") {
				t.Fatalf("expiry %d: a process says %q, the first %q", n, answer, fresh)
			}
		}
		stale = fresh
	}
	counts := s.Counts()
	t.Logf("%d processes, %d expiries: %d refreshes, %d requests, %d reused", processes, expiries, counts.Refreshes, counts.Posts, counts.Reuse)
	if counts.Refreshes != expiries || counts.Reuse != 0 || counts.Denied != 0 {
		t.Errorf("%+v, want %d refreshes and nothing reused or denied", counts, expiries)
	}
}

// storedLogin stores a login of a server in dir.
func storedLogin(t *testing.T, r oauthtest.Rotation) (s *oauthtest.Server, dir string, token keystore.Token) {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s, dir = oauthtest.New(t), t.TempDir()
	s.SetRotation(r)
	token = oneLogin(t, s, newClient(t, s, nil))
	put(t, refreshStore(t, dir), token)
	return s, dir, token
}

// TestKilledBetweenAnswerAndStore: where refresh tokens rotate the login is lost,
// and it is said when and by which process; else the next one goes on.
func TestKilledBetweenAnswerAndStore(t *testing.T) {
	for name, rotation := range map[string]oauthtest.Rotation{"rotating": oauthtest.Rotating, "static": oauthtest.Static} {
		t.Run(name, func(t *testing.T) {
			s, dir, _ := storedLogin(t, rotation)
			victim, next := startRefresher(t, dir), startRefresher(t, dir)
			killed := make(chan struct{})
			duringRefresh(s, func() {
				victim.cmd.Process.Kill()
				victim.cmd.Wait()
				close(killed)
			})
			victim.ask(1)
			<-killed
			next.ask(1)
			got := next.answer()
			named := fmt.Sprintf("process %d on ", victim.cmd.Process.Pid)
			switch {
			case rotation == oauthtest.Static && !strings.HasPrefix(got, oauthtest.Fake):
				t.Errorf("the next says %q, want a token", got)
			case rotation == oauthtest.Rotating && !(strings.Contains(got, "login required") && strings.Contains(got, named) && strings.Contains(got, "began to renew it at")):
				t.Errorf("the next says %q, want that a login is required, and %q", got, named)
			}
		})
	}
}

// TestStoppedRefresher keeps its lock: nobody asks the issuer in its place, valid
// tokens are served, and others are told whom they wait for.
func TestStoppedRefresher(t *testing.T) {
	s, dir, token := storedLogin(t, oauthtest.Rotating)
	stopped := startRefresher(t, dir)
	done := make(chan struct{})
	duringRefresh(s, func() {
		stopped.cmd.Process.Signal(syscall.SIGSTOP)
		close(done)
	})
	stopped.ask(1)
	<-done
	posts := s.Counts().Posts
	store := refreshStore(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c := newClient(t, s, nil)
	_, err := store.Refresh(ctx, transfer, func(keystore.Token) bool { return true },
		func(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
			a, err := c.RefreshToken(ctx, old)
			return a.Response, err
		}, nil)
	if !errors.Is(err, keystore.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint("pid ", stopped.cmd.Process.Pid)) {
		t.Errorf("%v, want ErrBusy that names process %d", err, stopped.cmd.Process.Pid)
	}
	if got, err := store.Get(t.Context(), transfer); err != nil || !got.AccessToken.Equal(token.AccessToken) {
		t.Errorf("the token is not served meanwhile: %v", err)
	}
	if now := s.Counts().Posts; now != posts {
		t.Errorf("%d requests in place of the stopped one", now-posts)
	}
	stopped.cmd.Process.Signal(syscall.SIGCONT)
	if got := stopped.answer(); !strings.HasPrefix(got, oauthtest.Fake) {
		t.Errorf("the one that was stopped says %q", got)
	}
}

// refreshStore opens the store in dir, with an identity file that lies beside it.
func refreshStore(t testing.TB, dir string) *keystore.Store { return storeAt(t, dir, time.Now) }

func storeAt(t testing.TB, dir string, now func() time.Time) *keystore.Store {
	t.Helper()
	key := filepath.Join(dir, "key")
	if _, err := os.Stat(key); err != nil {
		id, err := identity.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, identity.FormatFile(id, keystore.StoreID{}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, err := local.Open(t.Context(), &local.Options{Store: "file:" + filepath.Join(dir, "tokens.json"), IdentityFile: key, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// expiry is the time when the n-th access token of a Server is over.
func expiry(n int) time.Time { return time.Now().Add(time.Duration(n) * 49 * time.Hour) }

// TestRefresher is one of the processes: it reads how many tokens are over by now,
// and says which one its Source gives then. By itself it shows that one process
// alone works.
func TestRefresher(t *testing.T) {
	dir := os.Getenv(refresherVariable)
	if dir == "" {
		_, dir, token := storedLogin(t, oauthtest.Rotating)
		p := startRefresher(t, dir)
		p.ask(1)
		if got := p.answer(); !strings.HasPrefix(got, oauthtest.Fake) || got == token.AccessToken.Reveal() {
			t.Errorf("a process alone says %q", got)
		}
		return
	}
	n := 0
	now := func() time.Time { return expiry(n) }
	source := oauth.NewSource(storeAt(t, dir, now), transfer, nil)
	source.SetUptime(now)
	for {
		if _, err := fmt.Scanln(&n); err != nil {
			return
		}
		got, err := source.Get(t.Context())
		if err != nil {
			fmt.Println("answer: error", err)
			continue
		}
		fmt.Println("answer: " + got.AccessToken.Reveal())
	}
}

type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

// refresherCommand is how to run one, under a tracer.
func refresherCommand(dir string, tracer ...string) *exec.Cmd {
	args := append(tracer, os.Args[0], "-test.run=^TestRefresher$")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), refresherVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

func startRefresher(t *testing.T, dir string) *process {
	t.Helper()
	cmd := refresherCommand(dir)
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
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &process{t, cmd, in, bufio.NewScanner(out)}
}

func (p *process) ask(n int) {
	if _, err := fmt.Fprintln(p.in, n); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) answer() string {
	for p.out.Scan() {
		if answer, ok := strings.CutPrefix(p.out.Text(), "answer: "); ok {
			return answer
		}
	}
	p.t.Fatal("a process has ended")
	return ""
}
