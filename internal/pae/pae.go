// Package pae encodes a list of strings as one byte string that no other list
// encodes to: PASETO's pre-authentication encoding. Keys and lock names that
// are derived from several parts are derived from this, so that ("ab", "c")
// and ("a", "bc") never meet.
package pae

import "encoding/binary"

// Encode returns LE64(number of parts), then LE64(length) and the bytes of
// each part. See the PASETO specification, "Pre-Authentication Encoding".
func Encode(parts ...string) []byte {
	size := 8
	for _, p := range parts {
		size += 8 + len(p)
	}
	out := make([]byte, 0, size)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(parts)))
	for _, p := range parts {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}
