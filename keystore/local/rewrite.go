package local

import "github.com/globus-keys/globus-keys/keystore"

// rewriteAll seals all records of a kind anew. One that is there and cannot be listed
// would be left behind with the key before.
func rewriteAll(w keystore.Writer, kind keystore.Kind, meta []byte) error {
	listed := 0
	for key, err := range w.Keys(kind) {
		if err != nil {
			return err
		}
		if err := rewrite(w, key, meta); err != nil {
			return err
		}
		listed++
	}
	return keystore.Unlisted(w, kind, listed)
}

func rewrite(w keystore.Writer, key keystore.RecordKey, meta []byte) error {
	if key == keystore.MetaKey {
		return w.Put(key, meta)
	}
	payload, err := w.Get(key)
	if err != nil {
		return err
	}
	return w.Put(key, payload)
}
