package keystore

import (
	"context"
	"maps"
	"slices"
)

// Contents returns what the namespaces named hold, or, if none is named, all of
// them, sorted: what Import takes. It is one snapshot, all or none: a record that
// cannot be read is the error, since who writes the rest into a file would take
// that for whole. A namespace that holds nothing is left out.
func (s *Store) Contents(ctx context.Context, namespaces ...string) ([]Content, error) {
	var found map[string]*Content
	err := s.adapter.View(ctx, func(r Reader) error {
		found = make(map[string]*Content)
		if r.Header().IsZero() {
			return &Error{Err: ErrNotFound, Detail: "there is no store yet"}
		}
		for _, kind := range []Kind{KindToken, KindConfig, KindAccount} {
			if err := collectAll(r, kind, namespaces, found); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, annotate(err, "read", RecordKey{})
	}
	var contents []Content
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		contents = append(contents, *found[namespace])
	}
	return contents, nil
}

func collectAll(r Reader, kind Kind, namespaces []string, found map[string]*Content) error {
	listed := 0
	for key, err := range r.Keys(kind, namespaces...) {
		if err != nil {
			return err
		}
		if err := collect(r, key, found); err != nil {
			return err
		}
		listed++
	}
	if len(namespaces) > 0 { // nothing tells which one a record is of that has lost its name
		return nil
	}
	return Unlisted(r, kind, listed)
}

// collect adds the record at key to the content of its namespace.
func collect(r Reader, key RecordKey, found map[string]*Content) (err error) {
	c := found[key.Namespace]
	if c == nil {
		c = &Content{Namespace: key.Namespace}
		found[key.Namespace] = c
	}
	switch key.Kind {
	case KindToken:
		var t Token
		t, err = getToken(r, key)
		c.Tokens = append(c.Tokens, t)
	case KindAccount:
		c.Account, err = getAccount(r, key)
	case KindConfig:
		var payload []byte
		if payload, err = r.Get(key); err != nil {
			return annotate(err, "", key)
		}
		if c.Configs == nil {
			c.Configs = make(map[string]Secret)
		}
		c.Configs[key.Name] = NewSecret(string(payload))
	}
	return err
}
