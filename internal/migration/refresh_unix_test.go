//go:build unix

package migration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

const (
	clientID = "00000000-fake-4000-8000-00000000c11e"
	redirect = "http://127.0.0.1:1/"
	verifier = "fake-verifier-0123456789-0123456789-0123456789"
	transfer = "transfer.api.globus.org"
	scope    = "urn:globus:auth:scope:transfer.api.globus.org:all"
)

const namespaces = 6

func namespace(n int) string { return fmt.Sprint("namespace ", n) }

// issuer is one that rotates refresh tokens, and takes a spent one for a theft. Each
// namespace of store has a login there.
func issuer(t *testing.T, store *keystore.Store) *oauthtest.Server {
	t.Helper()
	s := oauthtest.New(t)
	s.SetRotation(oauthtest.Rotating)
	c, err := oauth.NewClient(s.Provider(), oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range namespaces {
		code := s.Code(clientID, redirect, verifier, scope)
		answer, err := c.Exchange(t.Context(), keystore.NewSecret(code), keystore.NewSecret(verifier), redirect, scope)
		if err == nil {
			err = store.In(namespace(n)).Put(t.Context(), answer.Response)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func init() {
	jobs["renew until it is gone"] = renewUntilGone
	jobs["renew what has come"] = renewWhatHasCome
}

// round renews each login of a store, and counts those that are there.
func round(ctx context.Context, store *keystore.Store) (renewed int, err error) {
	for n := range namespaces {
		_, err := oauth.NewSource(store.In(namespace(n)), transfer, nil).Renew(ctx)
		switch {
		case err == nil:
			renewed++
		case !errors.Is(err, keystore.ErrNotFound):
			return renewed, err
		}
	}
	return renewed, nil
}

func renewUntilGone(ctx context.Context, dir string) error {
	store, err := file.open(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	for {
		renewed, err := round(ctx, store)
		fmt.Println("renewed", renewed)
		if err != nil || renewed == 0 {
			return err
		}
	}
}

func renewWhatHasCome(ctx context.Context, dir string) error {
	store, err := file.open(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	for !over.Load() {
		if _, err := round(ctx, store); err != nil {
			return err
		}
	}
	return nil
}

// process is one that renews.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	out  *bufio.Scanner
	says strings.Builder // on standard error
}

func start(t *testing.T, job, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+job, dirVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.says
	in, errIn := p.cmd.StdinPipe()
	out, errOut := p.cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	return p
}

// end waits for the process, and returns how many lines it has still said.
func (p *process) end(t *testing.T) (lines int) {
	t.Helper()
	for p.out.Scan() {
		lines++
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process that renews: %v: %s", err, p.says.String())
	}
	return lines
}

// TestRefreshesBesideAMigration with DeleteSource: processes renew each login all the
// time, in the source until it is gone there, and in the target as soon as it is there.
// No refresh token is spent twice, and the last one of each login is in the target.
func TestRefreshesBesideAMigration(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	here, there := newDir(t), newDir(t)
	from, to := file.mustOpen(t, here), file.mustOpen(t, there)
	s := issuer(t, from)
	var atSource, atTarget []*process
	for range 3 {
		atSource = append(atSource, start(t, "renew until it is gone", here))
	}
	for range 2 {
		atTarget = append(atTarget, start(t, "renew what has come", there))
	}
	for _, p := range atSource {
		p.out.Scan() // it has renewed each login
	}
	before := s.Counts().Refreshes
	if err := migrate(t.Context(), from, to, &keystore.MigrateOptions{DeleteSource: true}); err != nil {
		t.Error(err)
	}
	beside := s.Counts().Refreshes - before
	for _, p := range atSource {
		p.end(t)
	}
	for _, p := range atTarget {
		p.in.Close()
		p.end(t)
	}
	if left := mustHold(t, from); len(left) > 0 {
		t.Errorf("%d records are left in the source", len(left))
	}
	if n, err := round(t.Context(), to); n != namespaces || err != nil {
		t.Errorf("afterwards %d of %d logins can be renewed: %v", n, namespaces, err)
	}
	counts := s.Counts()
	t.Logf("%d refreshes, %d of them beside the migration; %d reused", counts.Refreshes, beside, counts.Reuse)
	if counts.Reuse > 0 || counts.Denied > 0 || beside < namespaces/2 {
		t.Errorf("%+v, %d beside the migration, want some, and nothing reused or denied", counts, beside)
	}
}

// announcing is an adapter that tells when a credential is to be locked.
type announcing struct {
	keystore.StorageAdapter
	namespace string
	locks     chan struct{}
}

func (a announcing) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if k.Namespace == a.namespace {
		close(a.locks)
	}
	return a.StorageAdapter.LockCredential(ctx, k)
}

// TestMigrationWaitsForARefresh, whose answer is what it carries over.
func TestMigrationWaitsForARefresh(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, deletes := range []bool{false, true} {
		dir := newDir(t)
		renewing, to := file.mustOpen(t, dir), file.mustOpen(t, newDir(t))
		a := announcing{file.mustOpen(t, dir).Adapter(), namespace(5), make(chan struct{})}
		s := issuer(t, renewing)
		done := make(chan error, 1)
		s.BeforeAnswer(func(e oauthtest.Event) { // the refresh token is spent
			go func() {
				done <- migrate(t.Context(), keystore.New(a, nil), to, &keystore.MigrateOptions{DeleteSource: deletes})
			}()
			select {
			case <-a.locks:
			case err := <-done: // it has not waited
				done <- err
			}
		})
		fresh, err := oauth.NewSource(renewing.In(namespace(5)), transfer, nil).Renew(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		got, err := to.In(namespace(5)).Get(t.Context(), transfer)
		if err != nil || !got.RefreshToken.Equal(fresh.RefreshToken) {
			t.Errorf("delete=%v: a token that was spent was carried over: %v", deletes, err)
		}
	}
}
