package legacy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

const issuer = "https://auth.globus.org"

func mustRead(t *testing.T, path string) *File {
	t.Helper()
	f, err := Read(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tempDir is a new directory. Its name has nothing of the test's, which might be
// taken for what an error says.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(tempDir(t), path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// source is a fixture as encoding/json sees it, apart from our own reader.
func source(t *testing.T, path string, members ...string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		v = v[m].(map[string]any)
	}
	return v
}

// sameAsSource compares tokens with {resource server: record}, field by field.
func sameAsSource(t *testing.T, tokens []keystore.Token, want map[string]any) {
	t.Helper()
	if len(tokens) != len(want) || len(tokens) == 0 {
		t.Errorf("%d tokens, the file has %d", len(tokens), len(want))
	}
	if !slices.IsSortedFunc(tokens, func(a, b keystore.Token) int { return strings.Compare(a.ResourceServer, b.ResourceServer) }) {
		t.Error("tokens are not sorted")
	}
	for _, token := range tokens {
		record, err := keystore.FormatTokenRecord(token)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(record, &got); err != nil {
			t.Fatal(err)
		}
		expect, _ := want[token.ResourceServer].(map[string]any)
		maps.DeleteFunc(expect, func(_ string, v any) bool { return v == nil })
		if g, w := compact(t, got), compact(t, expect); g != w {
			t.Errorf("%s is %s, the file has %s", token.ResourceServer, g, w)
		}
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJSONFixturesAreReadWhole(t *testing.T) {
	for _, fixture := range []struct {
		path, format string
		namespaces   map[string][]string // -> members that lead to its records
		issuer       string
	}{
		{"testdata/globus-sdk-4.9.0/simplejson-1.0.json", "globus-sdk SimpleJSONFileAdapter 1.0",
			map[string][]string{"DEFAULT": {"by_rs"}}, issuer},
		{"testdata/globus-sdk-4.9.0/jsontokenstorage-2.0.json", "globus-sdk JSONTokenStorage 2.0",
			map[string][]string{"DEFAULT": {"data", "DEFAULT"}, "work": {"data", "work"}}, issuer},
		{"testdata/globus-sdk-4.9.0/jsontokenstorage-identity.json", "globus-sdk JSONTokenStorage 2.0",
			map[string][]string{"DEFAULT": {"data", "DEFAULT"}}, issuer},
		{"testdata/other/bare-by-rs.json", "tokens by resource server, as Parsl keeps them",
			map[string][]string{"DEFAULT": {}}, ""},
	} {
		f := mustRead(t, fixture.path)
		if f.Format != fixture.format || f.Path != fixture.path || len(f.Contents) != len(fixture.namespaces) {
			t.Errorf("%s: %q with %d namespaces", f.Path, f.Format, len(f.Contents))
		}
		for _, c := range f.Contents {
			sameAsSource(t, c.Tokens, source(t, fixture.path, fixture.namespaces[c.Namespace]...))
			if c.Account != (keystore.Account{Issuer: fixture.issuer}) {
				t.Errorf("%s: account of %q is %+v", f.Path, c.Namespace, c.Account)
			}
		}
		if len(f.Notes) != len(f.Contents) || !strings.Contains(f.Notes[0], "does not say which") {
			t.Errorf("%s: notes are %q", f.Path, f.Notes)
		}
	}
}

func TestIdentityStaysOnItsToken(t *testing.T) {
	f := mustRead(t, "testdata/globus-sdk-4.9.0/jsontokenstorage-identity.json")
	if id := f.Contents[0].Tokens[0].IdentityID; id != "2982f207-04c0-11e5-ac60-22000b92c6ec" {
		t.Errorf("identity is %q", id)
	}
}

func TestINIFixtureIsReadWhole(t *testing.T) {
	f := mustRead(t, "testdata/other/globus-native-apps.cfg")
	if f.Format != "fair-research-login" || len(f.Contents) != 1 || len(f.Notes) != 0 {
		t.Fatalf("%+v", f)
	}
	c := f.Contents[0]
	want := keystore.Account{Issuer: issuer, ClientID: "61338d24-54d5-408f-a10d-66c06b59f6d2"}
	if c.Namespace != "DEFAULT" || c.Account != want || len(c.Tokens) != 1 {
		t.Fatalf("%+v", c)
	}
	sameAsSource(t, c.Tokens, map[string]any{"transfer.api.globus.org": map[string]any{
		"scope":              "urn:globus:auth:scope:transfer.api.globus.org:all",
		"access_token":       "AgCfgFakeAccess",
		"refresh_token":      "AgCfgFakeRefresh",
		"token_type":         "Bearer",
		"expires_at_seconds": 1795592971,
		"resource_server":    "transfer.api.globus.org",
	}})
}

func TestPathOfGlobusAppTellsClientAndEnvironment(t *testing.T) {
	const id = "61338d24-54d5-408f-a10d-66c06b59f6d2"
	text := `{"data": {"DEFAULT": {"a": {"access_token": "x"}}}, "format_version": "2.0", "globus-sdk.version": "4.9.0"}`
	for name, want := range map[string]keystore.Account{
		".globus/app/" + id + "/my-app/tokens.json":         {Issuer: issuer, ClientID: id},
		"globus/app/" + id + "/my-app/tokens.db":            {Issuer: issuer, ClientID: id},
		".globus/app/" + id + "/my-app/sandbox-tokens.json": {Issuer: "https://auth.sandbox.globuscs.info", ClientID: id},
		".globus/app/" + id + "/my-app/preview-tokens.json": {Issuer: "https://auth.preview.globus.org", ClientID: id},
		".globus/app/" + id + "/my-app/mars-tokens.json":    {ClientID: id}, // no such environment
		".globus/app/" + id + "/my-app/tokens.json.bak":     {Issuer: issuer},
		".globus/app/" + id + "/my-app/tokens":              {Issuer: issuer},
		".globus/app/" + id + "/tokens.json":                {Issuer: issuer},
		".globus/app/my-client/my-app/tokens.json":          {Issuer: issuer},
		"other/app/" + id + "/my-app/tokens.json":           {Issuer: issuer},
	} {
		f := mustRead(t, write(t, name, text))
		if got := f.Contents[0].Account; got != want {
			t.Errorf("%s: account is %+v, want %+v", name, got, want)
		}
		if unknown := strings.Contains(strings.Join(f.Notes, ""), `"mars" is not known`); unknown != (want.Issuer == "") {
			t.Errorf("%s: notes are %q", name, f.Notes)
		}
	}
}

func TestContradictingEnvironmentsAreNotGuessedBetween(t *testing.T) {
	c := keystore.Content{Namespace: "user/preview", Tokens: make([]keystore.Token, 1)}
	notes := setAccount(&c, facts{environment: "sandbox", clientID: "one"})
	if c.Account.Issuer != "" || c.Account.ClientID != "one" || len(notes) != 1 {
		t.Errorf("account %+v, notes %q", c.Account, notes)
	}
	c = keystore.Content{Namespace: "clientprofile/production/two", Tokens: make([]keystore.Token, 1)}
	notes = setAccount(&c, facts{clientID: "one"})
	if c.Account.Issuer != issuer || c.Account.ClientID != "" || len(notes) != 1 {
		t.Errorf("account %+v, notes %q", c.Account, notes)
	}
}

func TestNamespacesOfKnownProgramsAreUnderstood(t *testing.T) {
	for namespace, want := range map[string]facts{
		"userprofile/preview":           {environment: "preview"},
		"userprofile/production/a/b":    {environment: "production"},
		"clientprofile/production/1234": {environment: "production", clientID: "1234"},
		"user/sandbox":                  {environment: "sandbox"},
		"user/sandbox/more":             {},
		"clientprofile/production":      {},
		"clientprofile/production/a/b":  {},
		"userprofile/":                  {},
		"user":                          {},
		"DEFAULT":                       {},
	} {
		if got := namespaceFacts(namespace); got != want {
			t.Errorf("%q says %+v, want %+v", namespace, got, want)
		}
	}
}

func TestUnknownFieldsAndUnicodeSurvive(t *testing.T) {
	text := `{"by_rs": {"Ünï—server 🚀": {"access_token": "tök\u00e9n🚀", "resource_server": "Ünï—server 🚀",
		"scope": "", "refresh_token": null, "x": {"deep": [1, null, {"y": "z"}]}, "big": 12345678901234567890,
		"null": null}}, "format_version": "1.0"}`
	token := mustRead(t, write(t, "f", text)).Contents[0].Tokens[0]
	if token.ResourceServer != "Ünï—server 🚀" || token.AccessToken.Reveal() != "töké"+"n🚀" || !token.RefreshToken.IsZero() {
		t.Errorf("%+v", token)
	}
	for name, want := range map[string]string{"x": `{"deep": [1, null, {"y": "z"}]}`, "big": "12345678901234567890", "null": "null"} {
		if got := token.Extra[name].Reveal(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestMissingResourceServerIsItsKey(t *testing.T) {
	for _, record := range []string{`{"access_token": "x"}`, `{"access_token": "x", "resource_server": null}`} {
		f := mustRead(t, write(t, "f", `{"a.b": `+record+`}`))
		if got := f.Contents[0].Tokens[0].ResourceServer; got != "a.b" {
			t.Errorf("%s is of %q", record, got)
		}
	}
}

func TestEmptyNamespacesAreLeftOut(t *testing.T) {
	f := mustRead(t, write(t, "f", `{"data": {"gone": {}, "b": {"x": {"access_token": "x"}}}, "format_version": "2.0"}`))
	if len(f.Contents) != 1 || f.Contents[0].Namespace != "b" {
		t.Errorf("%+v", f.Contents)
	}
	f = mustRead(t, write(t, "f", `{"data": {}, "format_version": "2.0"}`))
	if len(f.Contents) != 0 || !slices.Contains(f.Notes, "the file holds no logins") {
		t.Errorf("%+v", f)
	}
}

func TestINISectionsBecomeNamespaces(t *testing.T) {
	text := "[61338d24-54d5-408f-a10d-66c06b59f6d2]\r\n" +
		"a_b__access_token = x%%y = z\r\na_b__resource_server = A.b\r\na_b__refresh_token =\r\na_b__note = 007\r\n\r\n" +
		"[tokens]\nfuncx_service__access_token = y\nfuncx_service__resource_server = funcx_service\n" +
		"funcx_service__refresh_token = \nfuncx_service__expires_at_seconds = 0012\n\n[empty]\n\n"
	f := mustRead(t, write(t, "f", text))
	if len(f.Contents) != 2 || len(f.Notes) != 1 || !strings.Contains(f.Notes[0], `"tokens"`) {
		t.Fatalf("%+v", f)
	}
	first, second := f.Contents[0], f.Contents[1]
	if first.Namespace != first.Account.ClientID || second.Namespace != "tokens" || second.Account.ClientID != "" {
		t.Errorf("%+v", f.Contents)
	}
	token := first.Tokens[0]
	if token.ResourceServer != "A.b" || token.AccessToken.Reveal() != "x%y = z" || !token.RefreshToken.IsZero() ||
		token.Extra["note"].Reveal() != `"007"` {
		t.Errorf("%+v", token)
	}
	if token := second.Tokens[0]; token.ResourceServer != "funcx_service" || token.ExpiresAt.Unix() != 12 {
		t.Errorf("%+v", token)
	}
}

const (
	canary = "AgCanaryMustNotBeQuoted"
	good   = `"ok": {"access_token": "` + canary + `"}`
)

// sdk1 and sdk2 wrap one more member of the records.
func sdk1(more string) string { return `{"by_rs": {` + good + more + `}, "format_version": "1.0"}` }
func sdk2(more string) string {
	return `{"data": {"work": {` + good + more + `}}, "format_version": "2.0"}`
}

func TestFilesAreRefusedByName(t *testing.T) {
	ini := "[c]\na__access_token = " + canary + "\na__resource_server = a\n"
	for what, bad := range map[string]struct {
		text string
		is   error
		says []string
	}{
		"empty":           {"", keystore.ErrCorrupt, []string{"empty"}},
		"white space":     {" \n", keystore.ErrCorrupt, []string{"empty"}},
		"cut":             {sdk2("")[:40], keystore.ErrCorrupt, []string{"not valid JSON at byte"}},
		"trailing":        {sdk2("") + "{}", keystore.ErrCorrupt, []string{"not valid JSON"}},
		"NaN":             {sdk1(`, "n": {"access_token": "x", "expires_at_seconds": NaN}`), keystore.ErrCorrupt, []string{"not valid JSON"}},
		"not UTF-8":       {sdk1(`, "n": {"access_token": "` + "\xff" + `"}`), keystore.ErrCorrupt, []string{"UTF-8"}},
		"lone surrogate":  {sdk1(`, "n": {"access_token": "\ud800"}`), keystore.ErrCorrupt, []string{"surrogate"}},
		"duplicate RS":    {sdk1(`, "ok": {"access_token": "x"}`), keystore.ErrCorrupt, []string{`"ok" stands twice`}},
		"duplicate field": {sdk2(`, "n": {"access_token": "x", "access_token": "y"}`), keystore.ErrCorrupt, []string{"twice"}},
		"array":           {`[{"access_token": "x"}]`, keystore.ErrInvalid, []string{"not an object of tokens"}},
		"string":          {`"` + canary + `"`, keystore.ErrInvalid, []string{"not an object of tokens"}},
		"null":            {`null`, keystore.ErrInvalid, []string{"not an object of tokens"}},
		"other JSON":      {`{"name": "x", "version": {"a": 1}}`, keystore.ErrInvalid, []string{"JSON, but not a token file"}},
		"empty object":    {`{}`, keystore.ErrInvalid, []string{"not a token file"}},
		"token response":  {`{"access_token": "` + canary + `", "other_tokens": []}`, keystore.ErrInvalid, []string{"a single token"}},
		"our store":       {`{"globus_keys": 1, "store": "00", "slots": [], "records": []}`, keystore.ErrInvalid, []string{"globus-keys store", "--store file:"}},
		"age file":        {"age-encryption.org/v1\n-> X25519 x\n", keystore.ErrInvalid, []string{"age file", "age -d"}},
		"armored age":     {"-----BEGIN AGE ENCRYPTED FILE-----\n", keystore.ErrInvalid, []string{"age file", "age -d"}},
		"age identity":    {"# created: now\nAGE-SECRET-KEY-1" + canary + "\n", keystore.ErrInvalid, []string{"age identity"}},
		"other text":      {"hello " + canary, keystore.ErrInvalid, []string{"not a token file", "expected"}},
		"byte order mark": {"\ufeff" + sdk1(""), keystore.ErrInvalid, []string{"not a token file"}},

		"later version":      {`{"data": {}, "format_version": "3.0"}`, keystore.ErrInvalid, []string{`"3.0"`, "later version"}},
		"no version":         {`{"by_rs": {}}`, keystore.ErrCorrupt, []string{"without format_version"}},
		"version number":     {`{"by_rs": {}, "format_version": 1.0}`, keystore.ErrCorrupt, []string{"format_version"}},
		"SDK version number": {`{"by_rs": {}, "format_version": "1.0", "globus-sdk.version": 4}`, keystore.ErrCorrupt, []string{"globus-sdk.version"}},
		"more members":       {`{"by_rs": {}, "format_version": "1.0", "Data": {}}`, keystore.ErrCorrupt, []string{`"Data"`}},
		"wrong member":       {`{"data": {}, "format_version": "1.0"}`, keystore.ErrCorrupt, []string{`"data"`}},
		"missing member":     {`{"format_version": "2.0"}`, keystore.ErrCorrupt, []string{`"data"`}},
		"data is an array":   {`{"data": [], "format_version": "2.0"}`, keystore.ErrCorrupt, []string{`"data"`}},
		"namespace is null":  {`{"data": {"work": null}, "format_version": "2.0"}`, keystore.ErrCorrupt, []string{`"work"`}},
		"namespace unnamed":  {`{"data": {"": {` + good + `}}, "format_version": "2.0"}`, keystore.ErrInvalid, []string{"namespace is empty"}},

		"another RS": {sdk2(`, "transfer": {"access_token": "x", "resource_server": "groups"}`), keystore.ErrCorrupt,
			[]string{`"work"`, `"transfer"`, `"groups"`}},
		"no access token":    {sdk2(`, "n": {"scope": "x"}`), keystore.ErrCorrupt, []string{`"work"`, `"n"`, "no access token"}},
		"null access token":  {sdk1(`, "n": {"access_token": null}`), keystore.ErrCorrupt, []string{`"n"`, "no access token"}},
		"access token is 1":  {sdk1(`, "n": {"access_token": 1}`), keystore.ErrCorrupt, []string{`"n"`, `"access_token"`}},
		"time is text":       {sdk1(`, "n": {"access_token": "x", "expires_at_seconds": "1"}`), keystore.ErrCorrupt, []string{`"n"`, "expires_at_seconds"}},
		"wrongly cased":      {sdk1(`, "n": {"access_token": "x", "Scope": "y"}`), keystore.ErrCorrupt, []string{`"n"`, `"Scope"`}},
		"record is null":     {sdk2(`, "n": null`), keystore.ErrCorrupt, []string{`"work"`, `"n"`}},
		"record is a string": {sdk2(`, "n": "` + canary + `"`), keystore.ErrCorrupt, []string{`"work"`, `"n"`}},
		"bare, one bad":      {`{` + good + `, "n": 3}`, keystore.ErrCorrupt, []string{`"n"`}},
		"control character":  {sdk1(`, "a\u001b[2J": {"access_token": "x"}`), keystore.ErrInvalid, []string{`\x1b`, "control character"}},
		"long name":          {sdk1(`, "` + strings.Repeat("a", 513) + `": {"access_token": "x"}`), keystore.ErrTooLarge, []string{"513"}},

		"other INI":           {"[core]\neditor = vi\n", keystore.ErrInvalid, []string{"INI file, but not a token file"}},
		"INI DEFAULT":         {"[DEFAULT]\n" + ini, keystore.ErrCorrupt, []string{"line 1", `"DEFAULT"`}},
		"INI section twice":   {ini + ini, keystore.ErrCorrupt, []string{"line 4", `"c" stands twice`}},
		"INI key twice":       {ini + "a__resource_server = a\n", keystore.ErrCorrupt, []string{"line 4", `"a__resource_server" stands twice`}},
		"INI comment":         {ini + "# " + canary + "\n", keystore.ErrCorrupt, []string{"line 4"}},
		"INI continuation":    {ini + " " + canary + " = x\n", keystore.ErrCorrupt, []string{"line 4"}},
		"INI no equals":       {ini + canary + "\n", keystore.ErrCorrupt, []string{"line 4"}},
		"INI upper case":      {ini + "A__scope = x\n", keystore.ErrCorrupt, []string{"line 4"}},
		"INI interpolation":   {ini + "a__scope = %(a__access_token)s\n", keystore.ErrCorrupt, []string{"line 4", "refers to another"}},
		"INI carriage return": {ini + "a__scope = x\ry\n", keystore.ErrCorrupt, []string{"line 4", "control character"}},
		"INI foreign key":     {ini + "token_groups = a\n", keystore.ErrCorrupt, []string{`"token_groups"`}},
		"INI deep key":        {ini + "a__b__scope = a\n", keystore.ErrCorrupt, []string{`"a__b__scope"`}},
		"INI not UTF-8":       {ini + "a__scope = \xff\n", keystore.ErrCorrupt, []string{"UTF-8"}},
		"INI another RS":      {"[c]\na_b__access_token = x\na_b__resource_server = c.d\n", keystore.ErrCorrupt, []string{"a_b__", `"c.d"`}},
		"INI no RS":           {"[c]\na_b__access_token = x\n", keystore.ErrCorrupt, []string{"a_b__", `""`}},
		"INI bad time":        {ini + "a__expires_at_seconds = soon\n", keystore.ErrCorrupt, []string{`"a"`, "expires_at_seconds"}},
		"INI no token":        {ini + "b__resource_server = b\n", keystore.ErrCorrupt, []string{`"b"`, "no access token"}},
	} {
		t.Run(what, func(t *testing.T) {
			path := write(t, "some file", bad.text)
			f, err := Read(context.Background(), path, nil)
			if err == nil {
				t.Fatalf("accepted as %+v", f)
			}
			refused(t, err, bad.is, append(bad.says, path)...)
			if after, err := os.ReadFile(path); err != nil || string(after) != bad.text {
				t.Error("the file is not as it was")
			}
		})
	}
}

// refused checks what an error says, and what no error may say.
func refused(t *testing.T, err, is error, says ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Errorf("%v is not of the kind %q", err, is)
	}
	if err == nil {
		return
	}
	for _, word := range says {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %s", err, word)
		}
	}
	if strings.Contains(err.Error(), canary) || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%q quotes what it must not", err)
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := tempDir(t)
	_, err := Read(context.Background(), dir, nil)
	refused(t, err, keystore.ErrInvalid, dir, "a directory")
	missing := filepath.Join(dir, "missing")
	_, err = Read(context.Background(), missing, nil)
	refused(t, err, os.ErrNotExist, missing)
	if runtime.GOOS != "windows" {
		_, err = Read(context.Background(), os.DevNull, nil)
		refused(t, err, keystore.ErrInvalid, os.DevNull, "a device")
	}
}

func TestLinkToAFileIsRead(t *testing.T) {
	target := write(t, "f", sdk1(""))
	link := filepath.Join(tempDir(t), "link")
	if err := os.Symlink(target, link); err != nil {
		testenv.Missing(t, "symbolic links: "+err.Error())
	}
	f := mustRead(t, link)
	if len(f.Contents) != 1 {
		t.Errorf("%+v", f)
	}
	refused(t, f.Delete(context.Background(), nil), keystore.ErrInvalid, link, "symbolic link")
	mustRead(t, target)
}

func TestTextFilesHaveALimit(t *testing.T) {
	body := []byte(sdk1(""))
	body = append(body, bytes.Repeat([]byte(" "), maxText-len(body))...)
	path := write(t, "f", string(body))
	mustRead(t, path)
	_, err := Read(context.Background(), write(t, path, string(body)+" "), nil)
	refused(t, err, keystore.ErrTooLarge, path, "16777216")
}

func TestDatabaseNeedsAReader(t *testing.T) {
	const path = "testdata/globus-cli-3.42.0/storage.db"
	_, err := Read(context.Background(), path, nil)
	refused(t, err, keystore.ErrUnavailable, path, "SQLite")
}

func TestEndedContextReadsAndDeletesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := write(t, "f", sdk1(""))
	_, err := Read(ctx, path, nil)
	refused(t, err, context.Canceled, path)
	refused(t, mustRead(t, path).Delete(ctx, nil), context.Canceled, path)
	mustRead(t, path)
}

func TestGlobusCLIIsFound(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(name string) string { return m[name] } }
	for _, place := range []struct {
		goos, home string
		env        map[string]string
		want       string
	}{
		{"linux", "/home/u", nil, "/home/u/.globus/cli/storage.db"},
		{"darwin", "/", map[string]string{"LOCALAPPDATA": "x"}, "/.globus/cli/storage.db"},
		{"windows", `C:\Users\u`, map[string]string{"LOCALAPPDATA": `D:\local`, "APPDATA": `D:\roaming`}, `D:\local\globus\cli\storage.db`},
		{"windows", `C:\Users\u`, map[string]string{"APPDATA": `D:\roaming`}, `D:\roaming\globus\cli\storage.db`},
		{"windows", `C:\Users\u`, nil, `C:\Users\u\AppData\Local\globus\cli\storage.db`},
	} {
		if got, err := find(place.goos, "globus-cli", env(place.env), place.home); err != nil || got != place.want {
			t.Errorf("%+v: found %q, %v", place, got, err)
		}
	}
	_, err := Find("globus-cli", env(nil), "")
	refused(t, err, keystore.ErrUnavailable, "home")
	_, err = Find("other", env(nil), "/home/u")
	refused(t, err, keystore.ErrInvalid, `"other"`)
}
