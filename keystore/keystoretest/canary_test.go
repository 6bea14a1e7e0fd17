package keystoretest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testCanary = `AgqX?~>"é<canary>/` + "\u2028\U0001F511" + `48xK`

func TestFindCanaryFindsEveryForm(t *testing.T) {
	asJSON, _ := json.Marshal(testCanary)
	for name, data := range map[string][]byte{
		"raw":            []byte(testCanary),
		"JSON":           asJSON,
		"ASCII JSON":     []byte(`"AgqX?~>\"\u00e9<canary>/\u2028\ud83d\udd1148xK"`),
		"hex":            []byte(hex.EncodeToString([]byte(testCanary))),
		"upper-case hex": []byte(strings.ToUpper(hex.EncodeToString([]byte(testCanary)))),
		"UTF-16LE":       inUTF16("x"+testCanary+"x", binary.LittleEndian),
		"UTF-16BE":       inUTF16(testCanary, binary.BigEndian),
		"lines of hex":   lines(hex.EncodeToString([]byte(testCanary)), "\n"),
		"hex of JSON":    []byte(hex.EncodeToString(asJSON)),
	} {
		t.Run(name, func(t *testing.T) { finds(t, data) })
	}
	for shift := range 6 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.RawURLEncoding} {
			around := func(inner []byte) string {
				return encoding.EncodeToString([]byte(strings.Repeat("\xff", shift) + string(inner) + strings.Repeat("\xff", shift/2)))
			}
			t.Run(name, func(t *testing.T) { finds(t, []byte(around([]byte(testCanary)))) })
			t.Run(name+" in lines", func(t *testing.T) { finds(t, lines(around([]byte(testCanary)), "\r\n")) })
			t.Run(name+" of JSON", func(t *testing.T) { finds(t, []byte(around(asJSON))) })
		}
	}
}

// finds puts data into the middle of a file of other bytes.
func finds(t *testing.T, data []byte) {
	t.Helper()
	root := t.TempDir()
	noise := bytes.Repeat([]byte{0xff, 0x00, 'x'}, 2000)
	write(t, filepath.Join(root, "clean"), noise)
	if found := FindCanary(root, testCanary); len(found) > 0 {
		t.Fatalf("found in other bytes: %q", found)
	}
	path := filepath.Join(root, "a", "b", ".hidden")
	write(t, path, append(append(noise, data...), noise...))
	found := FindCanary(root, testCanary)
	if len(found) != 1 || !strings.HasPrefix(found[0], path+": ") {
		t.Errorf("%q was found as %q, want one finding in %s", data, found, path)
	}
}

func lines(s, end string) []byte {
	var b []byte
	for ; len(s) > 10; s = s[10:] {
		b = append(b, s[:10]+end...)
	}
	return append(b, s...)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindCanaryLooksAtNames(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "x-canary123-x", "file"), nil)
	if found := FindCanary(root, "canary123"); len(found) != 1 {
		t.Errorf("a canary in the name of a directory was found as %q", found)
	}
}

func TestFindCanaryReportsWhatItCannotRead(t *testing.T) {
	if found := FindCanary(filepath.Join(t.TempDir(), "missing"), "canary123"); len(found) != 1 {
		t.Errorf("a root that is missing gave %q, want one finding", found)
	}
}

func TestFindCanaryRefusesShortTexts(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a canary of 3 bytes was looked for")
		}
	}()
	FindCanary(t.TempDir(), "abc")
}
