package secretservicetest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"math/big"

	"github.com/godbus/dbus/v5"
)

// The prime of RFC 2409, 6.2, as its formula: written down apart from the
// client's, so that a mistake in one shows.
// 2^1024 - 2^960 - 1 + 2^64 * ( [2^894 pi] + 129093 )
var prime = func() *big.Int {
	p := new(big.Int).Lsh(big.NewInt(1), 1024)
	p.Sub(p, new(big.Int).Lsh(big.NewInt(1), 960))
	p.Sub(p, big.NewInt(1))
	middle := new(big.Int).Add(pi(894), big.NewInt(129093))
	return p.Add(p, middle.Lsh(middle, 64))
}()

// pi returns [2^bits pi], by Machin's formula.
func pi(bits uint) *big.Int {
	const spare = 64
	one := new(big.Int).Lsh(big.NewInt(1), bits+spare)
	a, b := arctan(one, 5), arctan(one, 239)
	sum := a.Mul(a, big.NewInt(16))
	sum.Sub(sum, b.Mul(b, big.NewInt(4)))
	return sum.Rsh(sum, spare)
}

// arctan returns one * arctan(1/x).
func arctan(one *big.Int, x int64) *big.Int {
	square := big.NewInt(x * x)
	term := new(big.Int).Quo(one, big.NewInt(x))
	sum := new(big.Int).Set(term)
	for n := int64(3); term.Sign() != 0; n += 2 {
		term.Quo(term, square)
		part := new(big.Int).Quo(term, big.NewInt(n))
		if n%4 == 3 {
			part.Neg(part)
		}
		sum.Add(sum, part)
	}
	return sum
}

func (s *Service) openSession(c call) ([]any, error) {
	input, _ := c.args[1].(dbus.Variant)
	path := s.object("session")
	switch {
	case c.args[0] == "plain":
		s.sessions[path] = nil
		return []any{dbus.MakeVariant(""), path}, nil
	case c.args[0] != "dh-ietf1024-sha256-aes128-cbc-pkcs7" || s.opts.PlainOnly:
		return nil, dbus.NewError("org.freedesktop.DBus.Error.NotSupported", []any{"no such algorithm"})
	}
	bytes, _ := input.Value().([]byte)
	public := new(big.Int).SetBytes(bytes)
	zero := s.opts.ZeroByte && s.calls["OpenSession"] == 1
	exponent, shared := agree(public, zero)
	key, err := hkdf.Key(sha256.New, shared, nil, "", 16)
	s.sessions[path] = key
	return []any{dbus.MakeVariant(new(big.Int).Exp(big.NewInt(2), exponent, prime).Bytes()), path}, err
}

// agree returns the service's exponent and what the key is made of.
func agree(public *big.Int, zero bool) (exponent *big.Int, shared []byte) {
	for {
		exponent, _ = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 256))
		number := new(big.Int).Exp(public, exponent, prime)
		switch {
		case !zero:
			return exponent, number.FillBytes(make([]byte, 128))
		case number.BitLen() <= 127*8:
			return exponent, number.Bytes()
		}
	}
}

func encrypt(key []byte, value string) (iv, sealed []byte) {
	if key == nil {
		return []byte{}, []byte(value)
	}
	block, _ := aes.NewCipher(key)
	iv = make([]byte, 16)
	rand.Read(iv)
	n := 16 - len(value)%16
	sealed = []byte(value)
	for range n {
		sealed = append(sealed, byte(n))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)
	return iv, sealed
}

func decrypt(key, iv, sealed []byte) string {
	if key == nil {
		return string(sealed)
	}
	if len(iv) != 16 || len(sealed) == 0 || len(sealed)%16 != 0 {
		return "not encrypted"
	}
	block, _ := aes.NewCipher(key)
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, sealed)
	if n := int(plain[len(plain)-1]); n >= 1 && n <= 16 {
		return string(plain[:len(plain)-n])
	}
	return "wrong key"
}
