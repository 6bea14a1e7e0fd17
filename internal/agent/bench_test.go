//go:build unix

package agent_test

import (
	"context"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
)

// BenchmarkDerive is one key of a seal, over the socket of an agent in this process.
func BenchmarkDerive(b *testing.B) {
	c := startAt(b, home(b), nil)
	key := fakeKey(1)
	if err := c.Unlock(context.Background(), key, "", hour); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Holder(key.Public).WrapKey(context.Background(), testRecord, seal.Salt{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnectAndDerive is that by a program that has just begun.
func BenchmarkConnectAndDerive(b *testing.B) {
	c := startAt(b, home(b), nil)
	key := fakeKey(1)
	if err := c.Unlock(context.Background(), key, "", hour); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Holder(key.Public).WrapKey(context.Background(), testRecord, seal.Salt{}); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
