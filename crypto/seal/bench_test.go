package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/globus-keys/globus-keys/crypto/identity"
)

// The payload of all benchmarks has 1 KiB. Compare at GOMAXPROCS=1: the garbage
// collector runs beside otherwise, and its time is not counted.
//
//	GOMAXPROCS=1 go test -run '^$' -bench . -benchmem ./crypto/seal
func benchPayload() []byte {
	return fmt.Appendf(nil, "%q", strings.Repeat("x", 1022))
}

func BenchmarkSealedRead(b *testing.B) {
	for _, v := range variants(b) {
		b.Run(v.name, func(b *testing.B) {
			record := sealed(b, v.sealer, testKey, benchPayload())
			for b.Loop() {
				if _, err := v.sealer.Open(context.Background(), testKey, record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSealedWrite(b *testing.B) {
	for _, v := range variants(b) {
		b.Run(v.name, func(b *testing.B) {
			payload := benchPayload()
			for b.Loop() {
				if _, err := v.sealer.Seal(context.Background(), testKey, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStockAgeRead is what a program does that uses age for storage: the
// identity is parsed once, each record decrypted with it.
func BenchmarkStockAgeRead(b *testing.B) {
	id := newID(b, identity.New)
	file := stockAge(b, id, benchPayload())
	for b.Loop() {
		r, err := age.Decrypt(bytes.NewReader(file), id.AgeIdentity())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadAll(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStockAgeWrite(b *testing.B) {
	id := newID(b, identity.New)
	payload := benchPayload()
	for b.Loop() {
		stockAge(b, id, payload)
	}
}

func stockAge(b *testing.B, id *identity.Identity, payload []byte) []byte {
	var file bytes.Buffer
	w, err := age.Encrypt(&file, id.Recipient())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Write(payload); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return file.Bytes()
}

// BenchmarkRawChaCha20Poly1305 is the floor of a read: one AEAD and nothing else.
func BenchmarkRawChaCha20Poly1305(b *testing.B) {
	secret := make([]byte, chacha20poly1305.KeySize)
	rand.Read(secret)
	nonce := make([]byte, chacha20poly1305.NonceSize)
	aead, err := chacha20poly1305.New(secret)
	if err != nil {
		b.Fatal(err)
	}
	file := aead.Seal(nil, nonce, benchPayload(), nil)
	for b.Loop() {
		if _, err := aead.Open(nil, nonce, file, nil); err != nil {
			b.Fatal(err)
		}
	}
}
