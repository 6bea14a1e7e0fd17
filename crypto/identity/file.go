package identity

import (
	"fmt"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

const (
	maxFile = 8 << 10 // bytes of an identity file

	// storeComment begins the line that says to which store an identity
	// belongs; the store id follows. To age it is a comment. commentOurs
	// reserves what later versions may say.
	storeComment = "# globus-keys store "
	commentOurs  = "# globus-keys"
)

// FormatFile writes an identity file that ParseFile and `age -d -i` read:
//
//	# globus-keys store 00112233445566778899aabbccddeeff
//	AGE-SECRET-KEY-1…
//
// For the zero store the first line is left out. What it returns is secret.
func FormatFile(id *Identity, store keystore.StoreID) []byte {
	comment := storeComment + store.String() + "\n"
	if store == (keystore.StoreID{}) {
		comment = ""
	}
	return []byte(comment + id.Text().Reveal() + "\n")
}

// ParseFile reads an identity file with exactly one identity. Empty lines and
// comments are skipped, as age does; a file that age-keygen made names no store
// and gives the zero StoreID. ErrCorrupt: more than 8 KiB, no or more than one
// identity, any other line, more than one store or a store that cannot be.
// No error quotes the file.
func ParseFile(data []byte) (*Identity, keystore.StoreID, error) {
	if len(data) > maxFile {
		return fileError("has more than %d bytes", maxFile)
	}
	var id *Identity
	var store keystore.StoreID
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		var err error
		switch {
		case strings.HasPrefix(line, commentOurs):
			if store != (keystore.StoreID{}) {
				return fileError("names a store twice")
			}
			store, err = parseStoreComment(line)
		case line == "" || line[0] == '#':
		case id != nil:
			return fileError("has a second identity, or something else, in line %d", i+1)
		default:
			id, err = Parse(line)
		}
		if err != nil {
			return fileError("is wrong in line %d", i+1)
		}
	}
	if id == nil {
		return fileError("holds no identity")
	}
	return id, store, nil
}

func parseStoreComment(line string) (keystore.StoreID, error) {
	text, ok := strings.CutPrefix(line, storeComment)
	if !ok {
		return keystore.StoreID{}, keystore.ErrCorrupt
	}
	return keystore.ParseStoreID(text)
}

func fileError(format string, args ...any) (*Identity, keystore.StoreID, error) {
	return nil, keystore.StoreID{}, corrupt("the identity file " + fmt.Sprintf(format, args...))
}
