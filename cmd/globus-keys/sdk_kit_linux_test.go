package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// sdk is a Python process that has the real Globus SDK: testdata/sdk.py. It takes a
// second to start.
type sdk struct {
	mu  sync.Mutex // of one question and its answer
	in  io.Writer
	out *bufio.Reader
}

func newSDK(t *testing.T) *sdk {
	cmd := exec.Command(testenv.Python(t), filepath.Join("testdata", "sdk.py"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := new(strings.Builder)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // by which it ends
		if err := cmd.Wait(); err != nil {
			t.Logf("%v: %s", err, said)
		}
	})
	return &sdk{in: in, out: bufio.NewReader(out)}
}

// sdkRequest is a request to testdata/sdk.py, which says what is in it.
type sdkRequest struct {
	Do         string      `json:"do"`
	Kind       string      `json:"kind"`
	Path       string      `json:"path"`
	Records    []sdkRecord `json:"records"`
	Configs    []sdkRecord `json:"configs"`
	Namespaces []string    `json:"namespaces"`
	Namespace  string      `json:"namespace"`
	Answer     fields      `json:"answer"`
}

type sdkRecord struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Data      fields `json:"data"`
}

// id tells records apart.
func (r sdkRecord) id() string { return fmt.Sprintf("%q %q", r.Namespace, r.Name) }

// fields are a JSON object, with its numbers as they are written.
type fields map[string]any

type sdkAnswer struct {
	Error   string      `json:"error"`
	Version string      `json:"version"`
	Records []sdkRecord `json:"records"`
	Configs []sdkRecord `json:"configs"`
}

func (s *sdk) ask(t *testing.T, q sdkRequest) (a sdkAnswer) {
	t.Helper()
	q.Records, q.Configs = append([]sdkRecord{}, q.Records...), append([]sdkRecord{}, q.Configs...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.NewEncoder(s.in).Encode(q); err != nil {
		t.Fatal(err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Error != "" {
		t.Fatalf("the SDK, asked to %s %s: %s", q.Do, q.Path, a.Error)
	}
	return a
}

// texts are records as the SDK sees them, by namespace and name. To it null and
// absent are one; to the store the empty text of what may be absent is, too, and a
// record has its name.
func texts(records []sdkRecord) map[string]string {
	all := make(map[string]string)
	for _, r := range records {
		data := fields{"scope": "", "expires_at_seconds": json.Number("0"), "resource_server": r.Name}
		for name, value := range r.Data {
			optional := slices.Contains([]string{"refresh_token", "token_type", "identity_id"}, name)
			if optional && (value == nil || value == "") || data[name] != nil && value == nil {
				continue
			}
			data[name] = value
		}
		all[r.id()] = text(data)
	}
	return all
}

// plainly are configs, by namespace and name.
func plainly(configs []sdkRecord) map[string]string {
	all := make(map[string]string)
	for _, c := range configs {
		all[c.id()] = text(c.Data)
	}
	return all
}

// text is canonical: encoding/json sorts.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func namespacesIn(lists ...[]sdkRecord) (names []string) {
	for _, r := range slices.Concat(lists...) {
		names = append(names, r.Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// generator makes up what a Python program may have stored.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 0))} }

func oneOf[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// oddNames are names that some part may stumble on; none has a control character.
var oddNames = []string{
	"transfer.api.globus.org", "524230d7-ea86-4a52-8312-86065a9e0417", "funcx_service", "user/production", "DEFAULT", "default",
	"by_rs", "data", "__proto__", "null", "0", "-1", " ", " a ", "a'b", `a"b`, `a\b`, "a/../b", "%41", "a?b=c&d", "<b>", "{}", "[]",
	"é", "e\u0301", "ünïcode 🚀", "אבג", "\u2028", "\ufeff", "\ufffd", "'; DROP TABLE token_storage; --", strings.Repeat("n", 512), strings.Repeat("é", 256),
}

// text is a text of at most n runes, of all sorts.
func (g generator) text(n int) string {
	var b strings.Builder
	for range g.IntN(n + 1) {
		b.WriteRune(oneOf(g, 'a', 'Z', '0', ' ', '"', '\\', '/', '<', '&', '\'', 'é', '\u0301', 'א', '\u2028', '\ufffd', '😀', '\n', '\t', '\x00', '\x1f', '\x7f', '\u0085'))
	}
	return b.String()
}

// value is any JSON value that Python writes as it was read.
func (g generator) value(depth int) any {
	switch n := g.IntN(10); {
	case n < 3:
		return g.text(40)
	case n < 5:
		return json.Number(oneOf(g, "0", "-1", "1700000000", "9007199254740993", "-18446744073709551616", "1"+strings.Repeat("0", 400), "0.1", "1e+16", "2.5e-300"))
	case n < 7:
		return oneOf[any](g, nil, true, false)
	case depth == 0:
		return oneOf[any](g, fields{}, []any{}, "")
	case n == 7:
		return []any{g.value(depth - 1), g.value(depth - 1)}
	}
	return fields{g.text(5): g.value(depth - 1), "k": g.value(depth - 1)}
}

// record is what a program of version 1 may store, or one of version 2.
func (g generator) record(namespace, name string, two bool) sdkRecord {
	data := fields{
		"resource_server":    name,
		"access_token":       "A" + g.text(oneOf(g, 1, 50, 4000)),
		"refresh_token":      oneOf[any](g, nil, "", "R"+g.text(50), "R"+g.text(50), "R"+g.text(50)),
		"token_type":         oneOf[any](g, nil, "", "Bearer", "Bearer"),
		"scope":              oneOf(g, "", "openid", g.text(3000)),
		"expires_at_seconds": json.Number(oneOf(g, "0", "1", "1700000000", "4070908799", "253402300799")),
	}
	if two || g.IntN(4) == 0 {
		data["identity_id"] = oneOf[any](g, nil, "2982f207-04c0-11e5-ac60-22000b92c6ec")
	}
	if !two {
		delete(data, oneOf(g, "resource_server", "refresh_token", "token_type", "", "", ""))
	}
	for range g.IntN(4) {
		data[oneOf(g, "extra", "id_token", "x", "self", "é", "", "a\x00b", g.text(8))] = g.value(3)
	}
	return sdkRecord{namespace, name, data}
}

// records are of several namespaces, or of one.
func (g generator) records(two, one bool) (all []sdkRecord) {
	names := slices.Clone(oddNames)
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	namespaces := append([]string{"DEFAULT"}, slices.DeleteFunc(names[:g.IntN(12)], func(s string) bool { return s == "DEFAULT" })...)
	if one {
		namespaces = namespaces[:1]
	}
	for _, namespace := range namespaces {
		servers := slices.Clone(oddNames)
		g.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
		for _, name := range servers[:1+g.IntN(6)] {
			all = append(all, g.record(namespace, name, two))
		}
	}
	return all
}

func (g generator) configs(records []sdkRecord) (all []sdkRecord) {
	for _, namespace := range append(namespacesIn(records), "config-only") {
		if g.IntN(2) == 0 || namespace == "config-only" {
			all = append(all, sdkRecord{namespace, oneOf(g, oddNames...), fields{"client": g.value(2), g.text(5): g.value(3)}})
		}
	}
	return all
}
