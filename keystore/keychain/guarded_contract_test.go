package keychain

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// testContract is what every guarded Backend has to do; the real ones run it,
// too. items are made by each of 16 goroutines. It leaves nothing behind.
func testContract(t *testing.T, b Backend, items int) {
	tidy := &tidyBackend{Backend: b}
	t.Cleanup(func() { tidy.deleteAll(t) })
	for name, test := range map[string]func(*testing.T, Backend){
		"round trip": testRoundTrip,
		"limit":      testLimit,
		"key":        testKey,
		"goroutines": func(t *testing.T, b Backend) { testGoroutines(t, b, items) },
	} {
		t.Run(name, func(t *testing.T) { test(t, tidy) })
	}
	if state, err := b.Probe(t.Context()); state != Ready || err != nil {
		t.Errorf("Probe: %v, %v", state, err)
	}
	if b.Traits().Name == "" {
		t.Error("it has no name")
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// tidyBackend remembers what it has made.
type tidyBackend struct {
	Backend
	mu   sync.Mutex
	made []string // accounts; guarded by mu
}

func (b *tidyBackend) Create(ctx context.Context, account string, value keystore.Secret) error {
	b.mu.Lock()
	b.made = append(b.made, account)
	b.mu.Unlock()
	return b.Backend.Create(ctx, account, value)
}

func (b *tidyBackend) deleteAll(t *testing.T) {
	for _, account := range b.made {
		if checkAccount(account) == nil {
			if err := b.Delete(context.Background(), account); err != nil {
				t.Errorf("item %s is left: %v", account, err)
			}
		}
	}
}

func someStore() (id keystore.StoreID) {
	rand.Read(id[:])
	return id
}

func testRoundTrip(t *testing.T, b Backend) {
	ctx, account := t.Context(), newAccount(someStore(), "test")
	if _, err := b.Get(ctx, account); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	if err := b.Delete(ctx, account); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if err := b.Create(ctx, account, keystore.NewSecret("one")); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(ctx, account, keystore.NewSecret("two")); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("Create a second time: %v, want ErrInvalid", err)
	}
	if got, err := b.Get(ctx, account); err != nil || got.Reveal() != "one" {
		t.Errorf("Get: %q, %v, want the first value", got.Reveal(), err)
	}
	if err := b.Delete(ctx, account); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(ctx, account); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Get of what was deleted: %v, want ErrNotFound", err)
	}
}

// testLimit: the longest account, and the longest value with all characters it
// may have; and one byte more, where wine would have no limit.
func testLimit(t *testing.T, b Backend) {
	var all strings.Builder
	for c := byte(0x20); c < 0x7f; c++ {
		all.WriteByte(c)
	}
	account := newAccount(someStore(), "test")
	account += strings.Repeat("0", 200-len(account))
	value := strings.Repeat(all.String(), 30)[:MaxItem]
	if err := b.Create(t.Context(), account, keystore.NewSecret(value)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(t.Context(), account); err != nil || got.Reveal() != value {
		t.Errorf("an item of %d bytes came back with %d (%v)", len(value), len(got.Reveal()), err)
	}
	account = newAccount(someStore(), "test")
	if err := b.Create(t.Context(), account, keystore.NewSecret(value+"x")); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("an item of %d bytes: %v, want ErrTooLarge", len(value)+1, err)
	}
	if _, err := b.Get(t.Context(), account); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("what was refused: %v, want ErrNotFound", err)
	}
}

func testKey(t *testing.T, b Backend) {
	store, key := someStore(), keystore.NewSecret("AGE-SECRET-KEY-1TEST")
	account, err := CreateKey(t.Context(), b, store, key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := LoadKey(t.Context(), b, store, account); err != nil || got.Reveal() != key.Reveal() {
		t.Errorf("LoadKey: %q, %v", got.Reveal(), err)
	}
	if _, err := LoadKey(t.Context(), b, someStore(), account); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("LoadKey for another store: %v, want ErrTampered", err)
	}
	if err := b.Delete(t.Context(), account); err != nil {
		t.Error(err)
	}
	if _, err := LoadKey(t.Context(), b, store, account); !errors.Is(err, keystore.ErrCorrupt) {
		t.Errorf("LoadKey of what is gone: %v, want ErrCorrupt", err)
	}
}

// testGoroutines: none of their items is lost or mixed up.
func testGoroutines(t *testing.T, b Backend, items int) {
	store := someStore()
	accounts := make([][]string, 16)
	var all sync.WaitGroup
	for n := range accounts {
		all.Go(func() {
			for range items {
				account := newAccount(store, "test")
				accounts[n] = append(accounts[n], account)
				if err := b.Create(t.Context(), account, keystore.NewSecret(account)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, account := range slices.Concat(accounts...) {
		if got, err := b.Get(t.Context(), account); err != nil || got.Reveal() != account {
			t.Errorf("%s holds %q, %v", account, got.Reveal(), err)
		}
	}
}

// TestLargestItemFitsTheCommandLine: go-keyring writes one line to "security
// -i", which reads 4,096 bytes with the NUL at their end and takes the rest for
// another command (go-keyring#84). Quotes count in case it sets any.
func TestLargestItemFitsTheCommandLine(t *testing.T) {
	value := "go-keyring-base64:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("~", MaxItem)))
	account := strings.Repeat("a", 200)
	if err := CheckItem(account, keystore.NewSecret(strings.Repeat("~", MaxItem))); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("add-generic-password -U -s '%s' -a '%s' -w '%s'\n", Service, account, value)
	if len(line) > 4095 {
		t.Errorf("the line of the largest item has %d bytes, security takes 4,095", len(line))
	}
	t.Logf("%d bytes of 4,095", len(line))
}
