package fileadapter

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// The figures stand in docs/benchmarks.md. Records are of a Globus login's size.

func BenchmarkGet(b *testing.B) { atSizes(b, benchmarkGet) }
func BenchmarkPut(b *testing.B) { atSizes(b, benchmarkPut) }

func atSizes(b *testing.B, bench func(*testing.B, *Adapter)) {
	k := newKeychain(b)
	for _, records := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			a := k.open(b, filepath.Join(b.TempDir(), "store", "tokens.json"))
			fill := make(map[string]string, records)
			for n := range records {
				fill[fmt.Sprintf("rs%d.example", n)] = fmt.Sprintf("%01000d", n)
			}
			if err := makeStore(b.Context(), a, fill); err != nil {
				b.Fatal(err)
			}
			bench(b, a)
		})
	}
}

func benchmarkGet(b *testing.B, a *Adapter) {
	b.ReportAllocs()
	for b.Loop() {
		err := a.View(b.Context(), func(r keystore.Reader) error {
			_, err := r.Get(tokenKey("rs5.example"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkPut(b *testing.B, a *Adapter) {
	b.ReportAllocs()
	payload := []byte(fmt.Sprintf("%q", fmt.Sprintf("%01000d", 7)))
	for b.Loop() {
		err := a.Update(b.Context(), func(w keystore.Writer) error { return w.Put(tokenKey("rs5.example"), payload) })
		if err != nil {
			b.Fatal(err)
		}
	}
}
