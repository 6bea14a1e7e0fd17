package oauth_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// disk is a login on a small disk of its own; the runtime directory is on another.
type disk struct {
	*testing.T
	dir, runtime string
	server       *oauthtest.Server
	token        keystore.Token
	n            int // how many tokens are over by now
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	testenv.NeedRoot(t)
	d := &disk{T: t, dir: t.TempDir(), runtime: t.TempDir(), server: oauthtest.New(t), n: 1}
	t.Setenv("XDG_RUNTIME_DIR", d.runtime)
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		testenv.Missing(t, "a tmpfs cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	d.server.SetRotation(oauthtest.Rotating)
	d.token = oneLogin(t, d.server, newClient(t, d.server, nil))
	put(d, refreshStore(t, d.dir), d.token)
	return d
}

func (d *disk) ok(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// get is what another process would get.
func (d *disk) get() (string, error) {
	now := func() time.Time { return expiry(d.n) }
	store := storeAt(d.T, d.dir, now)
	defer store.Close()
	s := oauth.NewSource(store, transfer, nil)
	s.SetUptime(now)
	t, err := s.Get(d.Context())
	return t.AccessToken.Reveal(), err
}

func (d *disk) probe() error {
	store := refreshStore(d.T, d.dir)
	defer store.Close()
	return store.Probe(d.Context())
}

// fill leaves no room on the disk until room is called.
func (d *disk) fill() (room func()) {
	filler := filepath.Join(d.dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		d.Error(err)
		return func() {}
	}
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() { d.ok(os.Remove(filler)) }
}

func (d *disk) counted(refreshes, posts int) {
	d.Helper()
	if c := d.server.Counts(); c.Refreshes != refreshes || c.Posts != posts || c.Reuse != 0 || c.Denied != 0 {
		d.Errorf("%+v, want %d refreshes and %d posts", c, refreshes, posts)
	}
}

// goesOn: there is room again, and the login is as good as ever.
func (d *disk) goesOn(refreshes int) {
	d.Helper()
	d.ok(d.probe())
	for range 2 {
		d.n++
		refreshes++
		if _, err := d.get(); err != nil {
			d.Error(err)
		}
		d.counted(refreshes, 1+refreshes)
	}
}

func TestFullDiskSpendsNothing(t *testing.T) {
	d := newDisk(t)
	room := d.fill()
	if _, err := d.get(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want ENOSPC", err)
	}
	if err := d.probe(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Probe: %v, want ENOSPC", err)
	}
	d.counted(0, 1)
	d.n = 0
	if got, err := d.get(); err != nil || got != d.token.AccessToken.Reveal() {
		t.Errorf("a token that is good: %v", err)
	}
	room()
	d.goesOn(0)
}

func TestReadOnlyDirectorySpendsNothing(t *testing.T) {
	d := newDisk(t)
	d.ok(syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	if _, err := d.get(); !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("%v, want ErrReadOnly", err)
	}
	if err := d.probe(); !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("Probe: %v, want ErrReadOnly", err)
	}
	d.counted(0, 1)
	d.n = 0
	if got, err := d.get(); err != nil || got != d.token.AccessToken.Reveal() {
		t.Errorf("a token that is good: %v", err)
	}
	d.ok(syscall.Mount("", d.dir, "", syscall.MS_REMOUNT, ""))
	d.goesOn(0)
}

// TestDiskThatFillsBeforeTheAnswer: the next processes take the answer from the
// spool, as long as the disk is full and when there is room again.
func TestDiskThatFillsBeforeTheAnswer(t *testing.T) {
	d := newDisk(t)
	var room func()
	duringRefresh(d.server, func() { room = d.fill() })
	first, err := d.get()
	if err != nil || first == d.token.AccessToken.Reveal() {
		t.Fatalf("the one who refreshed: %v", err)
	}
	for _, canary := range []string{first, oauthtest.Fake + "refresh"} {
		for _, found := range append(keystoretest.FindCanary(d.runtime, canary), keystoretest.FindCanary(d.dir, canary)...) {
			t.Errorf("a token is seen: %s", found)
		}
	}
	if got, err := d.get(); err != nil || got != first {
		t.Errorf("the next, while the disk is full: %v", err)
	}
	room()
	if got, err := d.get(); err != nil || got != first {
		t.Errorf("the next, when there is room: %v", err)
	}
	stored, err := refreshStore(t, d.dir).Get(t.Context(), transfer)
	if err != nil || stored.AccessToken.Reveal() != first {
		t.Errorf("the store has not got what was spooled: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(d.runtime, "globus-keys", "spool", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("the spool has %v, %v", left, err)
	}
	d.counted(1, 2)
	d.goesOn(1)
}
