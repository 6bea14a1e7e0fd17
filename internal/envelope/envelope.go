// Package envelope puts around the payload of a record what it is and where it
// belongs, so that one that is found elsewhere is refused, and a recovered one
// needs no store around it.
package envelope

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/globus-keys/globus-keys/keystore"
)

// The plaintext of a record is
//
//	{"version":1,"store":"<32 hex>","namespace":"…","kind":"…","name":"…","data":PAYLOAD}
//
// and spaces up to the next multiple of 256 bytes, because lengths would
// otherwise tell the kinds of tokens apart.
const (
	Max   = 64 << 10 // bytes of what Pack returns
	padTo = 256
)

// Check reports ErrInvalid or ErrTooLarge for what Pack does not take.
func Check(k keystore.RecordKey, payload []byte) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := keystore.CheckPayload(k, payload); err != nil {
		return err
	}
	if !isJSON(payload) {
		return &keystore.Error{Key: k, Err: keystore.ErrInvalid, Detail: "the payload is not one JSON value in UTF-8"}
	}
	return nil
}

func isJSON(payload []byte) bool { return utf8.Valid(payload) && json.Valid(payload) }

// Pack returns the plaintext. It has at most Max bytes for every key and
// payload that Check lets through.
func Pack(store keystore.StoreID, k keystore.RecordKey, payload []byte) []byte {
	plaintext := append(opening(store, k), payload...)
	plaintext = append(plaintext, '}')
	return append(plaintext, bytes.Repeat([]byte(" "), Padding(len(plaintext)))...)
}

// Unpack returns the payload of what Pack returned for this place; everything
// else is ErrTampered. The envelope is not parsed but compared byte by byte with
// the only one that can stand here: where there is no choice, no two readers can
// choose differently.
func Unpack(store keystore.StoreID, k keystore.RecordKey, plaintext []byte) ([]byte, error) {
	if len(plaintext) > Max {
		return nil, tampered("its content is longer than any that is sealed")
	}
	text := bytes.TrimRight(plaintext, " ")
	if len(plaintext)-len(text) != Padding(len(text)) {
		return nil, tampered("its content is wrongly padded")
	}
	payload, named := bytes.CutPrefix(text, opening(store, k))
	payload, closed := bytes.CutSuffix(payload, []byte("}"))
	if !named || !closed {
		return nil, tampered("its content does not name this place in format version 1")
	}
	if len(payload) > keystore.MaxPayload || !isJSON(payload) {
		return nil, tampered("its content is not one JSON value")
	}
	return bytes.Clone(payload), nil
}

// opening is all that precedes the payload. Strings are written as
// encoding/json does without HTML's escapes.
func opening(store keystore.StoreID, k keystore.RecordKey) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Version   int           `json:"version"`
		Store     string        `json:"store"`
		Namespace string        `json:"namespace"`
		Kind      keystore.Kind `json:"kind"`
		Name      string        `json:"name"`
	}{1, store.String(), k.Namespace, k.Kind, k.Name})
	if err != nil {
		panic("envelope: strings have no JSON form: " + err.Error())
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte("}\n")), `,"data":`...)
}

// Padding is how many spaces follow n bytes: the fewest that reach a multiple.
func Padding(n int) int { return (padTo - n%padTo) % padTo }

func tampered(detail string) error {
	return &keystore.Error{Err: keystore.ErrTampered, Detail: detail}
}
