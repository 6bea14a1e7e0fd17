package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// FormatTokenRecord writes what ParseTokenRecord reads: the record as the
// Globus SDK has it, in plain, without Issuer and ClientID. It has no need of
// encoding/json, which keeps what it has written in a pool of buffers, for ever if
// nobody writes over it.
func FormatTokenRecord(t Token) ([]byte, error) {
	fields := make(map[string]any, len(tokenFields)+len(t.Extra))
	for name, raw := range t.Extra {
		if _, known := tokenFields[name]; !known {
			fields[name] = json.RawMessage(raw.Reveal())
		}
	}
	for name, f := range tokenFields {
		if v := f.write(t); v != nil {
			fields[name] = v
		}
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(',')
		}
		writeText(&b, name)
		b.WriteByte(':')
		if err := writeValue(&b, fields[name]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func writeValue(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case string:
		writeText(b, v)
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case json.RawMessage:
		if json.Compact(b, v) != nil {
			return &Error{Err: ErrInvalid, Detail: "the value has no JSON form"}
		}
	default:
		return &Error{Err: ErrInvalid, Detail: fmt.Sprintf("a %T is no value of a token record", v)}
	}
	return nil
}

// writeText writes a string as JSON has it. What is not UTF-8 becomes U+FFFD.
func writeText(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}
