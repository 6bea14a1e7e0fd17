// Package strictjson refuses the JSON texts on which parsers disagree.
//
// encoding/json takes the last of two equal keys, matches struct fields without
// regard to case, and replaces broken UTF-8; another reader of the same bytes
// sees other values. Whoever can write a file can use that to show one program
// one token and another program another. Check is called before
// encoding/json decodes; what it lets through means the same to every parser.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Check reports an error unless data is exactly one JSON value in valid UTF-8,
// without unpaired surrogates, and with objects in which no key stands twice.
// Keys that equal one of names but for case are refused too.
// No error quotes more of data than the offending key.
func Check(data []byte, names ...string) error {
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	if err := syntax(data); err != nil {
		return err
	}
	s := scanner{data: data, names: names}
	return s.value()
}

// syntax says what encoding/json says of data, but for the quoted character
// in the message, which may be a byte of a secret.
func syntax(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var bad *json.SyntaxError
	if errors.As(err, &bad) {
		if strings.Contains(bad.Error(), "max depth") { // 10,000 levels
			return errors.New("nested too deep")
		}
		return fmt.Errorf("not valid JSON at byte %d", bad.Offset)
	}
	return errors.New("not valid JSON")
}

// scanner walks a text that json.Valid has accepted: it need not look for
// syntax errors, and its depth is bounded by encoding/json's limit.
type scanner struct {
	data  []byte
	pos   int
	names []string
}

func (s *scanner) value() error {
	switch s.next() {
	case '{':
		return s.object()
	case '[':
		return s.array()
	case '"':
		_, err := s.str()
		return err
	default: // number, true, false, null
		for s.pos < len(s.data) && !strings.ContainsRune(",]} \t\r\n", rune(s.data[s.pos])) {
			s.pos++
		}
		return nil
	}
}

func (s *scanner) object() error {
	seen := make(map[string]bool)
	s.pos++ // {
	for s.next() != '}' {
		key, err := s.str()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q stands twice in one object", key)
		}
		if err := s.wrongCase(key); err != nil {
			return err
		}
		seen[key] = true
		s.next()
		s.pos++ // :
		if err := s.value(); err != nil {
			return err
		}
		s.comma()
	}
	s.pos++ // }
	return nil
}

func (s *scanner) array() error {
	s.pos++ // [
	for s.next() != ']' {
		if err := s.value(); err != nil {
			return err
		}
		s.comma()
	}
	s.pos++ // ]
	return nil
}

// str reads the string at the cursor.
func (s *scanner) str() (string, error) {
	start := s.pos
	plain := true
	for s.pos++; s.data[s.pos] != '"'; s.pos++ {
		if s.data[s.pos] == '\\' {
			plain = false
			s.pos++
		}
	}
	s.pos++ // closing quote
	if plain {
		return string(s.data[start+1 : s.pos-1]), nil
	}
	var decoded string
	if err := json.Unmarshal(s.data[start:s.pos], &decoded); err != nil {
		return "", errors.New("not valid JSON")
	}
	// encoding/json puts U+FFFD for an unpaired surrogate, which only an
	// escape can write: one that the text did not ask for is such a place.
	if strings.Count(decoded, "\uFFFD") != replacements(s.data[start:s.pos]) {
		return "", errors.New("a string has an unpaired surrogate")
	}
	return decoded, nil
}

// replacements counts the U+FFFD that the text of a string asks for itself.
func replacements(quoted []byte) int {
	text := strings.ReplaceAll(string(quoted), `\\`, "")
	return strings.Count(text, "\uFFFD") + strings.Count(strings.ToLower(text), `\ufffd`)
}

func (s *scanner) wrongCase(key string) error {
	for _, name := range s.names {
		if key != name && strings.EqualFold(key, name) {
			return fmt.Errorf("key %q is not %q", key, name)
		}
	}
	return nil
}

// next skips white space and returns the byte at the cursor.
func (s *scanner) next() byte {
	for strings.IndexByte(" \t\r\n", s.data[s.pos]) >= 0 {
		s.pos++
	}
	return s.data[s.pos]
}

func (s *scanner) comma() {
	if s.next() == ',' {
		s.pos++
	}
}
