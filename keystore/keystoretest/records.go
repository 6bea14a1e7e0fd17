package keystoretest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

func isEmpty(s *store) {
	s.view(func(r keystore.Reader) error {
		if _, err := r.Get(token("x")); !errors.Is(err, keystore.ErrNotFound) {
			return fmt.Errorf("Get: got error %v, want %v", err, keystore.ErrNotFound)
		}
		keys, err := allKeys(r)
		if err == nil && len(keys) > 0 && r.Header().IsZero() {
			err = fmt.Errorf("there is no store but it has %v", keys)
		}
		return err
	})
	s.make()
	c := s.dump()
	if c.header.IsZero() {
		s.Error("the store was made and has no header")
	}
	delete(c.records, keystore.MetaKey)
	if len(c.records) > 0 {
		s.Errorf("the new store holds %v", c.records)
	}
}

func putsAndGets(s *store) {
	s.make()
	payloads := []string{
		`{"access_token":"x","expires_at_seconds":1700000000}`,
		`{"a" : [1, 2.50, 1e400],	"b":null, "":"\u0041 é \ud83d\ude00 </>&"}`,
		`null`, `true`, `0`, `""`, `[]`, `{}`, `12345678901234567890.10`,
		`{"Version":2,"NAME":"x","Kind":"y","kind":"z","Data":{"namespace":1},"Age":"a"}`,
	}
	for _, kind := range []keystore.Kind{keystore.KindToken, keystore.KindConfig, keystore.KindAccount, keystore.KindPending} {
		for _, payload := range payloads {
			k := keystore.RecordKey{Namespace: "DEFAULT", Kind: kind, Name: "x"}
			s.put(k, payload)
			s.wants(k, payload)
		}
	}
	neighbours := []keystore.RecordKey{
		{Namespace: "a", Kind: keystore.KindToken, Name: "b"},
		{Namespace: "b", Kind: keystore.KindToken, Name: "a"},
		{Namespace: "a", Kind: keystore.KindConfig, Name: "b"},
		{Namespace: "a", Kind: keystore.KindPending, Name: "b"},
		{Namespace: "ab", Kind: keystore.KindToken, Name: "c"},
		{Namespace: "a", Kind: keystore.KindToken, Name: "bc"},
	}
	for i, k := range neighbours {
		s.put(k, strconv.Itoa(i))
	}
	for i, k := range neighbours {
		s.wants(k, strconv.Itoa(i))
	}
}

// readsWhatItTook leaves it to the adapter to refuse JSON on which parsers
// disagree, but not to lose it.
func readsWhatItTook(s *store) {
	s.make()
	for name, payload := range map[string]string{
		"white space around":     " {\"a\": 1}\n",
		"a key twice":            `{"a":1,"a":2}`,
		"broken UTF-8":           "\"\xff\"",
		"a lone surrogate":       `"\ud800"`,
		"deep nesting":           nested(9_998),
		"deeper nesting":         nested(9_999),
		"the deepest nesting":    nested(10_000),
		"line separators":        "\"\u2028\u2029\"",
		"control characters":     `"\u0000\u001b\u007f"`,
		"a number out of range":  `-1e999999999`,
		"a very long number":     strings.Repeat("9", 5_000),
		"a key of the envelope":  `{"version":1,"store":"x","namespace":"y","kind":"token","name":"z","data":1}`,
		"an escaped quoted text": `"{\"a\":\"b\"}"`,
	} {
		k := token(name)
		err := s.Update(s.ctx, func(w keystore.Writer) error { return w.Put(k, []byte(payload)) })
		if err != nil {
			s.fails("Put of "+name, err, keystore.ErrInvalid)
			continue
		}
		if err := s.View(s.ctx, func(r keystore.Reader) error { return holds(r, k, payload) }); err != nil {
			s.Errorf("Put of %s succeeded, and then: %v", name, err)
		}
	}
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func isPersistent(s *store) {
	s.needsPersistence()
	s.make()
	s.update(func(w keystore.Writer) error {
		for i := range 20 {
			if err := w.Put(token(strconv.Itoa(i)), []byte(strconv.Itoa(i))); err != nil {
				return err
			}
		}
		return nil
	})
	s.update(func(w keystore.Writer) error { return w.Delete(token("7")) })
	before := s.dump()
	if len(before.records) < 19 {
		s.Fatalf("the store holds %d records, want 19 at least", len(before.records))
	}
	s.again().stays(before, "opened a second time,")
	s.ok("Close", s.Close())
	s.again().stays(before, "opened after Close,")
}

func missesRecords(s *store) {
	s.make()
	s.put(token("here"), `1`)
	s.update(func(w keystore.Writer) error {
		_, err := w.Get(token("missing"))
		s.fails("Get in Update", err, keystore.ErrNotFound)
		s.fails("Delete", w.Delete(token("missing")), keystore.ErrNotFound)
		if err := w.Delete(token("here")); err != nil {
			return err
		}
		s.fails("Delete again", w.Delete(token("here")), keystore.ErrNotFound)
		_, err = w.Get(token("here"))
		s.fails("Get of what was deleted", err, keystore.ErrNotFound)
		return w.Put(token("beside"), []byte(`2`))
	})
	s.view(func(r keystore.Reader) error {
		_, err := r.Get(token("here"))
		s.fails("Get after Delete", err, keystore.ErrNotFound)
		return holds(r, token("beside"), `2`)
	})
}

func listsKeys(s *store) {
	s.make()
	var all []keystore.RecordKey
	for _, kind := range []keystore.Kind{keystore.KindToken, keystore.KindConfig} {
		for _, namespace := range []string{"B", "a", "ab"} {
			for _, name := range []string{"A", "Z", "a", "a/b", "é", "日"} { // in byte order
				all = append(all, keystore.RecordKey{Namespace: namespace, Kind: kind, Name: name})
			}
		}
	}
	s.update(func(w keystore.Writer) error {
		for _, i := range rand.Perm(len(all)) {
			if err := w.Put(all[i], []byte(`1`)); err != nil {
				return err
			}
		}
		return listed(w, all)
	})
	s.view(func(r keystore.Reader) error { return listed(r, all) })
}

func listed(r keystore.Reader, all []keystore.RecordKey) error {
	for _, kind := range []keystore.Kind{keystore.KindToken, keystore.KindConfig, keystore.KindAccount} {
		for _, namespaces := range [][]string{nil, {"a"}, {"ab", "B"}, {"a", "a"}, {"b"}, {""}} {
			want := slices.DeleteFunc(slices.Clone(all), func(k keystore.RecordKey) bool {
				return k.Kind != kind || namespaces != nil && !slices.Contains(namespaces, k.Namespace)
			})
			got, err := collect(r, kind, namespaces...)
			if err != nil {
				return err
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("Keys(%s, %q) yields %v, want %v", kind, namespaces, got, want)
			}
		}
	}
	for range r.Keys(keystore.KindToken) {
		break // must be allowed
	}
	return nil
}

func changesWhileListing(s *store) {
	s.make()
	s.update(func(w keystore.Writer) error {
		for i := range 10 {
			if err := w.Put(token(strconv.Itoa(i)), []byte(`0`)); err != nil {
				return err
			}
		}
		return nil
	})
	s.update(func(w keystore.Writer) error {
		seen := 0
		for k, err := range w.Keys(keystore.KindToken) {
			if err == nil {
				err = increment(w, k)
			}
			if err != nil {
				return err
			}
			seen++
		}
		for k, err := range w.Keys(keystore.KindToken) {
			if err == nil {
				err = errors.Join(holds(w, k, `1`), w.Delete(k))
			}
			if err != nil {
				return err
			}
			seen++
		}
		if seen != 20 {
			return fmt.Errorf("two listings of 10 records yielded %d keys", seen)
		}
		return nil
	})
	if keys := s.dump().records; len(keys) > 1 { // the meta record may be there
		s.Errorf("all tokens were deleted, and the store holds %v", keys)
	}
}

func keepsOddNames(s *store) {
	s.make()
	names := []string{
		"a", "A", "transfer.api.globus.org", "TRANSFER.api.globus.org", "userprofile/production",
		".", "..", "../../etc/passwd", "/", `\`, `..\x`, "a:b", "a", "%2e%2e", "%", "*", "?", "~", "$HOME", "-rf",
		" ", " a", "a ", "a.", "a\u00a0b", "CON", "nul.txt", "'", `"`, "';--", "<&>", "{}", "\ufffd", "\ufeff",
		"é", "e\u0301", "ß", "ss", "İ", "i", "日本語", "\u202e", "\u200d", "\u2028", "\U0001F511", "\U0010ffff",
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	keys := make(map[keystore.RecordKey]string)
	for i, name := range names {
		keys[token(name)] = strconv.Itoa(i)
		keys[keystore.RecordKey{Namespace: name, Kind: keystore.KindToken, Name: "x"}] = strconv.Itoa(1000 + i)
		keys[keystore.RecordKey{Namespace: name, Kind: keystore.KindConfig, Name: name}] = strconv.Itoa(2000 + i)
	}
	s.update(func(w keystore.Writer) error {
		for k, payload := range keys {
			if err := w.Put(k, []byte(payload)); err != nil {
				return err
			}
		}
		return nil
	})
	got := s.other().dump().records
	delete(got, keystore.MetaKey)
	if len(got) != len(keys) {
		s.Errorf("%d records were put, the store holds %d", len(keys), len(got))
	}
	for k, payload := range keys {
		if got[k] != payload {
			s.Errorf("%v: got %q, want %q", k, got[k], payload)
		}
	}
	for _, name := range names {
		unlock, err := s.LockCredential(s.ctx, token(name))
		s.ok("LockCredential", err)
		s.ok("unlock", unlock())
	}
}

func refusesNames(s *store) {
	s.make()
	before := s.dump()
	for _, bad := range []string{"", "\x00", "a\x00b", "\n", "a\tb", "\x1b[31m", "\x7f", "\u0085", "\xff", "a\xc3", "\xed\xa0\x80"} {
		s.refuses(keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: bad}, keystore.ErrInvalid)
		s.refuses(keystore.RecordKey{Namespace: bad, Kind: keystore.KindToken, Name: "x"}, keystore.ErrInvalid)
		s.refuses(keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.Kind(bad), Name: "x"}, keystore.ErrInvalid)
	}
	s.refuses(keystore.RecordKey{Namespace: "DEFAULT", Kind: "Token", Name: "x"}, keystore.ErrInvalid)
	s.refuses(keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindMeta, Name: "x"}, keystore.ErrInvalid)
	s.stays(before, "after names were refused")
}

func refusesHeaders(s *store) {
	s.make()
	before := s.dump()
	good := s.Header(keystore.StoreID{1}, 0)
	for what, bad := range map[string]keystore.Header{
		"without an id":      {Slots: good.Slots},
		"of an unknown kind": {StoreID: good.StoreID, Slots: []keystore.Slot{{Kind: "nowhere", Name: "x"}}},
		"without a name":     {StoreID: good.StoreID, Slots: []keystore.Slot{{Kind: keystore.SlotPassphrase}}},
	} {
		err := s.Update(s.ctx, func(w keystore.Writer) error { return w.SetHeader(bad) })
		s.fails("SetHeader "+what, err, keystore.ErrInvalid)
	}
	s.stays(before, "after headers were refused")
}

// refuses checks that no call takes k.
func (s *store) refuses(k keystore.RecordKey, want error) {
	s.Helper()
	what := fmt.Sprintf("kind %q, namespace %s, name %s", string(k.Kind), brief(k.Namespace), brief(k.Name))
	s.update(func(w keystore.Writer) error {
		_, err := w.Get(k)
		s.fails("Get in Update of "+what, err, want)
		s.fails("Put of "+what, w.Put(k, []byte(`1`)), want)
		s.fails("Delete of "+what, w.Delete(k), want)
		return nil
	})
	s.view(func(r keystore.Reader) error {
		_, err := r.Get(k)
		s.fails("Get of "+what, err, want)
		return nil
	})
	unlock, err := s.LockCredential(s.ctx, k)
	s.fails("LockCredential of "+what, err, want)
	if err == nil {
		unlock()
	}
}

func limitsNames(s *store) {
	s.make()
	for _, letter := range []string{"x", "é", `"`, "<", "/", "日"} {
		longest := strings.Repeat(letter, keystore.MaxName/len(letter))
		longest += strings.Repeat("x", keystore.MaxName-len(longest))
		k := keystore.RecordKey{Namespace: longest, Kind: keystore.KindToken, Name: longest}
		s.put(k, `1`)
		s.wants(k, `1`)
		s.refuses(keystore.RecordKey{Namespace: longest + "x", Kind: keystore.KindToken, Name: "x"}, keystore.ErrTooLarge)
		s.refuses(token(longest+"x"), keystore.ErrTooLarge)
	}
}

func limitsPayloads(s *store) {
	s.make()
	for _, letter := range []string{"x", `"`, "<", "\u2028"} {
		// Long names beside the largest payload, both of what JSON makes longer.
		name := strings.Repeat(letter, keystore.MaxName/len(letter))
		k := keystore.RecordKey{Namespace: name, Kind: keystore.KindToken, Name: name}
		fits := jsonOfSize(s.MaxValue)
		s.put(k, fits)
		s.wants(k, fits)
		err := s.Update(s.ctx, func(w keystore.Writer) error { return w.Put(k, []byte(jsonOfSize(s.MaxValue+1))) })
		s.fails("Put of one byte more", err, keystore.ErrTooLarge)
		s.wants(k, fits)
	}
}

// jsonOfSize is a JSON value of n bytes, among them such as JSON encoders escape.
func jsonOfSize(n int) string {
	return `"` + strings.Repeat("<", n/2) + strings.Repeat("x", n-n/2-2) + `"`
}

func refusesNonJSON(s *store) {
	s.make()
	s.put(token("x"), `1`)
	for _, payload := range []string{"", " ", "{", "{}{}", "1 2", "text", "{'a':1}", `{"a":1,}`, "NaN", "\x00", "\"\n\""} {
		err := s.Update(s.ctx, func(w keystore.Writer) error { return w.Put(token("x"), []byte(payload)) })
		s.fails(fmt.Sprintf("Put of %q", payload), err, keystore.ErrInvalid)
	}
	s.update(func(w keystore.Writer) error {
		s.fails("Put of nil", w.Put(token("x"), nil), keystore.ErrInvalid)
		return nil // an error of Put that fn gets over leaves the record
	})
	s.wants(token("x"), `1`)
}

func sharesNoSlices(s *store) {
	s.make()
	k := token("x")
	s.update(func(w keystore.Writer) error {
		given := []byte(`"as it was"`)
		if err := w.Put(k, given); err != nil {
			return err
		}
		scribble(given)
		got, err := w.Get(k)
		scribble(got)
		return err
	})
	s.view(func(r keystore.Reader) error {
		got, err := r.Get(k)
		if err != nil {
			return err
		}
		scribble(got)
		for _, slots := range [][]keystore.Slot{r.Header().Slots, r.Header().Slots} {
			for i := range slots {
				if slots[i].Name == "changed" {
					return errors.New("a slot changed by the caller has changed the header")
				}
				slots[i].Name = "changed"
			}
		}
		return holds(r, k, `"as it was"`)
	})
	s.wants(k, `"as it was"`)
}

func scribble(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}

func (s *store) needsPersistence() {
	s.Helper()
	if !s.Persistent {
		s.Skip("the adapter keeps nothing")
	}
}
