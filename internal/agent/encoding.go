package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

func decode(line []byte, v any, fields []string) error {
	if err := strictjson.Check(line, fields...); err != nil {
		return err
	}
	if line = bytes.TrimSpace(line); len(line) == 0 || line[0] != '{' {
		return errors.New("no object")
	}
	return json.Unmarshal(line, v)
}

// encode writes one line.
func (r request) encode() ([]byte, error) {
	var secrets []byte
	if r.Key != "" {
		secrets = appendMember(nil, "key", r.Key)
	}
	r.Key = ""
	return encode(r, secrets)
}

// encode writes one line.
func (a answer) encode() ([]byte, error) {
	secrets := make([]byte, 0, 128*(1+len(a.Seals)))
	if a.Key != "" {
		secrets = appendMember(secrets, "key", a.Key)
	}
	for i, s := range a.Seals {
		before := `,{"salt":"`
		if i == 0 {
			before = `,"seals":[{"salt":"`
		}
		secrets = append(append(append(secrets, before...), s.Salt...), '"')
		secrets = append(appendMember(secrets, "key", s.Key), '}')
	}
	if len(a.Seals) > 0 {
		secrets = append(secrets, ']')
	}
	a.Key, a.Seals = "", nil
	return encode(a, secrets)
}

// appendMember takes a value that needs no escapes.
func appendMember(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":"`...)
	return append(append(b, value...), '"')
}

// encode writes v, an object, with further members. These are secret, and
// encoding/json keeps its buffers for whoever comes next: nothing would erase them.
func encode(v any, secrets []byte) ([]byte, error) {
	defer clear(secrets)
	var open bytes.Buffer
	e := json.NewEncoder(&open)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	object := bytes.TrimSuffix(open.Bytes(), []byte("}\n"))
	line := make([]byte, 0, len(object)+len(secrets)+len("}\n"))
	line = append(append(append(line, object...), secrets...), "}\n"...)
	if len(line) > maxLine {
		return nil, invalid("the message has %d bytes, the limit is %d", len(line), maxLine)
	}
	return line, nil
}

func encodeSecret(s keystore.Secret) string {
	return base64.RawStdEncoding.EncodeToString([]byte(s.Reveal()))
}

// decodeSecret reads a key. No error quotes it.
func decodeSecret(s string) ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	// The decoder passes over line breaks.
	if err != nil || len(b) != seal.KeySize || len(s) != base64.RawStdEncoding.EncodedLen(seal.KeySize) {
		return nil, invalid("a key is %d bytes in base64", seal.KeySize)
	}
	return b, nil
}

// placeFor makes of the name of a store one that can be shown: the end of what is too
// long, and nothing that moves a terminal.
func placeFor(name string) string {
	const cut = "..."
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, name)
	if len(name) <= maxPlace {
		return name
	}
	end := name[len(name)-maxPlace+len(cut):]
	for !utf8.RuneStart(end[0]) {
		end = end[1:]
	}
	return cut + end
}
