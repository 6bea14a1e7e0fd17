package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"
)

// ageFile is an age file taken apart, as an attacker would who has read the
// specification (c2sp.org/age), for files of one chunk.
type ageFile struct {
	stanzas []age.Stanza
	mac     []byte
	nonce   []byte // 16 bytes
	content []byte // the encrypted chunk
}

const ageIntro = "age-encryption.org/v1\n"

func parseAge(t testing.TB, record []byte) ageFile {
	t.Helper()
	head, rest, ok := bytes.Cut(record, []byte("\n--- "))
	mac, payload, ok2 := bytes.Cut(rest, []byte("\n"))
	text, ok3 := strings.CutPrefix(string(head), ageIntro+"-> ")
	if !ok || !ok2 || !ok3 {
		t.Fatal("this is not an age file")
	}
	f := ageFile{mac: decode64(t, string(mac)), nonce: payload[:16], content: payload[16:]}
	for _, s := range strings.Split(text, "\n-> ") {
		opening, body, _ := strings.Cut(s, "\n")
		words := strings.Split(opening, " ")
		f.stanzas = append(f.stanzas, age.Stanza{Type: words[0], Args: words[1:],
			Body: decode64(t, strings.ReplaceAll(body, "\n", ""))})
	}
	return f
}

func decode64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bytes puts the file together with the MAC it has.
func (f ageFile) bytes() []byte {
	return bytes.Join([][]byte{f.header(), []byte(" " + base64.RawStdEncoding.EncodeToString(f.mac) + "\n"), f.nonce, f.content}, nil)
}

// header is what the MAC covers.
func (f ageFile) header() []byte {
	var b bytes.Buffer
	b.WriteString(ageIntro)
	for _, s := range f.stanzas {
		b.WriteString("-> " + strings.Join(append([]string{s.Type}, s.Args...), " ") + "\n")
		body := base64.RawStdEncoding.EncodeToString(s.Body)
		for len(body) >= 64 {
			b.WriteString(body[:64] + "\n")
			body = body[64:]
		}
		b.WriteString(body + "\n")
	}
	b.WriteString("---")
	return b.Bytes()
}

// signed puts the file together with the MAC that fileKey gives: what every
// recipient of a file can do.
func (f ageFile) signed(t testing.TB, fileKey []byte) []byte {
	mac := hmac.New(sha256.New, hkdfKey(t, fileKey, nil, "header"))
	mac.Write(f.header())
	f.mac = mac.Sum(nil)
	return f.bytes()
}

// rewritten has another plaintext under the same file key.
func (f ageFile) rewritten(t testing.TB, fileKey, plaintext []byte) ageFile {
	f.content = f.aead(t, fileKey).Seal(nil, lastChunk, plaintext, nil)
	return f
}

func (f ageFile) plaintext(t testing.TB, fileKey []byte) []byte {
	t.Helper()
	plaintext, err := f.aead(t, fileKey).Open(nil, lastChunk, f.content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plaintext
}

var lastChunk = append(make([]byte, chacha20poly1305.NonceSize-1), 1)

func (f ageFile) aead(t testing.TB, fileKey []byte) interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
} {
	a, err := chacha20poly1305.New(hkdfKey(t, fileKey, f.nonce, "payload"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// withStanzas has other stanzas; f keeps its own.
func (f ageFile) withStanzas(stanzas ...age.Stanza) ageFile {
	f.stanzas = stanzas
	return f
}

// withSeal has another seal, which must be the first stanza.
func (f ageFile) withSeal(change func(*age.Stanza)) ageFile {
	seal := f.stanzas[0]
	seal.Args = append([]string(nil), seal.Args...)
	seal.Body = bytes.Clone(seal.Body)
	change(&seal)
	return f.withStanzas(append([]age.Stanza{seal}, f.stanzas[1:]...)...)
}

// fileKeyOf is the file key as a recipient of the file learns it.
func fileKeyOf(t testing.TB, record []byte, id age.Identity) []byte {
	t.Helper()
	header, err := age.ExtractHeader(bytes.NewReader(record))
	if err != nil {
		t.Fatal(err)
	}
	fileKey, err := age.DecryptHeader(header, id)
	if err != nil {
		t.Fatal(err)
	}
	return fileKey
}

func hkdfKey(t testing.TB, secret, salt []byte, info string) []byte {
	t.Helper()
	k, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
