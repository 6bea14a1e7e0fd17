package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"a": [1, {"b": "x"}], "c": null}`, ""},
		{` "a \"quoted\" string" `, ""},
		{`{"a": "\ud83d\ude00 \ufffd \\ud800"}`, ""},
		{`[1.5e3,true,false,null,"",{},[]]`, ""},
		{`{"a": 1, "a": 2}`, `key "a" stands twice`},
		{`{"a": 1, "\u0061": 2}`, `key "a" stands twice`},
		{`[{"x": {"deep": 1, "deep": 1}}]`, `key "deep" stands twice`},
		{`{"Access_Token": "x"}`, `key "Access_Token" is not "access_token"`},
		{`{"a": "\ud800"}`, "unpaired surrogate"},
		{`{"\udc00": 1}`, "unpaired surrogate"},
		{"{\"a\": \"\xff\"}", "not valid UTF-8"},
		{`{"a": 1} x`, "not valid JSON at byte 10"},
		{`{"a": 1`, "not valid JSON"},
		{`{"a": NaN}`, "not valid JSON"},
		{``, "not valid JSON"},
		{strings.Repeat("[", 10001) + strings.Repeat("]", 10001), "nested too deep"},
	} {
		err := Check([]byte(c.text), "access_token")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("Check(%.60q) = %v, want nil", c.text, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("Check(%.60q) = %v, want %q", c.text, err, c.want)
		}
	}
}

// FuzzCheck holds Check to its promise: what it accepts is JSON, and decoding
// and encoding it again loses no key.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"a":[]}}`, `"\\\u00e9"`, `{"a":1,"A":2}`, `[{}]`, `"\ud800"`, `1e999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if Check(data, "a") != nil {
			return
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber() // 1e999 is JSON, and no float64
		if err := d.Decode(&v); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", data, err)
		}
		if again, _ := json.Marshal(v); Check(again, "a") != nil {
			t.Fatalf("accepted %q but not its re-encoding %q", data, again)
		}
		if got, want := countKeys(v), strings.Count(strip(data), ":"); got != want {
			t.Fatalf("%q has %d keys in the text, %d after decoding", data, want, got)
		}
	})
}

func countKeys(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n += 1 + countKeys(e)
		}
	case []any:
		for _, e := range v {
			n += countKeys(e)
		}
	}
	return n
}

// strip returns data without its strings, so that every colon left is a key's.
func strip(data []byte) string {
	var out strings.Builder
	in := false
	for i := 0; i < len(data); i++ {
		switch {
		case in && data[i] == '\\':
			i++
		case data[i] == '"':
			in = !in
		case !in:
			out.WriteByte(data[i])
		}
	}
	return out.String()
}
