//go:build unix && !darwin

package secretservice

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestGroupIsASafePrime(t *testing.T) {
	half := new(big.Int).Rsh(prime, 1)
	if prime.BitLen() != 1024 || !prime.ProbablyPrime(10) || !half.ProbablyPrime(10) {
		t.Error("the prime is mistyped")
	}
}

func TestBothSidesAgree(t *testing.T) {
	e, f := newExponent(), newExponent()
	ours, ourPublic := e.secret, e.public
	theirs, theirPublic := f.secret, f.public
	a, clear, err := agree(ours, theirPublic)
	b, clearToo, errToo := agree(theirs, ourPublic)
	if err != nil || errToo != nil || clear != clearToo || !bytes.Equal(a, b) || len(a) != 16 {
		t.Errorf("%x, %v, %v; %x, %v, %v", a, clear, err, b, clearToo, errToo)
	}
	if again := newExponent().secret; again.Cmp(ours) == 0 || ours.BitLen() < 200 {
		t.Error("the exponent is not random")
	}
}

func TestPublicValueOutsideOfTheGroupIsRefused(t *testing.T) {
	ours := newExponent().secret
	more := new(big.Int).Add(prime, big.NewInt(2))
	for name, peer := range map[string][]byte{
		"nothing": {}, "0": {0}, "1": {1}, "p-1": lastValue.Bytes(), "p": prime.Bytes(), "p+2": more.Bytes(),
		"too long": append([]byte{1}, make([]byte, 128)...), "absurdly long": append(make([]byte, 300), 2),
	} {
		if _, _, err := agree(ours, peer); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := agree(ours, []byte{2}); err != nil {
		t.Errorf("2: %v", err)
	}
}

// A shared number that begins with a zero byte is hashed with it, and reported.
func TestAmbiguousKeyIsReported(t *testing.T) {
	for i := int64(1024); i < 20000; i++ {
		shared := new(big.Int).Exp(generator, big.NewInt(i), prime)
		ambiguous := shared.BitLen() <= 127*8
		key, clear, err := agree(big.NewInt(i), []byte{2})
		want, _ := hkdf.Key(sha256.New, shared.FillBytes(make([]byte, 128)), nil, "", 16)
		if err != nil || clear == ambiguous || !bytes.Equal(key, want) {
			t.Fatalf("exponent %d: %x, %v, %v; want %x", i, key, clear, err, want)
		}
		if ambiguous {
			return
		}
	}
	t.Error("no exponent was ambiguous")
}

func TestSealedValueOpens(t *testing.T) {
	s := &session{path: "/s", key: make([]byte, 16)}
	for size := range 100 {
		value := strings.Repeat("x", size)
		sealed := s.seal(value)
		if got, err := s.open(sealed); err != nil || got != value {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
		if size > 3 && bytes.Contains(sealed.Value, []byte(value[:4])) {
			t.Errorf("%d bytes: not encrypted", size)
		}
	}
	if a, b := s.seal("x"), s.seal("x"); bytes.Equal(a.Value, b.Value) {
		t.Error("the initialization vector is always the same")
	}
}

func TestWrongPaddingIsRefused(t *testing.T) {
	s := &session{path: "/s", key: make([]byte, 16)}
	for _, tail := range [][]byte{{0}, {17}, {255}, {1, 2}, {3, 2, 3}} {
		block := append(make([]byte, 16-len(tail)), tail...)
		sealed := s.seal(string(block)) // two blocks: ours, and one of padding
		sealed.Value = sealed.Value[:16]
		if got, err := s.open(sealed); !errors.Is(err, ErrBadSecret) {
			t.Errorf("padding %v: %q, %v", tail, got, err)
		}
	}
}

// TestPublicNumberIsNotNegative to a program that takes it for a signed one: one
// in 256 would be.
func TestPublicNumberIsNotNegative(t *testing.T) {
	for range 1500 {
		if newExponent().public[0] == 0xff {
			t.Fatal("a public number begins with FF")
		}
	}
}
