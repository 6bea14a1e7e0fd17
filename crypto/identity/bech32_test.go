package identity

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"
)

// ageParse is age's own verdict on text as an identity of our two types: its
// recipient, or "" if refused.
func ageParse(text string) string {
	if id, err := age.ParseX25519Identity(text); err == nil {
		return id.Recipient().String()
	}
	if id, err := age.ParseHybridIdentity(text); err == nil {
		return id.Recipient().String()
	}
	return ""
}

// agrees holds our decoder alone, and Parse, against age.
func agrees(t *testing.T, text string) {
	t.Helper()
	want := ageParse(text)
	decoded := false
	for _, prefix := range []string{x25519Prefix, postQuantumPrefix} {
		data, err := bech32Decode(prefix, text)
		if err == nil && bech32Encode(prefix, data) != text {
			t.Errorf("%q is read but written as another text", text)
		}
		decoded = decoded || err == nil && len(data) == seedSize
	}
	if decoded != (want != "") {
		t.Errorf("%q: our decoder says %t, age %q", text, decoded, want)
	}
	id, err := Parse(text)
	switch {
	case (err == nil) != (want != ""):
		t.Errorf("%q: Parse says %v, age %q", text, err, want)
	case err == nil && id.RecipientString() != want:
		t.Errorf("%q: Parse finds recipient %s, age %s", text, id.RecipientString(), want)
	case err == nil && id.Text().Reveal() != text:
		t.Errorf("%q comes back as another text", text)
	case err != nil && len(text) > 20 && strings.Contains(err.Error(), text):
		t.Errorf("the error quotes the text")
	}
}

func TestBech32AgreesWithAgeOnEveryChangedCharacter(t *testing.T) {
	for _, make := range makers {
		text := made(t, make).Text().Reveal()
		agrees(t, text)
		agrees(t, strings.ToLower(text))
		for i := range text {
			for _, c := range []byte{text[i] ^ 0x20, text[i] ^ 1, 'Q', '1', 'b', '\n', 0, 0xff} {
				changed := []byte(text)
				changed[i] = c
				agrees(t, string(changed))
			}
			agrees(t, text[:i])
			agrees(t, text[:i]+text[i+1:])
			agrees(t, text[:i]+"Q"+text[i:])
			agrees(t, text[:i]+"\u017f"+text[i:]) // its upper case is S
		}
	}
}

// The checksum is right, so that what is under it is reached: every number of
// digits, and last digits that no encoder writes.
func TestBech32AgreesWithAgeUnderARightChecksum(t *testing.T) {
	for _, prefix := range []string{x25519Prefix, postQuantumPrefix, "AGE-SECRET-KEY-PQ", "AGE-PLUGIN-X-", "A"} {
		for n := range 120 {
			for _, last := range []byte{0, 1, 2, 4, 8, 16, 31} {
				values := bytes.Repeat([]byte{5}, n)
				if n > 0 {
					values[n-1] = last
				}
				agrees(t, withChecksum(prefix, values))
			}
		}
	}
}

func withChecksum(prefix string, values []byte) string {
	text := []byte(prefix + "1")
	for _, v := range append(bytes.Clone(values), checksum(prefix, values)...) {
		text = append(text, bech32Digits[v&31])
	}
	return string(text)
}

// The examples of BIP 173 in upper case, which all have a right checksum.
func TestBech32KnowsTheExamplesOfBIP173(t *testing.T) {
	for _, text := range []string{
		"A12UEL5L",
		"ABCDEF1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LMQQQXW",
		"SPLIT1CHECKUPSTAGEHANDSHAKEUPSTREAMERRANTERREDCAPERRED2Y9E3W",
	} {
		prefix, _, _ := strings.Cut(text, "1")
		if _, err := bech32Decode(prefix, text); err != nil && err != errPadding {
			t.Errorf("%s: %v", text, err)
		}
		damaged := text[:len(text)-1] + "Q"
		if _, err := bech32Decode(prefix, damaged); err != errChecksum {
			t.Errorf("%s: %v, want %v", damaged, err, errChecksum)
		}
	}
}

// FuzzBech32Identity takes a text as it is and, because no chance finds a
// checksum, the digits after its last "1" with the right one.
func FuzzBech32Identity(f *testing.F) {
	for _, make := range makers {
		text := made(f, make).Text().Reveal()
		f.Add(text)
		f.Add(strings.ToLower(text))
		f.Add(text[:len(text)-checksumDigits])
		f.Add(text[:len(text)-checksumDigits-1])
		f.Add(text[:len(text)-checksumDigits] + "Q")
	}
	f.Fuzz(func(t *testing.T, text string) {
		agrees(t, text)
		at := strings.LastIndexByte(text, '1')
		if at < 1 {
			return
		}
		var values []byte
		for _, c := range []byte(text[at+1:]) {
			values = append(values, c&31)
		}
		for _, prefix := range []string{x25519Prefix, postQuantumPrefix} {
			agrees(t, withChecksum(prefix, values))
		}
	})
}
