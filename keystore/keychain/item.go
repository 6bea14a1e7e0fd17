package keychain

import (
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// Every item is one line,
//
//	gk1.<kind>.<store id>.<what it holds>.<crc32 of all before the last dot, 8 hex>
//
// so that an item that is empty, cut short or somebody else's is told from a
// value: KWallet returns "" for what it lost, and says that all is well.
const itemVersion = "gk1"

// formatItem returns the line of an item. body may hold dots.
func formatItem(kind string, store keystore.StoreID, body string) keystore.Secret {
	line := itemVersion + "." + kind + "." + store.String() + "." + body
	// Not all of it by fmt, which keeps what it has written in a pool.
	return keystore.NewSecret(line + fmt.Sprintf(".%08x", crc32.ChecksumIEEE([]byte(line))))
}

// parseItem returns the body of a line that formatItem made for this kind and
// store. ErrCorrupt: it is no such line. ErrTampered: it is another store's.
func parseItem(kind string, store keystore.StoreID, item keystore.Secret) (body string, err error) {
	text := item.Reveal()
	if text == "" {
		return "", corrupt("the keychain has lost its value: it is empty")
	}
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 || text[dot+1:] != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text[:dot]))) {
		return "", corrupt("its checksum is wrong: it is cut short or changed")
	}
	body, ours := strings.CutPrefix(text[:dot], itemVersion+"."+kind+".")
	if !ours || len(body) < 33 || body[32] != '.' {
		return "", corrupt("it is not an item of this kind")
	}
	if body[:32] != store.String() {
		return "", &keystore.Error{Err: keystore.ErrTampered, Detail: "it is an item of another store"}
	}
	return body[33:], nil
}

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}
