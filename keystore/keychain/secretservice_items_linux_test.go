package keychain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestItemIsAsGoKeyringMakesIt(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	k.wantTidyService(service, func() {
		k.wantState(Ready, "")
		if service.Calls("OpenSession") > 0 {
			t.Error("a probe opens a session for secrets")
		}
		if err := k.create(); err != nil {
			t.Fatal(err)
		}
		k.wantValue(testValue)
		k.wantValue(testValue)
	})
	items := service.Items()
	want := fmt.Sprint([]secretservicetest.Item{{
		Label:      fmt.Sprintf("Password for '%s' on 'globus-keys'", testAccount),
		Attributes: map[string]string{"service": "globus-keys", "username": testAccount},
		Value:      testValue,
	}})
	if fmt.Sprint(items) != want {
		t.Errorf("%v\nwant %v", items, want)
	}
	if service.Clients() != 1 || service.Calls("OpenSession") > 5 {
		t.Errorf("%d connections, %d sessions opened for one backend", service.Clients(), service.Calls("OpenSession"))
	}
	if err := k.delete(); err != nil || len(service.Items()) > 0 {
		t.Errorf("Delete: %v, %d items are left", err, len(service.Items()))
	}
}

// wantTidyService checks that the service too has nothing left of the backend.
func (k *kit) wantTidyService(service *secretservicetest.Service, fn func()) {
	k.Helper()
	clients := len(k.bus.Clients())
	fn()
	if service.Sessions() == 0 {
		k.Error("no session was open: this test proves nothing")
	}
	if err := k.backend.Close(); err != nil {
		k.Error(err)
	}
	desktoptest.Until(k.T, "the session is closed", func() bool { return service.Sessions() == 0 })
	desktoptest.Until(k.T, "the connection is closed", func() bool { return len(k.bus.Clients()) == clients })
}

func TestWhatNoPlatformKeepsIsNotSent(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	err := k.backend.Create(k.ctx, "Upper", keystore.NewSecret("x"))
	k.wantError("Create", err, keystore.ErrInvalid)
	err = k.backend.Create(k.ctx, testAccount, keystore.NewSecret("two\nlines"))
	k.wantError("Create", err, keystore.ErrInvalid)
	_, err = k.backend.Get(k.ctx, "a:b")
	k.wantError("Get", err, keystore.ErrInvalid)
	k.wantError("Delete", k.backend.Delete(k.ctx, ""), keystore.ErrInvalid)
	if service.AllCalls() > 0 {
		t.Error("the service was called")
	}
}

func TestSeveralItems(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Add(testAccount, testValue)
	service.Add(testAccount, testValue)
	k.wantValue(testValue)
	service.Add(testAccount, "another")
	service.Add(testAccount, testValue)
	k.wantError("Get", k.getError(), keystore.ErrTampered)
	if err := k.delete(); err != nil || len(service.Items()) > 0 {
		t.Errorf("Delete: %v, %d items are left", err, len(service.Items()))
	}
}

func TestDamagedSecretsAreCorrupt(t *testing.T) {
	for name, mangle := range map[string]func(*secretservicetest.Secret){
		"no vector":       func(s *secretservicetest.Secret) { s.Parameters = []byte{} },
		"short vector":    func(s *secretservicetest.Secret) { s.Parameters = s.Parameters[:15] },
		"long vector":     func(s *secretservicetest.Secret) { s.Parameters = append(s.Parameters, 1) },
		"no value":        func(s *secretservicetest.Secret) { s.Value = []byte{} },
		"half a block":    func(s *secretservicetest.Secret) { s.Value = s.Value[:8] },
		"a block is gone": func(s *secretservicetest.Secret) { s.Value = s.Value[:16] },
	} {
		t.Run(name, func(t *testing.T) {
			k, service := scripted(t, secretservicetest.Options{})
			item := testItem()
			item.Mangle = mangle
			service.AddItem(item)
			k.wantError("Get", k.getError(), keystore.ErrCorrupt)
		})
	}
	for _, reply := range [][]any{{}, {"text"}, {[]byte{1}}, {struct{ A, B string }{}}, {struct{ A, B, C, D string }{}}} {
		k, service := scripted(t, secretservicetest.Options{Reply: map[string][]any{"GetSecret": reply}})
		service.Add(testAccount, testValue)
		k.wantError("Get", k.getError(), keystore.ErrCorrupt)
	}
}

func TestLoadKeySaysWhatIsWrong(t *testing.T) {
	store := keystore.StoreID{1, 2, 3}
	account := accountPrefix(store, keyKind) + "0123456789abcdef"
	good := formatItem(keyKind, store, "AGE-SECRET-KEY-1X").Reveal()
	for name, test := range map[string]struct {
		values []string
		want   error
	}{
		"good":        {[]string{good}, nil},
		"twice":       {[]string{good, good}, nil},
		"gone":        {nil, keystore.ErrCorrupt},
		"empty":       {[]string{""}, keystore.ErrCorrupt},
		"cut short":   {[]string{good[:len(good)-1]}, keystore.ErrCorrupt},
		"two differ":  {[]string{good, "another"}, keystore.ErrTampered},
		"other store": {[]string{formatItem(keyKind, keystore.StoreID{9}, "x").Reveal()}, keystore.ErrTampered},
	} {
		t.Run(name, func(t *testing.T) {
			k, service := scripted(t, secretservicetest.Options{})
			for _, value := range test.values {
				service.Add(account, value)
			}
			key, err := LoadKey(k.ctx, k.backend, store, account)
			if !errors.Is(err, test.want) || (err == nil) != (key.Reveal() == "AGE-SECRET-KEY-1X") {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestEmptyValueIsReturnedAsSuch(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Add(testAccount, "")
	k.wantValue("")
}

func TestKWalletIsGivenTimeToWrite(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{KWallet: true})
	waited := k.settle(func() {})
	if err := k.create(); err != nil {
		t.Error(err)
	}
	if *waited != 6*time.Hour {
		t.Errorf("waited %v", *waited)
	}
	k.wantValue(testValue)
	service.Change(func(o *secretservicetest.Options) { o.Forgets = true })
	k.wantProblem("Create", k.create(), Unreachable, "lost")
}

// TestKWalletFileIsWaitedFor: with every item that anybody stores KWallet begins
// anew to wait before it writes.
func TestKWalletFileIsWaitedFor(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{KWallet: true})
	file := filepath.Join(k.bus.Getenv("XDG_DATA_HOME"), "kwalletd", "login.kwl")
	check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	check(t, os.WriteFile(file, nil, 0o600))
	long := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(file, long, long))
	var waited *time.Duration
	waited = k.settle(func() {
		if *waited == 10*time.Hour { // others have stored meanwhile
			check(t, os.Chtimes(file, long, long.Add(time.Minute)))
		}
	})
	if err := k.create(); err != nil || *waited != 10*time.Hour {
		t.Errorf("%v after %v, want to wait for the file to change", err, *waited)
	}
	waited = k.settle(func() {})
	k.wantProblem("Create", k.create(), Unreachable, "does not write")
	if *waited != 30*time.Hour {
		t.Errorf("gave up after %v", *waited)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeePassXCIsGivenTimeToSave, and its locked database is unlocked before it
// is searched.
func TestKeePassXCIsGivenTimeToSave(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{KeePassXC: true})
	waited := k.settle(func() {})
	if err := k.create(); err != nil || *waited != time.Hour {
		t.Errorf("%v after %v", err, *waited)
	}
	service.Change(func(o *secretservicetest.Options) { o.Locked = true })
	searches := service.Calls("SearchItems")
	k.bus.Setenv("DISPLAY", "")
	_, err := k.backend.Get(k.ctx, testAccount)
	k.wantProblem("Get", err, Locked, "locked")
	if n := service.Calls("SearchItems") - searches; n > 0 {
		t.Errorf("a locked database was searched %d times", n)
	}
}

// settle makes the waits for wallets as short as meanwhile lasts, and adds them up.
func (k *kit) settle(meanwhile func()) (waited *time.Duration) {
	waited = new(time.Duration)
	k.backend.limits.settle, k.backend.limits.saved = 6*time.Hour, time.Hour
	k.backend.limits.after = func(d time.Duration) <-chan time.Time {
		*waited += d
		meanwhile()
		now := make(chan time.Time, 1)
		now <- time.Time{}
		return now
	}
	return waited
}

func TestOtherKeyringsAreNotWaitedFor(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{})
	waited := k.settle(func() {})
	if err := k.create(); err != nil || *waited > 0 {
		t.Errorf("%v, waited %v", err, *waited)
	}
}

func TestItemOfAKWalletThatEndsMeanwhileIsNotDurable(t *testing.T) {
	for name, another := range map[string]bool{"ended": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			k, service := scripted(t, secretservicetest.Options{KWallet: true})
			k.settle(sync.OnceFunc(func() {
				service.Stop()
				desktoptest.Until(t, "it is gone", func() bool { return !k.bus.Owns(secretsName) })
				if another {
					secretservicetest.New(t, k.bus, secretservicetest.Options{KWallet: true}).Add(testAccount, "")
				}
			}))
			k.wantProblem("Create", k.create(), Unreachable, "before it had written")
		})
	}
}

func TestItemOfAKWalletThatIsNotWaitedForIsNotDurable(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{KWallet: true})
	ctx, cancel := context.WithCancel(k.ctx)
	k.backend.limits.settle = time.Hour
	k.backend.limits.after = func(time.Duration) <-chan time.Time {
		cancel()
		return nil
	}
	err := k.backend.Create(ctx, testAccount, keystore.NewSecret(testValue))
	k.wantError("Create", err, context.Canceled)
}

func TestConnectionThatDiedIsReplaced(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Add(testAccount, testValue)
	k.wantValue(testValue)
	// The service restarts: our session is none of the new one's.
	service.Stop()
	service = secretservicetest.New(t, k.bus, secretservicetest.Options{})
	service.Add(testAccount, "new")
	k.wantValue("new")
	// The whole bus restarts.
	k.bus.Stop()
	k.bus.Start()
	secretservicetest.New(t, k.bus, secretservicetest.Options{}).Add(testAccount, "newest")
	k.wantValue("newest")
	k.bus.Stop()
	k.bus.Start()
	secretservicetest.New(t, k.bus, secretservicetest.Options{})
	if err := k.create(); err != nil {
		t.Error(err)
	}
}

func TestLostSessionIsReplaced(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Add(testAccount, testValue)
	k.wantValue(testValue)
	service.LoseSessions()
	k.wantValue(testValue)
}

func TestAmbiguousSessionKeyIsNotUsed(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{ZeroByte: true})
	service.Add(testAccount, testValue)
	k.wantValue(testValue)
	desktoptest.Until(t, "the first session is closed", func() bool { return service.Sessions() == 1 })
	if n := service.Calls("OpenSession"); n < 2 {
		t.Errorf("%d sessions were opened", n)
	}
}

func TestServiceThatEndsUnderACallIsUnreachable(t *testing.T) {
	for _, method := range []string{"SearchItems", "OpenSession", "GetSecret"} {
		k, service := scripted(t, secretservicetest.Options{})
		service.Add(testAccount, testValue)
		service.Change(func(o *secretservicetest.Options) { o.Before = stopAt(service, method) })
		k.wantProblem(method, k.getError(), Absent, "no program") // asked again: nobody is there
	}
}

func TestCreateIsNotRepeated(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	service.Change(func(o *secretservicetest.Options) { o.Before = stopAt(service, "CreateItem") })
	// Asked again it would say that nobody is there, as above.
	k.wantProblem("Create", k.create(), Unreachable, "ended")
	if n := service.Calls("CreateItem"); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// stopAt ends the service when it is called for a method.
func stopAt(service *secretservicetest.Service, method string) func(string) {
	return func(called string) {
		if called == method {
			service.Stop()
		}
	}
}

func TestCloseEndsCallsUnderWay(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Hang: "SearchItems"})
	clients := len(k.bus.Clients())
	service.Change(func(o *secretservicetest.Options) {
		o.Before = func(method string) {
			if method == "SearchItems" {
				go k.backend.Close()
			}
		}
	})
	k.wantProblem("Get", k.getError(), Unreachable, "ended")
	desktoptest.Until(t, "the connection is closed", func() bool { return len(k.bus.Clients()) == clients })
	if service.Calls("SearchItems") != 1 {
		t.Error("it was tried again")
	}
}
