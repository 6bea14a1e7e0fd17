package keychain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

// busVariable tells a second process of a test which bus the first has started.
const busVariable = "GLOBUS_KEYS_TEST_ADAPTER_BUS"

// onBus opens a store whose keychain is on that bus, where nobody sees dialogs.
func onBus(dir string) (keystore.StorageAdapter, error) {
	session := func(name string) string {
		return map[string]string{"DBUS_SESSION_BUS_ADDRESS": os.Getenv(busVariable)}[name]
	}
	return keychain.OpenAdapter(filepath.Join(dir, "index.json"), keychain.Open(&keychain.Options{Getenv: session}), nil)
}

// session starts a bus with start, unless this is a process that is given one.
func session(t *testing.T, start func() *desktoptest.Bus) {
	if os.Getenv(busVariable) == "" {
		t.Setenv(busVariable, start().Address)
	}
}

func TestAdapterConformanceOnARealKeyring(t *testing.T) {
	session(t, func() *desktoptest.Bus { return desktoptest.StartKeyring(t).Bus })
	keystoretest.Run(t, onBus, &keystoretest.Options{MaxValue: keychain.MaxRecord, Persistent: true, Processes: true})
}

func TestAdapterConformanceOnAScriptedService(t *testing.T) {
	session(t, func() *desktoptest.Bus {
		bus := desktoptest.StartBus(t)
		secretservicetest.New(t, bus, secretservicetest.Options{})
		return bus
	})
	keystoretest.Run(t, onBus, &keystoretest.Options{MaxValue: keychain.MaxRecord, Persistent: true, Processes: true})
}

// TestProcessesCountOnARealKeyring: 16 processes make 50 updates each, and none
// is lost.
func TestProcessesCountOnARealKeyring(t *testing.T) {
	const processes, each = 16, 50
	if dir := os.Getenv("GLOBUS_KEYS_TEST_ADAPTER_COUNT"); dir != "" {
		countUp(t, dir, each)
		return
	}
	session(t, func() *desktoptest.Bus { return desktoptest.StartKeyring(t).Bus })
	dir := t.TempDir()
	a, err := onBus(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := (change{"n": "0"}).create(t.Context(), a.(*keychain.Adapter)); err != nil {
		t.Fatal(err)
	}
	var running []*exec.Cmd
	for range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesCountOnARealKeyring$")
		cmd.Env = append(os.Environ(), "GLOBUS_KEYS_TEST_ADAPTER_COUNT="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process: %v", err)
		}
	}
	got, err := read(t.Context(), a.(*keychain.Adapter))
	if want := strconv.Itoa(processes * each); err != nil || got["n"] != want {
		t.Errorf("the counter is %s (%v), want %s", got["n"], err, want)
	}
	t.Logf("%s of %d updates", got["n"], processes*each)
}

func countUp(t *testing.T, dir string, times int) {
	a, err := onBus(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range times {
		err := a.Update(context.Background(), func(w keystore.Writer) error {
			payload, err := w.Get(tokenKey("n"))
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.Trim(string(payload), `"`))
			if err != nil {
				return err
			}
			return change{"n": fmt.Sprint(n + 1)}.write(w)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// TestSweptOnARealKeyring: nothing is left there that the index does not name.
func TestSweptOnARealKeyring(t *testing.T) {
	keyring := desktoptest.StartKeyring(t)
	p := newPlace(t)
	b := keychain.Open(&keychain.Options{Getenv: keyring.Getenv})
	a := p.over(b)
	defer a.Close()
	first := change{"one": sized(16, "o"), "two": sized(3, "o")}
	if err := first.create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	old, _, err := keychain.Accounts(p.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := (change{"one": sized(2, "n"), "two": ""}).update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	p.later(2 * time.Minute)
	if err := (change{"three": "3"}).update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := a.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, account := range old {
		if _, err := b.Get(t.Context(), account); err == nil {
			kept++
		}
	}
	if kept != 1 { // the meta record's
		t.Errorf("%d of %d items of the first Update are in the keychain", kept, len(old))
	}
	got, err := read(t.Context(), a)
	if err != nil || got["one"] != sized(2, "n") || got["three"] != "3" || len(got) != 2 {
		t.Errorf("%s, %v", brief(got), err)
	}
}

// TestRecordIsReadWithStockTools, as docs/format.md says.
func TestRecordIsReadWithStockTools(t *testing.T) {
	testenv.Need(t, "secret-tool")
	keyring := desktoptest.StartKeyring(t)
	p := newPlace(t)
	a := p.over(keychain.Open(&keychain.Options{Getenv: keyring.Getenv}))
	defer a.Close()
	value := "1.5 " + sized(3, "x.y")
	if err := (change{"one": value}).create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var generation string
	p.forge(func(f *indexText) { generation = f.record("one")["generation"].(string) })
	script := fmt.Sprintf(`for n in 0 1 2 3 4 5 6 7; do
      secret-tool lookup service globus-keys username v1/%s/rec/%s/$n | cut -d. -f7- | sed 's/\.[^.]*$//' | tr -d '\n'
    done`, testStore, generation)
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = keyring.Env()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := url.PathUnescape(string(out))
	var record struct{ Name, Data string }
	if err := errors.Join(err, json.Unmarshal([]byte(text), &record)); err != nil || record.Name != "one" || record.Data != value {
		t.Errorf("%v: %.300s", err, text)
	}
}

// TestDialogIsShownWithoutTheLock, by a real backend: while a person looks at it,
// another process writes.
func TestDialogIsShownWithoutTheLock(t *testing.T) {
	bus := desktoptest.StartBus(t)
	bus.Setenv("DISPLAY", ":0")
	service := secretservicetest.New(t, bus, secretservicetest.Options{})
	dir := t.TempDir()
	open := func() *keychain.Adapter {
		a, err := keychain.OpenAdapter(filepath.Join(dir, "index.json"), keychain.Open(&keychain.Options{Getenv: bus.Getenv}), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		return a
	}
	if err := (change{"a": "1", "b": "1"}).create(t.Context(), open()); err != nil {
		t.Fatal(err)
	}
	other, shown := open(), 0
	service.Change(func(o *secretservicetest.Options) {
		// A second locked keyring hides items, and must not make a failure of a
		// dialog that was answered.
		o.Locked, o.OtherLocked = true, true
		o.Shown = func() {
			shown++
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := (change{"b": ""}).update(ctx, other); err != nil { // needs no keychain
				t.Errorf("another writer: %v", err)
			}
		}
	})
	if err := (change{"c": "1"}).update(t.Context(), open()); err != nil {
		t.Error(err)
	}
	if shown != 1 {
		t.Errorf("%d dialogs, want 1", shown)
	}
}
