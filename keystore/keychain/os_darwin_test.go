package keychain

import (
	"os"
	"testing"
)

// TestOSKeychain writes to the user's own login keychain, and tidies up. It is
// for machines that are there for tests, and for whoever says so.
func TestOSKeychain(t *testing.T) {
	if os.Getenv("GLOBUS_KEYS_TEST_KEYCHAIN") != "os" {
		t.Skip("it would write to your own login keychain: set GLOBUS_KEYS_TEST_KEYCHAIN=os if it may")
	}
	testContract(t, Open(nil), 5)
}
