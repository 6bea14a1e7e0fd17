package keystore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestRecordKeyCheck(t *testing.T) {
	longest := strings.Repeat("x", keystore.MaxName)
	for _, c := range []struct {
		key  keystore.RecordKey
		want error
	}{
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: "x"}, nil},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindConfig, Name: "x"}, nil},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindAccount, Name: "x"}, nil},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindPending, Name: "x"}, nil},
		{keystore.MetaKey, nil},
		{keystore.RecordKey{Namespace: longest, Kind: keystore.KindToken, Name: longest}, nil},
		{keystore.RecordKey{Namespace: "../..", Kind: keystore.KindToken, Name: "a:b/c %2e\u202e é \ufffd"}, nil},
		{keystore.RecordKey{Namespace: " ", Kind: keystore.KindToken, Name: " "}, nil},

		{keystore.RecordKey{Kind: keystore.KindToken, Name: "x"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Name: "x"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: "Token", Name: "x"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindMeta, Name: "store"}, keystore.ErrInvalid},
		{keystore.RecordKey{Kind: keystore.KindMeta}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "a\x00", Kind: keystore.KindToken, Name: "x"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: "\x1b[2J"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: "\u0085"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: "\x7f"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: "\xff"}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: "\xc0\x80", Kind: keystore.KindToken, Name: "x"}, keystore.ErrInvalid},
		{keystore.RecordKey{}, keystore.ErrInvalid},
		{keystore.RecordKey{Namespace: longest + "x", Kind: keystore.KindToken, Name: "x"}, keystore.ErrTooLarge},
		{keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken, Name: longest + "x"}, keystore.ErrTooLarge},
	} {
		err := c.key.Check()
		if !errors.Is(err, c.want) {
			t.Errorf("%v: got %v, want %v", c.key, err, c.want)
		}
		if err != nil && hasControl(err.Error()) {
			t.Errorf("%v: the error %q has a control character", c.key, err)
		}
	}
}

func TestCheckPayloadLimitsBytes(t *testing.T) {
	k := keystore.MetaKey
	if err := keystore.CheckPayload(k, make([]byte, keystore.MaxPayload)); err != nil {
		t.Error(err)
	}
	if err := keystore.CheckPayload(k, make([]byte, keystore.MaxPayload+1)); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestKindsAreAllKinds(t *testing.T) {
	for _, kind := range keystore.Kinds() {
		k := keystore.RecordKey{Namespace: "n", Kind: kind, Name: "x"}
		if kind == keystore.KindMeta {
			k.Namespace = ""
		}
		if err := k.Check(); err != nil {
			t.Error(err)
		}
	}
	if len(keystore.Kinds()) != 5 {
		t.Errorf("Kinds = %q", keystore.Kinds())
	}
}

func TestStoreIDIsReadAsItIsWritten(t *testing.T) {
	id := keystore.StoreID{0, 1, 2, 0xab, 15: 0xff}
	if got, err := keystore.ParseStoreID(id.String()); err != nil || got != id {
		t.Errorf("%v came back as %v, %v", id, got, err)
	}
	for _, s := range []string{"", id.String()[:31], id.String() + "0", strings.ToUpper(id.String()), " " + id.String()[1:], strings.Repeat("x", 32)} {
		if _, err := keystore.ParseStoreID(s); !errors.Is(err, keystore.ErrCorrupt) {
			t.Errorf("%q: got %v", s, err)
		}
	}
}

func TestHeaderIsZeroOnlyWithoutAStore(t *testing.T) {
	for _, c := range []struct {
		header keystore.Header
		want   bool
	}{
		{keystore.Header{}, true},
		{keystore.Header{Slots: []keystore.Slot{}}, true},
		{keystore.Header{StoreID: keystore.StoreID{1}}, false},
		{keystore.Header{Slots: []keystore.Slot{{}}}, false},
	} {
		if got := c.header.IsZero(); got != c.want {
			t.Errorf("%+v: IsZero = %v", c.header, got)
		}
	}
}
