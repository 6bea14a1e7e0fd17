package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// sdkKinds are the formats, as --format and --format-version name them.
var sdkKinds = []string{"globus-sdk-json 1.0", "globus-sdk-json 2.0", "globus-sdk-sqlite 1", "globus-sdk-sqlite 2"}

// sdkWorld is a user with stores, and the SDK.
type sdkWorld struct {
	*home
	sdk *sdk
}

func newSDKWorld(t *testing.T, s *sdk) *sdkWorld { return &sdkWorld{newHome(t, oauthtest.Static), s} }

func (w *sdkWorld) ask(q sdkRequest) sdkAnswer {
	w.Helper()
	return w.sdk.ask(w.T, q)
}

func (w *sdkWorld) path(name string) string { return filepath.Join(w.dir, name) }

// imported makes a store of what a file holds, and names it.
func (w *sdkWorld) imported(file string) (store string) {
	w.Helper()
	store = "file:" + w.path(filepath.Base(file)+".store")
	w.must("--store", store, "import", file)
	return store
}

// exported writes a file of kind from a store.
func (w *sdkWorld) exported(store, kind string, more ...string) (file string) {
	w.Helper()
	file = w.path(fmt.Sprintf("%d %s", len(w.entries(w.dir)), kind))
	name, version, _ := strings.Cut(kind, " ")
	w.must(append([]string{"--store", store, "export", "--format", name, "--format-version", version, "--plaintext", file}, more...)...)
	return file
}

// holds checks what the SDK reads in a file.
func (w *sdkWorld) holds(file, kind string, records, configs []sdkRecord) {
	w.Helper()
	got := w.ask(sdkRequest{Do: "read", Kind: kind, Path: file, Namespaces: namespacesIn(records, configs)})
	w.same("records", texts(got.Records), texts(records))
	w.same("configs", plainly(got.Configs), plainly(configs))
}

func (w *sdkWorld) same(what string, got, want map[string]string) {
	w.Helper()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		w.Errorf("the %s are of\n%q\nwant\n%q", what, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for name := range want {
		if got[name] != want[name] {
			n := 0
			for n < min(len(got[name]), len(want[name])) && got[name][n] == want[name][n] {
				n++
			}
			w.Errorf("%s: %s is different from byte %d on:\n%.300q\nwant\n%.300q", what, name, n, got[name][n:], want[name][n:])
		}
	}
}

// holdsOld is holds for a file of version 1, which the classes of version 2 read too.
func (w *sdkWorld) holdsOld(file, kind string, records, configs []sdkRecord) {
	w.Helper()
	w.holds(file, kind, records, configs)
	next := strings.NewReplacer("1.0", "2.0", "sqlite 1", "sqlite 2").Replace(kind)
	w.holds(file, next, records, nil)
}

// sample is what the SDK has written.
type sample struct {
	kind, other      string // of the formats: the file's, and one of the others
	file             string
	records, configs []sdkRecord
}

// eachSeed runs fn with what the SDK has written in each format, three times: there are
// three other formats.
func eachSeed(t *testing.T, fn func(w *sdkWorld, s sample)) {
	python := newSDK(t)
	for n, kind := range sdkKinds {
		for turn := range len(sdkKinds) - 1 {
			seed := uint64(10*n + turn)
			t.Run(fmt.Sprintf("%s, seed %d", kind, seed), func(t *testing.T) {
				t.Parallel()
				w := newSDKWorld(t, python)
				s := newGenerator(seed).sample(kind)
				s.file, s.other = w.path("written by the SDK"), sdkKinds[(n+1+turn)%len(sdkKinds)]
				w.write(s)
				fn(w, s)
			})
		}
	}
}

func (g generator) sample(kind string) sample {
	s := sample{kind: kind, records: g.records(strings.HasSuffix(kind, "2") || strings.HasSuffix(kind, "2.0"), kind == "globus-sdk-json 1.0")}
	if kind == "globus-sdk-sqlite 1" {
		s.configs = g.configs(s.records)
	}
	return s
}

func (w *sdkWorld) write(s sample) {
	w.Helper()
	w.ask(sdkRequest{Do: "write", Kind: s.kind, Path: s.file, Records: s.records, Configs: s.configs})
}

// TestRealSDKReadsWhatItHasWritten, after it has been in our store: in the format that
// it was in, and, after an export and another import, in another one. The SDK itself
// reads the file that it has written so.
func TestRealSDKReadsWhatItHasWritten(t *testing.T) {
	eachSeed(t, func(w *sdkWorld, s sample) {
		w.holds(s.file, s.kind, s.records, s.configs)
		file := w.exported(w.imported(s.file), s.kind)
		w.holds(file, s.kind, s.records, s.configs)
		store := w.imported(file)
		switch s.other {
		case "globus-sdk-json 1.0":
			one := slices.DeleteFunc(slices.Clone(s.records), func(r sdkRecord) bool { return r.Namespace != "DEFAULT" })
			w.holdsOld(w.exported(store, s.other, "--namespace", "DEFAULT"), s.other, one, nil)
		case "globus-sdk-sqlite 1":
			w.holdsOld(w.exported(store, s.other), s.other, s.records, s.configs)
		default:
			w.holds(w.exported(store, s.other), s.other, s.records, nil)
		}
	})
}

// TestFollowTakesWhatTheRealSDKHasRenewed, and nothing else changes.
func TestFollowTakesWhatTheRealSDKHasRenewed(t *testing.T) {
	eachSeed(t, func(w *sdkWorld, s sample) {
		n := slices.IndexFunc(s.records, func(r sdkRecord) bool {
			refresh, _ := r.Data["refresh_token"].(string)
			return refresh != ""
		})
		if n < 0 {
			w.Fatal("the seed makes no login that can be renewed")
		}
		old := s.records[n]
		old.Data["expires_at_seconds"] = json.Number("1700000000") // the SDK counts from now
		old.Data["extra_field"] = fields{"kept": true}
		w.write(s)
		store := w.imported(s.file)
		plain := w.exported(store, s.kind)
		w.ask(sdkRequest{Do: "refresh", Kind: s.kind, Path: plain, Namespace: old.Namespace, Answer: fields{
			"access_token": "Fake renewed", "refresh_token": old.Data["refresh_token"], "token_type": "Bearer", "expires_in": 172800,
			"scope": old.Data["scope"], "resource_server": old.Name, "other_tokens": []any{}}})
		w.must("--store", store, "import", "--follow", plain)

		after := texts(w.ask(sdkRequest{Do: "read", Kind: s.kind, Path: plain, Namespaces: []string{old.Namespace}}).Records)
		var renewed struct {
			Expires json.Number `json:"expires_at_seconds"`
			Extra   any         `json:"extra_field"`
		}
		if err := json.Unmarshal([]byte(after[old.id()]), &renewed); err != nil || renewed.Extra != nil {
			w.Fatalf("the SDK has kept %v, %v", renewed.Extra, err) // it drops identity and unknown fields
		}
		old.Data["access_token"], old.Data["token_type"] = "Fake renewed", "Bearer"
		old.Data["expires_at_seconds"] = renewed.Expires
		w.holds(w.exported(store, s.kind), s.kind, s.records, s.configs)
	})
}

// TestRealSDKReadsTheStorageOfGlobusCLI after it has been in our store, as it reads the
// fixture.
func TestRealSDKReadsTheStorageOfGlobusCLI(t *testing.T) {
	w := newSDKWorld(t, newSDK(t))
	const kind = "globus-sdk-sqlite 1"
	data, err := os.ReadFile("../../internal/legacy/testdata/globus-cli-3.42.0/storage.db")
	if err != nil {
		t.Fatal(err)
	}
	file := w.path("storage.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	was := w.ask(sdkRequest{Do: "read", Kind: kind, Path: file, Namespaces: []string{"userprofile/production",
		"userprofile/production/work", "clientprofile/production/926cc9c6-b481-4a5e-9ccd-b497f04c643b"}})
	if len(was.Records) != 9 || len(was.Configs) != 7 {
		t.Fatalf("%d records and %d configs", len(was.Records), len(was.Configs))
	}
	w.holds(w.exported(w.imported(file), kind), kind, was.Records, was.Configs)
}

// TestWhatOnlyPythonTakesForJSON is refused, by the name of its record: half a character.
func TestWhatOnlyPythonTakesForJSON(t *testing.T) {
	w := newSDKWorld(t, newSDK(t))
	for n, kind := range sdkKinds {
		bad := newGenerator(uint64(n)).record("DEFAULT", "bad", true)
		bad.Data["half"] = json.RawMessage(`"\ud83d"`)
		file := w.path(kind)
		w.ask(sdkRequest{Do: "write", Kind: kind, Path: file, Records: []sdkRecord{bad}})
		_, said := w.exitsWith(1, "import", file)
		if !strings.Contains(said, "unpaired surrogate") || !strings.Contains(said, "nothing was imported") {
			t.Errorf("%s: %s", kind, said)
		}
	}
}

// TestExportNamesTheVersionOfTheSDK that it was tried with.
func TestExportNamesTheVersionOfTheSDK(t *testing.T) {
	w := newSDKWorld(t, newSDK(t))
	file := w.path("a")
	w.ask(sdkRequest{Do: "write", Kind: sdkKinds[1], Path: file, Records: newGenerator(1).records(true, true)})
	plain := w.read(w.exported(w.imported(file), sdkKinds[1]))
	var top struct {
		Version string `json:"globus-sdk.version"`
	}
	if err := json.Unmarshal([]byte(plain), &top); err != nil {
		t.Fatal(err)
	}
	is := w.ask(sdkRequest{Do: "read", Kind: sdkKinds[1], Path: file, Namespaces: []string{"DEFAULT"}})
	if top.Version != is.Version {
		t.Errorf("the export says %s, the SDK is %s", top.Version, is.Version)
	}
}
