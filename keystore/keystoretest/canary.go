package keystoretest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/globus-keys/globus-keys/keystore"
)

// FindCanary looks for canary, a text that is secret and found nowhere else,
// in the names and in every byte of the files below root: as it is, as JSON
// and UTF-16 write it, in hexadecimal and in base64, also across line ends.
// It returns a line for each finding, with the path and the form.
//
// Symbolic links are not followed, and what is no regular file is not read. A
// file or directory that cannot be read is a finding: nothing is known of it.
// canary needs 4 bytes at least, so that base64 shows enough of it.
func FindCanary(root, canary string) []string {
	if len(canary) < 4 {
		panic("keystoretest: a canary of fewer than 4 bytes is found by chance")
	}
	forms := formsOf(canary)
	var found []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		for _, finding := range findIn(path, d, err, forms) {
			found = append(found, path+": "+finding)
		}
		return nil
	})
	return found
}

func findIn(path string, d fs.DirEntry, err error, forms []form) []string {
	if errors.Is(err, fs.ErrNotExist) && d != nil {
		return nil // gone since it was listed
	}
	if err != nil {
		return []string{err.Error()}
	}
	found := search([]byte(d.Name()), forms, "name, ")
	if !d.Type().IsRegular() {
		return found
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found
	case err != nil:
		return append(found, err.Error())
	}
	found = append(found, search(data, forms, "")...)
	if joined := withoutLineEnds(data); len(joined) < len(data) && len(found) == 0 {
		found = append(found, search(joined, forms, "over several lines, ")...)
	}
	return found
}

func withoutLineEnds(data []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), nil), []byte("\n"), nil)
}

func search(data []byte, forms []form, where string) []string {
	var found []string
	for _, f := range forms {
		if bytes.Contains(data, f.bytes) {
			found = append(found, where+f.name)
		}
	}
	return found
}

// form is one way in which a text may lie on a disk.
type form struct {
	name  string
	bytes []byte
}

// formsOf returns the ways of writing text, each once: what may be inside of a
// payload, in what may be around the payload.
func formsOf(text string) []form {
	var forms []form
	for _, inner := range []form{
		{"as it is", []byte(text)},
		{"JSON", inJSON(text, false)},
		{"JSON for HTML", inJSON(text, true)},
		{"ASCII JSON", inASCII(text)},
	} {
		for _, f := range encodingsOf(inner) {
			if !slices.ContainsFunc(forms, func(g form) bool { return bytes.Equal(f.bytes, g.bytes) }) {
				forms = append(forms, f)
			}
		}
	}
	return forms
}

func encodingsOf(inner form) []form {
	text := string(inner.bytes)
	forms := []form{
		inner,
		{inner.name + " in JSON", inJSON(text, false)},
		{inner.name + " in hexadecimal", []byte(hex.EncodeToString(inner.bytes))},
		{inner.name + " in upper-case hexadecimal", fmt.Appendf(nil, "%X", inner.bytes)},
		{inner.name + " in UTF-16LE", inUTF16(text, binary.LittleEndian)},
		{inner.name + " in UTF-16BE", inUTF16(text, binary.BigEndian)},
	}
	for shift := range 3 {
		name := fmt.Sprintf(" from byte %d of 3", shift)
		forms = append(forms,
			form{inner.name + " in base64" + name, inBase64(base64.RawStdEncoding, text, shift)},
			form{inner.name + " in base64url" + name, inBase64(base64.RawURLEncoding, text, shift)})
	}
	return forms
}

// inBase64 is what an encoder writes of text when shift bytes stand before it
// and anything after: the characters that depend on no neighbour.
func inBase64(encoding *base64.Encoding, text string, shift int) []byte {
	encoded := encoding.EncodeToString(append(make([]byte, shift), text...))
	first := (8*shift + 5) / 6
	last := 8 * (shift + len(text)) / 6
	return []byte(encoded[first:last])
}

func inUTF16(text string, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return b
}

func inJSON(text string, escapeHTML bool) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	e.Encode(text) // a string has a JSON form
	return bytes.Trim(b.Bytes(), "\"\n")
}

// inASCII is inJSON as Python's json writes it.
func inASCII(text string) []byte {
	var b []byte
	for _, r := range string(inJSON(text, false)) {
		if r < 0x80 {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
	}
	return b
}

// hidesPayloads looks at the disk after each thing that may write to it.
func hidesPayloads(s *store) {
	temp := filepath.Join(s.dir, "tmp")
	s.ok("Mkdir", os.Mkdir(temp, 0o700))
	for _, variable := range []string{"TMPDIR", "TMP", "TEMP"} {
		s.Setenv(variable, temp)
	}
	s.make()
	canary := `canary "<` + rand.Text() + `>" é?~`
	payload, err := json.Marshal(map[string]string{"access_token": canary, "x": strings.Repeat("x", 1000)})
	s.ok("payload", err)
	all := []keystore.RecordKey{token("old"), token("new"), token("gone"),
		{Namespace: "DEFAULT", Kind: keystore.KindConfig, Name: "x"}}
	for _, step := range []struct {
		name string
		fn   func(keystore.Writer) error
	}{
		{"Put", func(w keystore.Writer) error { return putAll(w, all, payload) }},
		{"Put again", func(w keystore.Writer) error { return putAll(w, all, payload) }},
		{"Delete", func(w keystore.Writer) error { return w.Delete(token("gone")) }},
		{"a header change", func(w keystore.Writer) error { return s.rekey(w, 1) }},
		{"Delete of all", func(w keystore.Writer) error {
			return errors.Join(w.Delete(all[0]), w.Delete(all[1]), w.Delete(all[3]))
		}},
	} {
		s.update(func(w keystore.Writer) error {
			err := step.fn(w)
			s.hides(canary, "during "+step.name)
			return err
		})
		s.hides(canary, "after "+step.name)
	}
	s.Update(s.ctx, func(w keystore.Writer) error { return errors.Join(putAll(w, all, payload), errByTest) })
	s.hides(canary, "after a failed Update")
	s.put(token("old"), string(payload))
	s.ok("Close", s.Close())
	s.hides(canary, "after Close")
}

func putAll(w keystore.Writer, keys []keystore.RecordKey, payload []byte) error {
	for _, k := range keys {
		if err := w.Put(k, payload); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) hides(canary, when string) {
	s.Helper()
	for _, finding := range FindCanary(s.dir, canary) {
		s.Errorf("%s a payload is seen: %s", when, finding)
	}
}
