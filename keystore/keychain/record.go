package keychain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/keystore"
)

// A record is the envelope of its payload (internal/envelope), written as
// printable ASCII and cut into parts; each part is an item
//
//	gk1.rec.<store id>.<generation>.<part>.<parts>.<text>.<crc32>
//
// part counts from 0. Bytes 0x20 to 0x7e stand for themselves, but '%' and all
// others are '%' and two upper-case hexadecimal digits.
const (
	recordKind = "rec"
	maxParts   = 16

	// maxText is what is left of MaxItem for text.
	maxText = MaxItem - len("gk1.rec..") - 32 - len("0123456789abcdef.15.16.") - len(".01234567")

	// MaxRecord is the largest payload of an Adapter, in bytes: as much as
	// fits into 16 items beside every name, if it is printable ASCII without
	// '%'. Of what is not, each byte counts three times: then ErrTooLarge may
	// come earlier, and says so.
	MaxRecord = 32 << 10
)

// record is what an Update is about to store.
type record struct {
	payload []byte
	items   []keystore.Secret
}

// newRecord returns the items of a payload, under the name of a generation that
// was never used.
func newRecord(store keystore.StoreID, k keystore.RecordKey, payload []byte) (generation, record, error) {
	if err := checkRecord(k, payload); err != nil {
		return generation{}, record{}, err
	}
	var texts []string
	for chunk := range slices.Chunk([]byte(encode(envelope.Pack(store, k, payload))), maxText) {
		texts = append(texts, string(chunk))
	}
	if len(texts) > maxParts {
		return generation{}, record{}, tooLarge(fmt.Sprintf("the record takes %d keychain items, the limit is %d", len(texts), maxParts))
	}
	account := newAccount(store, recordKind)
	g := generation{strings.TrimPrefix(account, accountPrefix(store, recordKind)), len(texts)}
	r := record{payload: slices.Clone(payload)}
	for part, text := range texts {
		r.items = append(r.items, formatItem(recordKind, store, g.mark(part)+text))
	}
	return g, r, nil
}

func checkRecord(k keystore.RecordKey, payload []byte) error {
	if err := k.Check(); err != nil {
		return err
	}
	if len(payload) > MaxRecord {
		return tooLarge(fmt.Sprintf("the record has %d bytes, a keychain store takes %d", len(payload), MaxRecord))
	}
	return envelope.Check(k, payload)
}

func tooLarge(detail string) error {
	return &keystore.Error{Err: keystore.ErrTooLarge,
		Detail: detail + "; the keychain is for small records: keep this one in a file store, --store file:PATH"}
}

// mark is what stands before the text of an item.
func (g generation) mark(part int) string { return fmt.Sprintf("%s.%d.%d.", g.name, part, g.parts) }

// errGone says that an item of a record is not in the keychain.
var errGone = errors.New("gone")

// read returns the payload of k, whose items are those of g.
func (a *Adapter) read(ctx context.Context, store keystore.StoreID, k keystore.RecordKey, g generation) ([]byte, error) {
	var text strings.Builder
	for part := range g.parts {
		account := g.account(store, part)
		item, err := a.backend.Get(ctx, account)
		if errors.Is(err, keystore.ErrNotFound) {
			return nil, errGone
		}
		var chunk string
		if err == nil {
			chunk, err = g.parse(store, part, item)
		}
		if err != nil {
			return nil, aboutItem(err, a.backend, account)
		}
		text.WriteString(chunk)
	}
	plaintext, err := decode(text.String())
	if err != nil {
		return nil, err
	}
	return envelope.Unpack(store, k, plaintext)
}

// parse returns the text of an item. Its mark is not parsed but compared with
// the only one that can stand here.
func (g generation) parse(store keystore.StoreID, part int, item keystore.Secret) (text string, err error) {
	body, err := parseItem(recordKind, store, item)
	if err != nil {
		return "", err
	}
	text, ours := strings.CutPrefix(body, g.mark(part))
	if !ours {
		return "", &keystore.Error{Err: keystore.ErrTampered, Detail: "it is not the item that was stored there"}
	}
	return text, nil
}

const hexDigits = "0123456789ABCDEF"

// plain reports whether a byte stands for itself.
func plain(c byte) bool { return c >= 0x20 && c <= 0x7e && c != '%' }

func encode(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		if plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// decode reads what encode writes, and nothing else. Its error is ErrCorrupt.
func decode(text string) ([]byte, error) {
	data := make([]byte, 0, len(text))
	for len(text) > 0 {
		c, size, ok := decodeByte(text)
		if !ok {
			return nil, corrupt("the text in its items is not as it was written")
		}
		data, text = append(data, c), text[size:]
	}
	return data, nil
}

func decodeByte(text string) (c byte, size int, ok bool) {
	if text[0] != '%' {
		return text[0], 1, plain(text[0])
	}
	if len(text) < 3 {
		return 0, 0, false
	}
	high, low := strings.IndexByte(hexDigits, text[1]), strings.IndexByte(hexDigits, text[2])
	c = byte(high<<4 | low)
	return c, 3, high >= 0 && low >= 0 && !plain(c)
}
