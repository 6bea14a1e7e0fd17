package keychain

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	gokeyring "github.com/zalando/go-keyring"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestRealKeyringRoundTrip(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	clients := len(keyring.Clients())
	k.wantTidy(func() {
		k.wantState(Ready, "")
		_, err := k.get()
		k.wantError("Get of nothing", err, keystore.ErrNotFound)
		if err := k.delete(); err != nil {
			t.Errorf("Delete of nothing: %v", err)
		}
		if err := k.create(); err != nil {
			t.Fatal(err)
		}
		k.wantValue(testValue)
		if n := len(keyring.Clients()); n != clients+1 {
			t.Errorf("%d connections, want 1", n-clients)
		}
		if err := k.delete(); err != nil {
			t.Error(err)
		}
		_, err = k.get()
		k.wantError("Get of what was deleted", err, keystore.ErrNotFound)
	})
	desktoptest.Until(t, "the connection is closed", func() bool { return len(keyring.Clients()) == clients })
}

func TestKeyOfAStoreOutlivesTheRealKeyring(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	store := keystore.StoreID{1, 2, 3}
	key := keystore.NewSecret("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ")
	account, err := CreateKey(k.ctx, k.backend, store, key)
	if err != nil {
		t.Fatal(err)
	}
	keyring.Restart() // at once: killed right after it was acknowledged
	got, err := LoadKey(k.ctx, k.backend, store, account)
	if err != nil || !got.Equal(key) {
		t.Errorf("after a restart: %v", err)
	}
	if err := k.backend.Delete(k.ctx, account); err != nil {
		t.Error(err)
	}
	_, err = LoadKey(k.ctx, k.backend, store, account)
	k.wantError("LoadKey of what is gone", err, keystore.ErrCorrupt)
}

func TestLockedRealKeyringIsLocked(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	keyring.Lock()
	k.wantAll(Locked, "is locked")
	// With a display it asks; there is no program here that could show the
	// dialog, which the keyring takes as dismissed.
	k.display()
	_, err := k.get()
	k.wantProblem("Get", err, Declined, "dismissed")
	if len(k.notices) != 1 {
		t.Errorf("notices: %q", k.notices)
	}
}

func TestStoppedRealKeyringIsUnreachable(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	keyring.Freeze()
	defer keyring.Thaw()
	k.limit(hangs)
	k.wantTidy(func() { k.wantAll(Unreachable, "does not answer") })
}

func TestSecretToolAndGoKeyringReadOurItemAndWeTheirs(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	tool := testenv.Need(t, "secret-tool")
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	names := []string{"service", Service, "username", testAccount}
	if got := output(t, program(k.bus, tool, append([]string{"lookup"}, names...)...)); got != testValue {
		t.Errorf("secret-tool reads %q", got)
	}
	search := program(k.bus, tool, append([]string{"search", "--all"}, names...)...)
	found, err := search.CombinedOutput()
	label := fmt.Sprintf("label = Password for '%s' on 'globus-keys'\n", testAccount)
	if err != nil || !strings.Contains(string(found), label) {
		t.Errorf("secret-tool search: %s, %v; want %q", found, err, label)
	}
	if got := peer(t, k.bus, "get"); got != testValue {
		t.Errorf("go-keyring reads %q", got)
	}
	// go-keyring replaces the item only if it takes it for the same.
	peer(t, k.bus, "set", "by go-keyring")
	k.wantValue("by go-keyring")
	peer(t, k.bus, "delete")
	store := program(k.bus, tool, append([]string{"store", "--label=x"}, names...)...)
	store.Stdin = strings.NewReader("by secret-tool")
	output(t, store)
	k.wantValue("by secret-tool")
}

// peer runs go-keyring in a process of its own: its connection lasts as long as
// the process.
func peer(t *testing.T, bus *desktoptest.Bus, args ...string) string {
	t.Helper()
	cmd := program(bus, os.Args[0], "-test.run=^TestPeerProcess$")
	cmd.Env = append(cmd.Env, "GO_KEYRING_PEER="+strings.Join(args, "\n"), "GORACE=atexit_sleep_ms=0")
	out := output(t, cmd)
	value, _, _ := strings.Cut(out, "\n")
	return value
}

// TestPeerProcess is no test, but the process that peer starts.
func TestPeerProcess(t *testing.T) {
	args := strings.Split(os.Getenv("GO_KEYRING_PEER"), "\n")
	var value string
	var err error
	switch args[0] {
	case "get":
		value, err = gokeyring.Get(Service, testAccount)
	case "set":
		err = gokeyring.Set(Service, testAccount, args[1])
	case "delete":
		err = gokeyring.Delete(Service, testAccount)
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(value)
}

func TestValueDoesNotCrossTheBusInClear(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	seen := monitor(t, k.bus)
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	k.wantValue(testValue)
	traffic := seen()
	if !strings.Contains(traffic, testAccount) {
		t.Fatal("the monitor has not seen the item's name: it proves nothing")
	}
	for i := 0; i+16 <= len(testValue); i++ {
		if part := testValue[i : i+16]; strings.Contains(traffic, part) {
			t.Errorf("the monitor has seen %q", part)
		}
	}
}

// monitor watches all traffic of the bus. seen ends it and returns what it saw.
func monitor(t *testing.T, bus *desktoptest.Bus) (seen func() string) {
	t.Helper()
	cmd := program(bus, testenv.Need(t, "dbus-monitor"), "--address", bus.Address)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() { // what it says when it has begun
		t.Fatal("dbus-monitor says nothing")
	}
	return func() string {
		return untilMark(t, bus, cmd, lines)
	}
}

// untilMark sends a signal and reads what comes before it.
func untilMark(t *testing.T, bus *desktoptest.Bus, cmd *exec.Cmd, lines *bufio.Scanner) string {
	t.Helper()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := bus.Dial().Emit("/the/end", "the.End.End"); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for lines.Scan() {
		if strings.Contains(lines.Text(), "path=/the/end") {
			return text.String()
		}
		text.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("dbus-monitor ended: %v", lines.Err())
	return ""
}

func TestManyGoroutinesUseOneBackend(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	k := newKit(t, keyring.Bus)
	k.wantTidy(func() {
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() { k.useItem(fmt.Sprintf("%s%x", testAccount, i)) })
		}
		group.Wait()
	})
}

func (k *kit) useItem(account string) {
	value := keystore.NewSecret("value of " + account)
	if err := k.backend.Create(k.ctx, account, value); err != nil {
		k.Error(err)
	}
	for range 3 {
		if got, err := k.backend.Get(k.ctx, account); err != nil || !got.Equal(value) {
			k.Errorf("Get of %s: %v", account, err)
		}
		if state, err := k.backend.Probe(k.ctx); state != Ready {
			k.Error(err)
		}
	}
	if err := k.backend.Delete(k.ctx, account); err != nil {
		k.Error(err)
	}
}
