package sqliteadapter

import (
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
)

// TestRemarks says of each mode what it is, and nothing of the usual one.
func TestRemarks(t *testing.T) {
	for mode, want := range map[string]string{"WAL": "", "TRUNCATE": "rollback journal", "hidden": "names are hidden", "lossy": "power cut"} {
		s := newSite(t, mode)
		a := s.open(t)
		if got, err := a.Remarks(t.Context()); err != nil || len(got) > 0 {
			t.Errorf("%s: without a store: %q, %v", mode, got, err)
		}
		ok(t, "create", makeStore(t.Context(), a, base))
		got, err := a.Remarks(t.Context())
		if err != nil || (len(got) == 0) != (want == "") || want != "" && !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, %v", mode, got, err)
		}
	}
	a, err := Open(Memory, adaptertest.KeyFiles(t.TempDir()).Unseal, nil)
	ok(t, "Open", err)
	defer a.Close()
	if got, err := a.Remarks(t.Context()); err != nil || !slices.Equal(got, []string{"the store is in memory and ends with this program"}) {
		t.Errorf("in memory: %q, %v", got, err)
	}
}
