package identity

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestAnIdentityFileComesBack(t *testing.T) {
	for typ, make := range makers {
		id := made(t, make)
		for _, store := range []keystore.StoreID{testStore, {}} {
			got, gotStore, err := ParseFile(FormatFile(id, store))
			if err != nil || gotStore != store || !got.Text().Equal(id.Text()) {
				t.Errorf("%s: ParseFile = store %s, %v", typ, gotStore, err)
			}
		}
	}
}

func TestAnIdentityFileLooksAsDescribed(t *testing.T) {
	id := made(t, New)
	want := "# globus-keys store ab02030405060708090a0b0c0d0e0f10\n" + id.Text().Reveal() + "\n"
	if got := FormatFile(id, testStore); string(got) != want {
		t.Error("the file has another form")
	}
}

func TestAFileOfAgeKeygenNamesNoStore(t *testing.T) {
	id := made(t, New)
	for _, file := range []string{
		"# created: 2026-11-23T10:00:00Z\n# public key: " + id.RecipientString() + "\n" + id.Text().Reveal() + "\n",
		"\r\n# x\r\n" + id.Text().Reveal() + "\r\n\r\n",
		id.Text().Reveal(),
	} {
		got, store, err := ParseFile([]byte(file))
		if err != nil || store != (keystore.StoreID{}) || !got.Text().Equal(id.Text()) {
			t.Errorf("ParseFile = store %s, %v", store, err)
		}
	}
}

func TestABadIdentityFileIsCorruptAndNotQuoted(t *testing.T) {
	line := made(t, New).Text().Reveal() + "\n"
	comment := storeComment + testStore.String() + "\n"
	for what, file := range map[string]string{
		"empty":                   "",
		"comments only":           comment,
		"two identities":          line + line,
		"two types":               line + made(t, NewPostQuantum).Text().Reveal(),
		"garbage before":          "garbage\n" + line,
		"garbage after":           line + "garbage",
		"space before":            " " + line,
		"space after":             strings.TrimSpace(line) + " \n",
		"two stores":              comment + comment + line,
		"short store":             storeComment + "abcd\n" + line,
		"store in capitals":       storeComment + strings.ToUpper(testStore.String()) + "\n" + line,
		"zero store":              storeComment + strings.Repeat("0", 32) + "\n" + line,
		"comment of a later time": "# globus-keys epoch 3\n" + line,
		"more than 8 KiB":         strings.Repeat("# x\n", 2048) + line,
		"an identity cut short":   line[:len(line)-2],
	} {
		id, store, err := ParseFile([]byte(file))
		if !errors.Is(err, keystore.ErrCorrupt) || id != nil || store != (keystore.StoreID{}) {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), line[20:40]) || strings.Contains(err.Error(), "garbage") {
			t.Errorf("%s: the error quotes the file: %v", what, err)
		}
	}
}

func TestTheAgeCommandTakesAnIdentityFile(t *testing.T) {
	command := testenv.Need(t, "age")
	id := made(t, New)
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "identity.txt"), filepath.Join(dir, "secret.age")
	for name, data := range map[string][]byte{file: FormatFile(id, testStore), secret: encrypted(t, id.Recipient())} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(command, "-d", "-i", file, secret).Output(); err != nil || string(out) != "text" {
		t.Errorf("age -d -i = %q, %v", out, err)
	}
}

// FuzzIdentityFile: what ParseFile accepts, age accepts as the same identity.
func FuzzIdentityFile(f *testing.F) {
	for _, make := range makers {
		id := made(f, make)
		f.Add(FormatFile(id, testStore))
		f.Add(FormatFile(id, keystore.StoreID{}))
		f.Add(bytes.ReplaceAll(FormatFile(id, testStore), []byte("\n"), []byte("\r\n")))
		f.Add(append(FormatFile(id, testStore), FormatFile(id, testStore)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		id, store, err := ParseFile(data)
		if err != nil {
			return
		}
		ids, err := age.ParseIdentities(bytes.NewReader(data))
		if err != nil || len(ids) != 1 {
			t.Fatalf("age finds %d identities in %q: %v", len(ids), data, err)
		}
		if got := decrypted(t, encrypted(t, id.Recipient()), ids[0]); got != "text" {
			t.Fatalf("age reads another identity in %q", data)
		}
		again, againStore, err := ParseFile(FormatFile(id, store))
		if err != nil || againStore != store || !again.Text().Equal(id.Text()) {
			t.Fatalf("%q does not come back: %v", data, err)
		}
	})
}
