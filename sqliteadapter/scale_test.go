package sqliteadapter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// large is how many records a store of these tests has beside the one with a single record.
var large = []int{1_000, 100_000}

// TestGetCostsTheSame with one record and with a hundred thousand: as many allocations, and
// no more pages than the trees of an index and a table are deep.
func TestGetCostsTheSame(t *testing.T) {
	dir := t.TempDir()
	one := costOfGet(t, filepath.Join(dir, "one.db"), 1)
	for _, records := range large {
		many := costOfGet(t, filepath.Join(dir, strconv.Itoa(records)+".db"), records)
		t.Logf("%d records: %+v; one: %+v", records, many, one)
		if d := many.allocs - one.allocs; d < -1 || d > 1 {
			t.Errorf("a get among %d records makes %v allocations, alone %v", records, many.allocs, one.allocs)
		}
		// Two records are looked up, this and the meta record, each in an index and a
		// table; a tree of a hundred thousand has three levels, that of one record one.
		if most := one.reads + 2*2*2; many.reads > most {
			t.Errorf("a cold get among %d records makes %d reads, alone %d: want %d at most", records, many.reads, one.reads, most)
		}
	}
}

type cost struct {
	allocs float64
	reads  int // system calls of the first get of an adapter, its opening included
}

func costOfGet(t *testing.T, path string, records int) cost {
	a := newLarge(t, path, records)
	keys := readable(records)
	k := keys[len(keys)-1] // a search from the first on would come to it late
	c := cost{allocs: testing.AllocsPerRun(100, func() { mustGet(t, a, k) }), reads: 1 << 20}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the runtime reads, too, now and then
		cold := openStore(t, path)
		before := readCalls(t)
		mustGet(t, cold, k)
		c.reads = min(c.reads, readCalls(t)-before)
		cold.Close()
	}
	return c
}

func mustGet(t *testing.T, a *Adapter, k keystore.RecordKey) {
	if err := getRecord(context.Background(), a, k); err != nil {
		t.Fatal(err)
	}
}

// readCalls is how many reads this process has made of the kernel.
func readCalls(t *testing.T) int {
	if runtime.GOOS != "linux" {
		t.Skip("reads are counted in /proc, which only Linux has; CI does so there")
	}
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		testenv.Missing(t, "the kernel does not count reads: "+err.Error())
	}
	for line := range strings.Lines(string(data)) {
		if count, ok := strings.CutPrefix(line, "syscr: "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%q", data)
	return 0
}

// TestAllStreams: what lives in memory while all records are read does not grow with them,
// and nothing of the database is held in the loop body.
func TestAllStreams(t *testing.T) {
	dir := t.TempDir()
	few := heapOfAll(t, filepath.Join(dir, "few.db"), 1_000)
	many := heapOfAll(t, filepath.Join(dir, "many.db"), 20_000)
	t.Logf("live heap: %d KiB with 1,000 records, %d KiB with 20,000", few>>10, many>>10)
	if many > few+256<<10 { // their names alone have a megabyte
		t.Errorf("%d bytes live with 20,000 records, %d with 1,000", many, few)
	}
}

// heapOfAll returns the most bytes that were live in a loop over all records.
func heapOfAll(t *testing.T, path string, records int) (most uint64) {
	a := newLarge(t, path, records)
	store := keystore.New(a, nil)
	var base, now runtime.MemStats
	n, read := 0, 0
	runtime.GC()
	runtime.ReadMemStats(&base)
	for _, err := range store.All(t.Context()) {
		if n++; err == nil {
			read++
		}
		if n%(records/8) != 0 {
			continue
		}
		if c := a.disk.db.Stats(); c.InUse != 0 {
			t.Fatalf("%d connections are in use in the loop body", c.InUse)
		}
		runtime.GC()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc)
	}
	if n != records {
		t.Fatalf("%d records, want %d", n, records)
	}
	return most - min(most, base.HeapAlloc)
}

// TestDamageCostsOneRecord: what is damaged is named, among many too, and the others are
// read as before.
func TestDamageCostsOneRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logins.db")
	keys := make([]keystore.RecordKey, 300) // more than a page of names
	for n := range keys {
		keys[n] = tokenKey(numbered(n))
	}
	a := newStore(t, path, keys...)
	mustGet(t, a, keys[0]) // opens the database
	corrupt := `UPDATE records SET age = substr(age, 1, 900) WHERE name = ?`
	if _, err := a.disk.db.Exec(corrupt, keys[200].Name); err != nil {
		t.Fatal(err)
	}
	var read, bad int
	for token, err := range keystore.New(a, nil).All(t.Context()) {
		e, _ := errors.AsType[*keystore.Error](err)
		switch {
		case err == nil && token.ResourceServer == keys[read+bad].Name:
			read++
		case damaged(err) && e.Key == keys[200] && read == 200:
			bad++
		default:
			t.Fatalf("after %d logins: %q, %v", read+bad, token.ResourceServer, err)
		}
	}
	if read != len(keys)-1 || bad != 1 {
		t.Errorf("%d logins are read and %d are damaged, want %d and 1", read, bad, len(keys)-1)
	}
}

// TestNamespacesAreSkippedTo: their names cost as many page reads as there are of them,
// however many records each holds.
func TestNamespacesAreSkippedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logins.db")
	a := newLarge(t, path, 50_000)
	other := keystore.RecordKey{Namespace: "other", Kind: keystore.KindToken, Name: "rs"}
	err := a.Update(t.Context(), func(w keystore.Writer) error { return w.Put(other, payload(other)) })
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	store := keystore.New(openStore(t, path), nil)
	before := readCalls(t)
	found, err := store.Namespaces(t.Context())
	if reads := readCalls(t) - before; err != nil || reads > 40 || !slices.Equal(found, []string{"DEFAULT", "other"}) {
		t.Errorf("%q, %v after %d reads, want two namespaces after some 20", found, err, reads)
	}
}
