package keychain_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

var anyStore = keystore.StoreID{1, 2, 3}

const fakeKey = "AGE-SECRET-KEY-1FAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFA"

func newKeychain(t *testing.T) *keychaintest.Backend { return keychaintest.New(t.TempDir()) }

// TestKeyItemIsWhatTheFormatSays, byte for byte: the account, and the line that
// a user recovers his key from.
func TestKeyItemIsWhatTheFormatSays(t *testing.T) {
	b := newKeychain(t)
	account, err := keychain.CreateKey(t.Context(), b, anyStore, keystore.NewSecret(fakeKey))
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "v1/01020300000000000000000000000000/key/"
	random, ok := strings.CutPrefix(account, prefix)
	if !ok || len(random) != 16 || strings.Trim(random, "0123456789abcdef") != "" {
		t.Errorf("account %q, want %s and 16 hexadecimal digits", account, prefix)
	}
	value, err := b.Get(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	// printf %s LINE | gzip -c | tail -c8 | od -An -tx4 -N4 gives the checksum.
	const line = "gk1.key.01020300000000000000000000000000." + fakeKey + ".af11b1e0"
	if value.Reveal() != line {
		t.Errorf("item %q, want %q", value.Reveal(), line)
	}
	got, err := keychain.LoadKey(t.Context(), b, anyStore, account)
	if err != nil || got.Reveal() != fakeKey {
		t.Errorf("loaded %q, %v", got.Reveal(), err)
	}
	second, err := keychain.CreateKey(t.Context(), b, anyStore, keystore.NewSecret(fakeKey))
	if err != nil || second == account {
		t.Errorf("a second item is %q, %v: items are written once", second, err)
	}
}

// TestDamagedKeyItemsAreNamed: each byte changed, each length cut.
func TestDamagedKeyItemsAreNamed(t *testing.T) {
	b := newKeychain(t)
	account, err := keychain.CreateKey(t.Context(), b, anyStore, keystore.NewSecret(fakeKey))
	if err != nil {
		t.Fatal(err)
	}
	value, err := b.Get(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	line := value.Reveal()
	refused := func(bad string) {
		t.Helper()
		if err := b.Set(account, bad); err != nil {
			t.Fatal(err)
		}
		_, err := keychain.LoadKey(t.Context(), b, anyStore, account)
		if !errors.Is(err, keychain.ErrKeyLost) || !errors.Is(err, keystore.ErrCorrupt) || !strings.Contains(err.Error(), account) {
			t.Errorf("item %q: %v, want ErrKeyLost that names the item", bad, err)
		}
		if err != nil && strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	for i := range len(line) {
		refused(line[:i])
		refused(line[:i] + string(line[i]^1) + line[i+1:])
	}
	refused(line + "\n")
	refused(line + line)
	if err := b.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, err := keychain.LoadKey(t.Context(), b, anyStore, account); !errors.Is(err, keychain.ErrKeyLost) {
		t.Errorf("item gone: %v, want ErrKeyLost", err)
	}
}

// TestOnlyOwnKeyItemsAreAskedFor: a slot is a hint from an unauthenticated
// place; what it names is not looked up unless CreateKey could have made it.
func TestOnlyOwnKeyItemsAreAskedFor(t *testing.T) {
	b := newKeychain(t)
	own := "v1/" + anyStore.String() + "/key/"
	for _, account := range []string{
		"", "login", own, own + "zz", own + "../x", "v1/" + keystore.StoreID{9}.String() + "/key/0011223344556677",
		"v1/" + anyStore.String() + "/rec/0011223344556677/0", strings.ToUpper(own) + "00", own + "00:00", own + "00\n",
	} {
		if _, err := keychain.LoadKey(t.Context(), b, anyStore, account); !errors.Is(err, keystore.ErrTampered) {
			t.Errorf("load %q: %v, want ErrTampered", account, err)
		}
		if err := keychain.DeleteKey(t.Context(), b, anyStore, account); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("delete %q: %v, want ErrInvalid", account, err)
		}
	}
	if b.Calls() > 0 {
		t.Errorf("%d keychain calls", b.Calls())
	}
}

// TestLostWriteIsNotReportedAsStored, whatever way the keychain loses it.
func TestLostWriteIsNotReportedAsStored(t *testing.T) {
	for name, lose := range map[string]func(b *keychaintest.Backend, account string){
		"gone":  func(b *keychaintest.Backend, account string) { b.Delete(context.Background(), account) },
		"empty": func(b *keychaintest.Backend, account string) { b.Set(account, "") },
		"cut":   func(b *keychaintest.Backend, account string) { b.Set(account, "gk1.key.0102") },
	} {
		b := newKeychain(t)
		b.After = func(call string, _ int) error {
			if call == "create" {
				all, _ := b.Accounts()
				lose(keychaintest.New(b.Dir), all[0])
			}
			return nil
		}
		if account, err := keychain.CreateKey(t.Context(), b, anyStore, keystore.NewSecret(fakeKey)); err == nil {
			t.Errorf("%s: %s was reported as stored", name, account)
		}
	}
}

func TestItemsThatNotEveryPlatformKeepsAreRefused(t *testing.T) {
	fits := strings.Repeat("x", keychain.MaxItem)
	if err := keychain.CheckItem("v1/a", keystore.NewSecret(fits)); err != nil {
		t.Error(err)
	}
	if err := keychain.CheckItem("v1/a", keystore.NewSecret(fits+"x")); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
	for _, value := range []string{"", "a\nb", "a\x00", "\x7f", "é", "a\tb"} {
		if err := keychain.CheckItem("v1/a", keystore.NewSecret(value)); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("value %q: %v, want ErrInvalid", value, err)
		}
	}
	for _, account := range []string{"", "A", "a:b", "a b", "é", "a\n", strings.Repeat("a", 201)} {
		if err := keychain.CheckItem(account, keystore.NewSecret("x")); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("account %q: %v, want ErrInvalid", account, err)
		}
	}
}

// TestProblemsAreSentinels: what callers match by.
func TestProblemsAreSentinels(t *testing.T) {
	for state, want := range map[keychain.State]error{
		keychain.Absent: keystore.ErrUnavailable, keychain.Unreachable: keystore.ErrUnavailable, keychain.Unsupported: keystore.ErrUnavailable,
		keychain.Locked: keystore.ErrLocked, keychain.Declined: keystore.ErrDeclined,
	} {
		if err := error(&keychain.Problem{State: state, Detail: "why"}); !errors.Is(err, want) || !strings.HasSuffix(err.Error(), ": why") {
			t.Errorf("%v: %v, want %v", state, err, want)
		}
	}
}
