//go:build unix && !darwin

package secretservice

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/godbus/dbus/v5"
)

// algorithm is how secrets cross the bus: encrypted with a key that a monitor of
// the bus does not learn.
const algorithm = "dh-ietf1024-sha256-aes128-cbc-pkcs7"

// prime is that of the second Oakley group (RFC 2409, 6.2); the generator is 2.
// It is weak by today's measure, and all that the protocol has. What it keeps
// out are monitors and logs of the bus, not who could break 1024 bits.
var prime, _ = new(big.Int).SetString(""+
	"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"+
	"020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"+
	"4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF", 16)

var (
	generator = big.NewInt(2)
	lastValue = new(big.Int).Sub(prime, big.NewInt(1)) // p-1, of order 2
)

const (
	primeSize = 128
	// exponentSize is in bytes. Breaking a 1024-bit group takes about 2^80
	// steps, an exponent of 256 bits 2^128: a longer one would only be slower,
	// four times. It is safe to be short because (p-1)/2 is prime: there is no
	// small subgroup to learn it from but that of 1 and p-1, which agree refuses.
	exponentSize = 32
)

// exponent is our side's secret and what the other may see.
type exponent struct {
	secret *big.Int
	public []byte
}

// newExponent: KWallet takes the public number for a signed one, and of a
// negative one drops the bytes that repeat its sign. One in 256 is made again.
func newExponent() exponent {
	random := make([]byte, exponentSize)
	for {
		rand.Read(random) // never fails
		secret := new(big.Int).SetBytes(random)
		public := new(big.Int).Exp(generator, secret, prime).FillBytes(make([]byte, primeSize))
		if public[0] != 0xff {
			return exponent{secret, public}
		}
	}
}

// exponent returns one that was never used: making it takes about as long as
// all of the dialling, beside which the first is made.
func (c *conn) exponent() exponent {
	if c.begun.CompareAndSwap(false, true) {
		return <-c.first
	}
	return newExponent()
}

// agree returns the AES key. clear is false when the shared number begins with
// a zero byte: some programs then hash 128 bytes, as we do, and some 127. The
// peer's number may have leading zeros: KWallet writes it with a sign.
func agree(secret *big.Int, peer []byte) (key []byte, clear bool, err error) {
	y := new(big.Int).SetBytes(peer)
	if len(peer) > 2*primeSize || y.Cmp(big.NewInt(1)) <= 0 || y.Cmp(lastValue) >= 0 {
		return nil, false, fmt.Errorf("%w: its public value is outside of the group", ErrMalformed)
	}
	shared := new(big.Int).Exp(y, secret, prime).FillBytes(make([]byte, primeSize))
	key, err = hkdf.Key(sha256.New, shared, nil, "", 16)
	return key, shared[0] != 0, err
}

// session is what secrets are exchanged in.
type session struct {
	path dbus.ObjectPath
	key  []byte
}

// openSession opens one. One time in 256 it takes another attempt: see agree.
func (s *Service) openSession(ctx context.Context) (*session, error) {
	for range 5 {
		ours := s.conn.exponent()
		b, err := s.send(ctx, servicePath, serviceIface+".OpenSession", algorithm, dbus.MakeVariant(ours.public)).raw()
		if errorName(err) == "org.freedesktop.DBus.Error.NotSupported" {
			return nil, ErrPlain
		}
		if err != nil {
			return nil, fault(ctx, err)
		}
		opened, clear, err := parseSession(b, ours.secret)
		if err != nil || clear {
			return opened, err
		}
		s.conn.tell(s.owner, opened.path, sessionIface+".Close")
	}
	return nil, fmt.Errorf("%w: its keys are not random", ErrMalformed)
}

func parseSession(b body, ours *big.Int) (s *session, clear bool, err error) {
	output, err := b.variant(0)
	if err != nil {
		return nil, false, err
	}
	peer, err := get[[]byte](output, 0)
	if err != nil {
		return nil, false, err
	}
	path, err := b.path(1)
	if err != nil {
		return nil, false, err
	}
	key, clear, err := agree(ours, peer)
	return &session{path, key}, clear, err
}

// seal encrypts a value for the service.
func (s *session) seal(value string) secret {
	iv := make([]byte, aes.BlockSize)
	rand.Read(iv)
	n := aes.BlockSize - len(value)%aes.BlockSize
	padded := append([]byte(value), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(s.block(), iv).CryptBlocks(padded, padded)
	// libsecret, and so secret-tool, calls no other type a password.
	return secret{Session: s.path, Parameters: iv, Value: padded, ContentType: "text/plain"}
}

// open decrypts a value of the service.
func (s *session) open(sec secret) (string, error) {
	if len(sec.Parameters) != aes.BlockSize {
		return "", fmt.Errorf("%w: the initialization vector has %d bytes", ErrBadSecret, len(sec.Parameters))
	}
	size := len(sec.Value)
	if size == 0 || size%aes.BlockSize != 0 {
		return "", fmt.Errorf("%w: it has %d bytes, which is cut short", ErrBadSecret, size)
	}
	plain := make([]byte, size)
	cipher.NewCBCDecrypter(s.block(), sec.Parameters).CryptBlocks(plain, sec.Value)
	n := int(plain[size-1])
	if n < 1 || n > aes.BlockSize || !bytes.Equal(plain[size-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return "", fmt.Errorf("%w: the padding is wrong", ErrBadSecret)
	}
	return string(plain[:size-n]), nil
}

func (s *session) block() cipher.Block {
	block, err := aes.NewCipher(s.key)
	if err != nil {
		panic(err) // the key has 16 bytes
	}
	return block
}
