package keychain_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

// TestAdapterConformanceOnWindows writes to the user's own Credential Manager,
// and tidies up.
func TestAdapterConformanceOnWindows(t *testing.T) {
	if os.Getenv("GLOBUS_KEYS_TEST_KEYCHAIN") != "os" {
		t.Skip("it would write to your own Credential Manager: set GLOBUS_KEYS_TEST_KEYCHAIN=os if it may")
	}
	notes := filepath.Join(t.TempDir(), "accounts") // of what all processes make
	if given := os.Getenv("GLOBUS_KEYS_TEST_ADAPTER_NOTES"); given != "" {
		notes = given
	}
	t.Setenv("GLOBUS_KEYS_TEST_ADAPTER_NOTES", notes)
	t.Cleanup(func() { deleteAll(t, notes) })
	open := func(dir string) (keystore.StorageAdapter, error) {
		return keychain.OpenAdapter(filepath.Join(dir, "index.json"), noting{keychain.Open(nil), notes}, nil)
	}
	keystoretest.Run(t, open, &keystoretest.Options{MaxValue: keychain.MaxRecord, Persistent: true, Processes: true})
}

// TestSweptOnWindows: nothing is left that the index does not name.
func TestSweptOnWindows(t *testing.T) {
	if os.Getenv("GLOBUS_KEYS_TEST_KEYCHAIN") != "os" {
		t.Skip("it would write to your own Credential Manager: set GLOBUS_KEYS_TEST_KEYCHAIN=os if it may")
	}
	p := newPlace(t)
	notes := filepath.Join(p.dir, "accounts")
	t.Cleanup(func() { deleteAll(t, notes) })
	b := noting{keychain.Open(nil), notes}
	a := p.over(b)
	if err := (change{"one": sized(16, "o")}).create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := (change{"one": sized(2, "n")}).update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	p.later(2 * time.Minute)
	if err := (change{"two": "2"}).update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	live, litter, err := keychain.Accounts(p.bytes())
	if err != nil || len(litter) > 0 {
		t.Errorf("listed: %v, %v", litter, err)
	}
	for _, account := range noted(t, notes) {
		if _, err := b.Get(t.Context(), account); (err == nil) != slices.Contains(live, account) {
			t.Errorf("%s: %v", account, err)
		}
	}
}

// noting is a keychain that writes down what is made, before it is.
type noting struct {
	keychain.Backend
	notes string
}

func (b noting) Create(ctx context.Context, account string, value keystore.Secret) error {
	f, err := os.OpenFile(b.notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(account + "\n"); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return b.Backend.Create(ctx, account, value)
}

func noted(t *testing.T, notes string) []string {
	data, err := os.ReadFile(notes)
	if err != nil {
		t.Error(err)
	}
	return strings.Fields(string(bytes.TrimSpace(data)))
}

func deleteAll(t *testing.T, notes string) {
	b := keychain.Open(nil)
	all := noted(t, notes)
	for _, account := range all {
		if err := b.Delete(context.Background(), account); err != nil {
			t.Errorf("item %s is left: %v", account, err)
		}
	}
	t.Logf("%d items were made", len(all))
}
