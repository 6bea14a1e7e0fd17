package sqliteadapter

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// The figures stand in docs/benchmarks.md. What is compared takes turns, one call each,
// so that what else the machine does hits all alike; medians are reported:
//
//	plain-µs  the driver alone: this schema, nothing sealed, prepared statements
//	seal-µs   what the seal takes of a call of ours
//	times     of ours without the seal, beside plain
func BenchmarkGet(b *testing.B) {
	for _, records := range []int{1, 1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) { benchmarkGet(b, records) })
	}
}

func benchmarkGet(b *testing.B, records int) {
	a := newLarge(b, filepath.Join(b.TempDir(), "logins.db"), records)
	p := newPlain(b, records)
	keys := readable(records)
	sealer, sealed := sealing(b, a, keys[0])
	ctx := context.Background()
	var c comparison
	for n := 0; b.Loop(); n++ {
		k := keys[n%len(keys)]
		c.time(b, &c.plain, func() error { return p.get(k) })
		c.time(b, &c.seal, func() error { _, err := sealer.Open(ctx, keys[0], sealed); return err })
		c.time(b, &c.ours, func() error { return getRecord(ctx, a, k) })
	}
	c.report(b)
}

// BenchmarkPut overwrites one record of a thousand, durably.
func BenchmarkPut(b *testing.B) {
	const records = 1_000
	a := newLarge(b, filepath.Join(b.TempDir(), "logins.db"), records)
	p := newPlain(b, records)
	keys := readable(records)
	sealer, _ := sealing(b, a, keys[0])
	ctx := context.Background()
	var c comparison
	for n := 0; b.Loop(); n++ {
		k := keys[n%len(keys)]
		c.time(b, &c.seal, func() error { _, err := sealer.Seal(ctx, k, payload(k)); return err })
		c.time(b, &c.plain, func() error { return p.put(k, n) }) // after the seal, as ours: a sync right behind another is quicker
		c.time(b, &c.ours, func() error {
			return a.Update(ctx, func(w keystore.Writer) error { return w.Put(k, payload(k)) })
		})
	}
	c.report(b)
}

// sealing returns the Sealer of a store and a record as it lies there.
func sealing(b *testing.B, a *Adapter, k keystore.RecordKey) (sealer keystore.Sealer, sealed []byte) {
	b.Helper()
	_, sealer, err := a.Sealer(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	err = a.View(b.Context(), func(r keystore.Reader) error {
		sealed, err = r.(keystore.SealedReader).Sealed(k)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return sealer, sealed
}

// comparison is how long calls took.
type comparison struct{ plain, seal, ours []time.Duration }

func (c *comparison) time(b *testing.B, to *[]time.Duration, call func() error) {
	start := time.Now()
	err := call()
	*to = append(*to, time.Since(start))
	if err != nil {
		b.Fatal(err)
	}
}

func (c *comparison) report(b *testing.B) {
	rest := make([]time.Duration, len(c.ours))
	for i := range rest {
		rest[i] = c.ours[i] - c.seal[i]
	}
	b.ReportMetric(0, "ns/op") // all three together
	b.ReportMetric(median(c.plain), "plain-µs")
	b.ReportMetric(median(c.seal), "seal-µs")
	b.ReportMetric(median(c.ours), "µs")
	b.ReportMetric(median(rest)/median(c.plain), "times")
}

// median is in microseconds.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2]) / float64(time.Microsecond)
}

// plain is a database as a program has it that uses the driver and nothing else.
type plain struct {
	db          *sql.DB
	read, write *sql.Stmt
}

func newPlain(b *testing.B, records int) plain {
	b.Helper()
	dir := b.TempDir()
	a := newLarge(b, filepath.Join(dir, "plain.db"), records) // for its tables
	if err := a.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite3", filepath.Join(dir, "plain.db")+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`UPDATE records SET age = ?`, payload(readable(records)[0])); err != nil {
		b.Fatal(err)
	}
	p := plain{db: db}
	if p.read, err = db.Prepare(`SELECT age FROM records WHERE kind = ? AND namespace = ? AND name = ?`); err != nil {
		b.Fatal(err)
	}
	if p.write, err = db.Prepare(`UPDATE records SET age = ? WHERE kind = ? AND namespace = ? AND name = ?`); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p plain) get(k keystore.RecordKey) error {
	var value []byte
	return p.read.QueryRow(string(k.Kind), k.Namespace, k.Name).Scan(&value)
}

// put is one transaction. The value is another each time: SQLite writes no page that stays
// as it is.
func (p plain) put(k keystore.RecordKey, n int) error {
	tx, err := p.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Stmt(p.write).Exec(fmt.Appendf(nil, `"%01000d"`, n), string(k.Kind), k.Namespace, k.Name); err != nil {
		return err
	}
	return tx.Commit()
}
