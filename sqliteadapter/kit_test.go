package sqliteadapter

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/internal/sqliteuri"
	"github.com/globus-keys/globus-keys/keystore"
)

// modes are those in which a store can be made.
var modes = map[string]Options{
	"WAL":      {},
	"TRUNCATE": {Truncate: true},
	"hidden":   {HideNames: true},
	"lossy":    {LosesLastUpdatesOnPowerCut: true},
}

// inBoth runs a test in both of SQLite's journal modes.
func inBoth(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"WAL", "TRUNCATE"} {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// site is a directory of a store and one of its keys.
type site struct {
	mode string
	keys adaptertest.KeyFiles
	path string
}

func newSite(t testing.TB, mode string) site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return site{mode, adaptertest.KeyFiles(t.TempDir()), filepath.Join(dir, "logins.db")}
}

// at is the same store's place in another directory.
func (s site) at(dir string) site {
	s.path = filepath.Join(dir, "logins.db")
	return s
}

func (s site) open(t testing.TB) *Adapter {
	t.Helper()
	return s.openWith(t, s.keys.Unseal)
}

func (s site) openWith(t testing.TB, unseal keystore.Unseal) *Adapter {
	t.Helper()
	o := modes[s.mode]
	a, err := Open(s.path, unseal, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// made returns a store with base in it.
func (s site) made(t testing.TB) *Adapter {
	t.Helper()
	a := s.open(t)
	if err := makeStore(t.Context(), a, base); err != nil {
		t.Fatal(err)
	}
	return a
}

// plain opens the database as a program does that knows nothing of us, and waits for
// nobody.
func (s site) plain(t testing.TB) *sql.Conn {
	t.Helper()
	uri, err := sqliteuri.File(s.path, "mode=rw&_busy_timeout=0")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", uri)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	return conn
}

// execute runs statements on a plain connection.
func execute(t testing.TB, c *sql.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

var base = map[string]string{"one": "1", "two": "2", "three": "3"}

func with(name, value string) map[string]string {
	m := maps.Clone(base)
	delete(m, name)
	if value != "" {
		m[name] = value
	}
	return m
}

// The slots of a store before and after a rekey.
const (
	slotA = "identity-a.age"
	slotB = "identity-b.age"
)

func header(slot string) keystore.Header {
	return keystore.Header{StoreID: keystore.StoreID{1, 2, 3}, Slots: []keystore.Slot{{Kind: keystore.SlotPassphrase, Name: slot}}}
}

func tokenKey(name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: name}
}

// makeStore is one Update that makes the store with these records.
func makeStore(ctx context.Context, a *Adapter, records map[string]string) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		if err := errors.Join(w.SetHeader(header(slotA)), putMeta(w)); err != nil {
			return err
		}
		return putAll(w, records)
	})
}

func putMeta(w keystore.Writer) error {
	m, err := seal.FormatMeta(seal.Meta{})
	if err != nil {
		return err
	}
	return w.Put(keystore.MetaKey, m)
}

// join is a put that makes the store if nobody has.
func join(ctx context.Context, a *Adapter, name string) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		if w.Header().IsZero() {
			if err := errors.Join(w.SetHeader(header(slotA)), putMeta(w)); err != nil {
				return err
			}
		}
		return putAll(w, map[string]string{name: name})
	})
}

func putAll(w keystore.Writer, records map[string]string) error {
	for name, value := range records {
		if err := w.Put(tokenKey(name), fmt.Appendf(nil, "%q", value)); err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, a *Adapter, name, value string) error {
	return a.Update(ctx, func(w keystore.Writer) error { return putAll(w, map[string]string{name: value}) })
}

func remove(ctx context.Context, a *Adapter, name string) error {
	return a.Update(ctx, func(w keystore.Writer) error { return w.Delete(tokenKey(name)) })
}

// increment counts on in record n, which may be missing.
func increment(ctx context.Context, a *Adapter) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		value, err := text(w, "n")
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(value)
		return putAll(w, map[string]string{"n": strconv.Itoa(n + 1)})
	})
}

// rekey rewrites every record under the key of slot.
func rekey(ctx context.Context, a *Adapter, slot string) error {
	return adaptertest.Rekey(ctx, a, header(slot))
}

// read returns all token records; nil if there is no store.
func read(ctx context.Context, a *Adapter) (records map[string]string, err error) {
	err = a.View(ctx, func(r keystore.Reader) error {
		records = nil
		if r.Header().IsZero() {
			return nil
		}
		records = make(map[string]string)
		for key, err := range r.Keys(keystore.KindToken) {
			if err != nil {
				return err
			}
			if records[key.Name], err = text(r, key.Name); err != nil {
				return err
			}
		}
		return nil
	})
	return records, err
}

func get(ctx context.Context, a *Adapter, name string) (value string, err error) {
	err = a.View(ctx, func(r keystore.Reader) error { value, err = text(r, name); return err })
	return value, err
}

func text(r keystore.Reader, name string) (string, error) {
	payload, err := r.Get(tokenKey(name))
	return strings.Trim(string(payload), `"`), err
}

// holds checks what the store holds.
func holds(t testing.TB, a *Adapter, want map[string]string, when string) {
	t.Helper()
	if got, err := read(t.Context(), a); err != nil || !maps.Equal(got, want) {
		t.Errorf("%s the store holds %v (%v), want %v", when, got, err, want)
	}
}

func ok(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fails checks that an error is want and names the store.
func fails(t testing.TB, what string, err, want error, path string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
		t.Errorf("%s: %v, want %v that names %s", what, err, want, path)
	}
}

// command is how to run a second process on the store, behind tracer.
func (s site) command(tracer ...string) *exec.Cmd {
	args := append(tracer, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(faultcalls.Environment(), "SQLITEADAPTER_CHILD="+s.mode, "SQLITEADAPTER_KEYS="+string(s.keys))
	return cmd
}

// script is a command that does all these lines.
func (s site) script(tracer []string, lines ...string) *exec.Cmd {
	cmd := s.command(tracer...)
	cmd.Stdin = strings.NewReader("open " + s.path + "\n" + strings.Join(lines, "\n"))
	return cmd
}

// process is a second process that does a line when it is told to.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (s site) start(t testing.TB) *process {
	t.Helper()
	p := &process{t: t, cmd: s.command()}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	out, outErr := p.cmd.StdoutPipe()
	ok(t, "a second process", errors.Join(err, outErr, p.cmd.Start()))
	p.in, p.out = in, bufio.NewReader(out)
	t.Cleanup(func() { in.Close(); p.cmd.Wait() })
	p.does("open " + s.path)
	return p
}

// tell has the process do a line.
func (p *process) tell(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.in, line+"\n")
	ok(p.t, line, err)
}

// says returns the next answer.
func (p *process) says() string {
	p.t.Helper()
	answer, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("a second process ended: %v", err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// does has the process do a line, which works, and returns the answer.
func (p *process) does(line string) string {
	p.t.Helper()
	p.tell(line)
	return p.answers(line)
}

// answers returns the answer to a line, which has worked.
func (p *process) answers(line string) string {
	p.t.Helper()
	answer, good := strings.CutPrefix(p.says(), "ok")
	if !good {
		p.t.Errorf("%s: %s", line, answer)
	}
	return strings.TrimSpace(answer)
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	ok(t, "copy", errors.Join(os.CopyFS(to, os.DirFS(from)), os.Chmod(to, 0o700)))
}
