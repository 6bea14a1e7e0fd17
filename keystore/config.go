package keystore

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// PutConfig stores a value of the program's own, such as a client id and its
// secret, under a name in the namespace. v is what encoding/json can encode; a
// Secret in it must be revealed by the caller, and is ErrInvalid otherwise.
func (s *Store) PutConfig(ctx context.Context, name string, v any) (err error) {
	erase.Do(func() { err = s.putConfig(ctx, name, v) })
	return err
}

func (s *Store) putConfig(ctx context.Context, name string, v any) error {
	key := s.config(name)
	payload, err := encodeConfig(key, v)
	if err == nil && bytes.Contains(payload, []byte(`"`+redacted+`"`)) {
		err = &Error{Err: ErrInvalid, Detail: "the value holds a Secret, which would be stored as " + redacted}
	}
	if err != nil {
		return annotate(err, "put", key)
	}
	return s.update(ctx, "put", func(w Writer, _ func(error)) error { return w.Put(key, payload) })
}

// GetConfig decodes the value that was stored under name into v, as
// json.Unmarshal does. ErrNotFound if there is none.
func (s *Store) GetConfig(ctx context.Context, name string, v any) (err error) {
	erase.Do(func() { err = s.getConfig(ctx, name, v) })
	return err
}

func (s *Store) getConfig(ctx context.Context, name string, v any) error {
	key := s.config(name)
	var payload []byte
	err := s.view(ctx, "get", key, func(r Reader) error {
		var err error
		payload, err = r.Get(key)
		return err
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(payload, v); err != nil {
		return &Error{Op: "get", Key: key, Err: ErrInvalid, Detail: "the stored value does not fit the type asked for"}
	}
	return nil
}

// DeleteConfig removes what was stored under name. ErrNotFound if there is none.
func (s *Store) DeleteConfig(ctx context.Context, name string) error {
	return s.delete(ctx, s.config(name))
}

// Configs returns the names under which values are stored, sorted. It works
// while the store is locked, unless that hides names.
func (s *Store) Configs(ctx context.Context) ([]string, error) {
	keys, err := s.keys(ctx, KindConfig, s.namespace)
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, key.Name)
	}
	return names, err
}

func encodeConfig(key RecordKey, v any) ([]byte, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	payload, err := encode(v)
	if err != nil {
		return nil, err
	}
	return payload, CheckPayload(key, payload)
}

func (s *Store) config(name string) RecordKey {
	return RecordKey{Namespace: s.namespace, Kind: KindConfig, Name: name}
}
