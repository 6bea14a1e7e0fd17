package seal

import (
	"context"
	"crypto/sha256"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// Blind implements keystore.Blinder. The hash comes from the key of a seal at k whose
// salt is zero, which no seal has, so that whoever holds the key for us need know of
// nothing else. It says nothing of that key, nor of any other.
func (s *Sealer) Blind(ctx context.Context, k keystore.RecordKey) (tag [sha256.Size]byte, err error) {
	erase.Do(func() {
		var key keystore.Secret
		if key, err = s.wrapKey(ctx, k, Salt{}); err == nil {
			copy(tag[:], expand([]byte(key.Reveal()), nil, nameLabel, len(tag)))
		}
	})
	return tag, keystore.Annotate(err, keystore.Error{Key: k})
}
