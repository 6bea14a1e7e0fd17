package keystore_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The domain knows no adapter, no age and no command: everything points at it.
func TestDomainNeedsOnlyTheStandardLibrary(t *testing.T) {
	const module = "github.com/globus-keys/globus-keys/"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if want := []string{module + "internal/awake", module + "internal/erase", module + "internal/strictjson", module + "keystore"}; !slices.Equal(got, want) {
		t.Errorf("package keystore needs %q, want %q", got, want)
	}
}
