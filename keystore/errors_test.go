package keystore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode"

	"github.com/globus-keys/globus-keys/keystore"
)

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func TestErrorSaysWhatWhereAndWhy(t *testing.T) {
	for _, c := range []struct {
		err  keystore.Error
		want string
	}{
		{keystore.Error{Err: keystore.ErrLocked}, `the store is locked`},
		{keystore.Error{Op: "put", Err: keystore.ErrReadOnly}, `put: read-only`},
		{keystore.Error{Op: "open", Store: "/a/b", Err: keystore.ErrCorrupt, Detail: "why"}, `open of /a/b: damaged: why`},
		{keystore.Error{Store: "/a/b", Err: keystore.ErrCorrupt}, `/a/b: damaged`},
		{keystore.Error{Op: "get", Store: "/a/b", Key: keyOf("x"), Err: keystore.ErrTampered, Detail: "why"},
			`get token "x" in namespace "DEFAULT" of /a/b: tampered with: why`},
		{keystore.Error{Key: keystore.MetaKey, Err: keystore.ErrNotFound}, `meta "store": not found`},
		{keystore.Error{Store: `C:\Users\a b\tokens.json`, Err: keystore.ErrBusy}, `C:\Users\a b\tokens.json: busy`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestErrorHasNoControlCharacters(t *testing.T) {
	const evil = "a\x1b[2J\nb\r\x00\x07\u009b\u202e\xff"
	for i, err := range []error{
		&keystore.Error{Store: evil, Err: keystore.ErrCorrupt},
		&keystore.Error{Key: keystore.RecordKey{Namespace: evil, Kind: keystore.KindToken, Name: evil}, Err: keystore.ErrCorrupt},
		&keystore.Error{Key: keystore.RecordKey{Namespace: "x", Kind: keystore.Kind(evil), Name: "x"}, Err: keystore.ErrCorrupt},
		&keystore.Error{Detail: evil, Err: keystore.ErrCorrupt},
		&keystore.Error{Op: "open", Err: &fs.PathError{Op: "open", Path: evil, Err: fs.ErrPermission}},
		&keystore.Error{Err: &keystore.Error{Store: evil, Err: keystore.ErrCorrupt}},
		keystore.RecordKey{Namespace: "x", Kind: keystore.Kind(evil), Name: "x"}.Check(),
		keystore.RecordKey{Namespace: "x", Kind: keystore.KindToken, Name: evil}.Check(),
		keystore.RecordKey{Namespace: evil, Kind: keystore.KindMeta, Name: evil}.Check(),
	} {
		if text := err.Error(); hasControl(text) || strings.ContainsRune(text, '\u202e') || strings.Contains(text, "\xff") {
			t.Errorf("error %d says %q", i, text)
		}
	}
}

func TestErrorsFromTheStoreNameTheRecord(t *testing.T) {
	w := newWorld(t)
	_, err := w.Get(t.Context(), transfer)
	if want := `get token "transfer.api.globus.org" in namespace "DEFAULT": not found`; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var e *keystore.Error
	if !errors.As(err, &e) || e.Op != "get" || e.Key != keyOf(transfer) {
		t.Errorf("got %#v", e)
	}
}

func TestAnnotateFillsInWhatIsMissing(t *testing.T) {
	about := keystore.Error{Op: "op", Store: "store", Key: keyOf("key"), Detail: "not taken", Err: errors.New("neither")}
	if keystore.Annotate(nil, about) != nil {
		t.Error("nil does not stay nil")
	}
	whole := keystore.Error{Op: "o", Store: "s", Key: keyOf("k"), Detail: "d", Err: keystore.ErrBusy}
	for _, c := range []struct{ err, want keystore.Error }{
		{keystore.Error{Err: keystore.ErrBusy}, keystore.Error{Op: "op", Store: "store", Key: keyOf("key"), Err: keystore.ErrBusy}},
		{keystore.Error{Op: "o", Detail: "d", Err: keystore.ErrBusy}, keystore.Error{Op: "o", Store: "store", Key: keyOf("key"), Detail: "d", Err: keystore.ErrBusy}},
		{whole, whole},
	} {
		given := c.err
		got, ok := keystore.Annotate(&given, about).(*keystore.Error)
		if !ok || *got != c.want {
			t.Errorf("%+v became %+v, want %+v", c.err, got, c.want)
		}
		if given != c.err {
			t.Errorf("Annotate changed the error it was given to %+v", given)
		}
	}
	inner := fmt.Errorf("inner: %w", keystore.ErrLocked)
	outer := keystore.Annotate(inner, keystore.Error{Op: "op"})
	if !errors.Is(outer, keystore.ErrLocked) || outer.Error() != "op: inner: the store is locked" {
		t.Errorf("got %v", outer)
	}
}
