package interop

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// globusKeys is the path of the command, made of the main module with the
// versions that users get.
var globusKeys string

// handOver names the environment variable that makes this test's program
// a browser, which posts the URL that it is to show to this address.
const handOver = "GLOBUS_KEYS_INTEROP_URL_TO"

func TestMain(m *testing.M) {
	if to := os.Getenv(handOver); to != "" {
		resp, err := http.Post(to, "text/plain", strings.NewReader(os.Args[1]))
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "globus-keys-interop-")
	if err != nil {
		log.Fatal(err)
	}
	globusKeys = filepath.Join(dir, "globus-keys")
	build := exec.Command("go", "build", "-o", globusKeys, "./cmd/globus-keys")
	build.Dir, build.Stderr = filepath.Join("..", ".."), os.Stderr
	code := 1
	if err = build.Run(); err == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// user is somebody with an empty home, a passphrase in a file, and a browser.
type user struct {
	flags []string
	env   []string
	urls  chan string // that the browser was to show
}

func newUser(t *testing.T) *user {
	t.Helper()
	home := t.TempDir()
	pass, run := filepath.Join(home, "pass"), filepath.Join(home, "run")
	err := cmp.Or(os.WriteFile(pass, []byte("correct horse battery staple\n"), 0o600), os.Mkdir(run, 0o700))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u := &user{urls: make(chan string, 1)}
	desk := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		url, _ := io.ReadAll(r.Body)
		u.urls <- string(url)
	}))
	t.Cleanup(desk.Close)
	u.flags = []string{"--store", "file:" + filepath.Join(home, "store", "tokens.json"), "--passphrase-file", pass}
	u.env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + run, "PATH=" + os.Getenv("PATH"), "BROWSER=" + self, handOver + "=" + desk.URL}
	return u
}

// process is one run of the command.
type process struct {
	cmd      *exec.Cmd
	args     []string // without the user's flags
	out, err bytes.Buffer
	ended    chan struct{} // closed when it has
	failed   error
}

func (u *user) start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	p := &process{cmd: exec.CommandContext(ctx, globusKeys, slices.Concat(u.flags, args)...), args: args, ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = u.env, &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.failed = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// ends waits for a process, which must exit with this code, and returns what it
// wrote to standard output.
func (p *process) ends(t *testing.T, code int) string {
	t.Helper()
	<-p.ended
	t.Logf("globus-keys %s\n%s", strings.Join(p.args, " "), p.err.String())
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, not %d: %v", got, code, p.failed)
	}
	return strings.TrimSuffix(p.out.String(), "\n")
}

// run is a command that must exit with this code.
func (u *user) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	return u.start(t, args...).ends(t, code)
}

// login runs a command that logs in, with a browser, and returns the result
// page's text.
func (u *user) login(t *testing.T, walk browser, args ...string) (page string) {
	t.Helper()
	p := u.start(t, args...)
	select {
	case url := <-u.urls:
		page = walk(t, url)
	case <-p.ended:
	}
	p.ends(t, 0)
	return page
}
