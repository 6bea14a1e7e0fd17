//go:build cgo

package legacysqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	issuer  = "https://auth.globus.org"
	subject = "2982f207-04c0-11e5-ac60-22000b92c6ec"
	client  = "95fdeba8-0000-4000-8000-000000000001"
	ccID    = "926cc9c6-b481-4a5e-9ccd-b497f04c643b"
)

func TestFixturesAreReadWhole(t *testing.T) {
	cli := keystore.Account{Issuer: issuer, ClientID: client, Subject: subject}
	for _, fixture := range []struct {
		path, format string
		accounts     map[string]keystore.Account // of every namespace
	}{
		{cliFixture, "globus-cli", map[string]keystore.Account{
			"userprofile/production": cli, "userprofile/production/work": cli,
			"clientprofile/production/" + ccID: {Issuer: issuer, ClientID: ccID}}},
		{schema1Fixture, "globus-sdk SQLiteAdapter (schema 1)", map[string]keystore.Account{
			"DEFAULT": {Issuer: issuer, ClientID: "11111111-2222-3333-4444-555555555555"}, "config-only": {Issuer: issuer}}},
		{schema2Fixture, "globus-sdk SQLiteTokenStorage (schema 2)", map[string]keystore.Account{
			"DEFAULT": {Issuer: issuer}, "user/production": {Issuer: issuer}}},
	} {
		path := clone(t, fixture.path, "storage.db")
		f := mustRead(t, path)
		if f.Format != fixture.format {
			t.Errorf("%s is of %q, want %q", fixture.path, f.Format, fixture.format)
		}
		accounts := make(map[string]keystore.Account)
		for _, c := range f.Contents {
			accounts[c.Namespace] = c.Account
		}
		if !maps.Equal(accounts, fixture.accounts) {
			t.Errorf("%s: accounts are %+v", fixture.path, accounts)
		}
		sameAsDump(t, f, dump(t, path))
	}
}

// dump is a database as plain queries show it, by "namespace/kind/name".
func dump(t *testing.T, path string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	conn := program(t, path)
	for _, query := range []string{
		"SELECT namespace || '/token/' || resource_server, token_data_json FROM token_storage",
		"SELECT namespace || '/config/' || config_name, config_data_json FROM config_storage",
	} {
		rows, err := conn.QueryContext(context.Background(), query)
		if err != nil && strings.Contains(query, "config") { // schema 2
			continue
		}
		check(t, err)
		for rows.Next() {
			var name, text string
			check(t, rows.Scan(&name, &text))
			all[name] = text
		}
		check(t, rows.Close())
	}
	return all
}

func sameAsDump(t *testing.T, f *legacy.File, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, c := range f.Contents {
		for _, token := range c.Tokens {
			record, err := keystore.FormatTokenRecord(token)
			check(t, err)
			got[c.Namespace+"/token/"+token.ResourceServer] = string(record)
		}
		for name, text := range c.Configs {
			got[c.Namespace+"/config/"+name] = text.Reveal()
		}
	}
	if len(want) == 0 || !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("read %q", slices.Sorted(maps.Keys(got)))
	}
	for name := range want {
		config := strings.Contains(name, "/config/")
		if config && got[name] != want[name] || !config && canonical(t, got[name]) != canonical(t, want[name]) {
			t.Errorf("%s is %s, the database has %s", name, got[name], want[name])
		}
	}
}

// canonical sorts the fields of a record and drops nulls.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var m map[string]any
	check(t, json.Unmarshal([]byte(text), &m))
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(m)
	check(t, err)
	return string(b)
}

// TestAGlobusProgramIsToldByAllNamespaces: one that is not as it names them is enough for
// the file to be anybody's who uses the SDK.
func TestAGlobusProgramIsToldByAllNamespaces(t *testing.T) {
	f := mustRead(t, edited(t, schema2Fixture, "DELETE FROM token_storage WHERE namespace <> 'DEFAULT'"))
	if f.Format != "globus-sdk SQLiteTokenStorage (schema 2)" || len(f.Contents) != 1 {
		t.Errorf("%q with %d namespaces", f.Format, len(f.Contents))
	}
	f = mustRead(t, edited(t, schema2Fixture, "UPDATE token_storage SET namespace = 'clientprofile/preview/abc'"+
		" WHERE namespace = 'user/production'; DELETE FROM token_storage WHERE namespace = 'DEFAULT'"))
	want := keystore.Account{Issuer: "https://auth.preview.globus.org", ClientID: "abc"}
	if f.Format != "globus-compute" || f.Contents[0].Account != want {
		t.Errorf("%q with %+v", f.Format, f.Contents[0].Account)
	}
	f = mustRead(t, edited(t, cliFixture, "UPDATE token_storage SET namespace = 'mine' WHERE namespace = 'userprofile/production/work'"))
	if f.Format != "globus-sdk SQLiteAdapter (schema 1)" {
		t.Errorf("the CLI's with another namespace is of %q", f.Format)
	}
}

func TestRowsOnlyInTheWALAreRead(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	program(t, path, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", insert)
	main, err := os.ReadFile(path)
	check(t, err)
	if strings.Contains(string(main), canary) {
		t.Fatal("the row is not only in the -wal")
	}
	f := mustRead(t, path)
	if _, ok := find(f, "DEFAULT", "new"); !ok {
		t.Error("the row in the -wal is missing")
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(main) {
		t.Error("reading changed the database")
	}
}

func find(f *legacy.File, namespace, resourceServer string) (keystore.Token, bool) {
	for _, c := range f.Contents {
		for _, token := range c.Tokens {
			if c.Namespace == namespace && token.ResourceServer == resourceServer {
				return token, true
			}
		}
	}
	return keystore.Token{}, false
}

func TestReadingAndWritingBesideEachOther(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	// A program that has begun to write and has not committed.
	program(t, path, "BEGIN IMMEDIATE", insert)
	if n := len(mustRead(t, path).Contents[0].Tokens); n != 3 {
		t.Errorf("%d tokens were read, 3 are committed", n)
	}
}

func TestUnusualPathsAreRead(t *testing.T) {
	for _, name := range []string{
		"a?mode=memory", "a#b", "100%", "%41", "a b&c=d+e", "ünï—🚀.db", "file:x.db", "'quoted\".db", "-db", "a;b",
	} {
		path := filepath.Join(dir(t), name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			continue // Windows
		}
		check(t, os.Remove(path))
		path = clone(t, schema2Fixture, name)
		if f := mustRead(t, path); len(f.Contents) != 2 {
			t.Errorf("%q: %+v", name, f)
		}
		if left := names(t, filepath.Dir(path)); len(left) != 1 {
			t.Errorf("%q: there are %q now", name, left)
		}
	}
}

func TestRelativePathIsRead(t *testing.T) {
	t.Chdir(filepath.Dir(clone(t, schema2Fixture, "s.db")))
	f := mustRead(t, "s.db")
	check(t, f.Delete(context.Background(), Delete))
}

func TestNamesMayHoldAnythingReadable(t *testing.T) {
	f := mustRead(t, edited(t, schema2Fixture, "DELETE FROM token_storage",
		`INSERT INTO token_storage VALUES('ñ/🚀', 'a "b"', '{"access_token": "t\u00f6k", "x": {"y": []}}')`))
	c := f.Contents[0]
	if c.Namespace != "ñ/🚀" || c.Tokens[0].ResourceServer != `a "b"` || c.Tokens[0].AccessToken.Reveal() != "tök" ||
		c.Tokens[0].Extra["x"].Reveal() != `{"y": []}` {
		t.Errorf("%+v", c)
	}
}

func TestOtherTablesAreNamed(t *testing.T) {
	path := edited(t, schema1Fixture, "CREATE TABLE notes(a)", "ANALYZE")
	f := mustRead(t, path)
	if !strings.Contains(strings.Join(f.Notes, ""), `["notes"]`) {
		t.Errorf("notes are %q", f.Notes)
	}
	refused(t, f.Delete(context.Background(), Delete), keystore.ErrInvalid, path, `"notes"`)
	mustRead(t, path)
}

func TestDatabasesAreRefusedByName(t *testing.T) {
	row := func(namespace, name, text string) string {
		return fmt.Sprintf("INSERT INTO token_storage VALUES(%s, %s, %s)", namespace, name, text)
	}
	config := func(text string) string {
		return "INSERT INTO config_storage VALUES('work', 'bad', " + text + ")"
	}
	quoted := `'{"access_token": "` + canary + `"}'`
	swapped := "ALTER TABLE token_storage RENAME TO real"
	for what, bad := range map[string]struct {
		statements []string
		is         error
		says       []string
	}{
		"no tables":         {[]string{"DROP TABLE token_storage"}, keystore.ErrInvalid, []string{"not one of tokens"}},
		"no internal table": {[]string{"DROP TABLE sdk_storage_adapter_internal"}, keystore.ErrInvalid, []string{"not one of tokens"}},
		"no config table":   {[]string{"DROP TABLE config_storage"}, keystore.ErrCorrupt, []string{"config_storage"}},
		"schema 3":          {[]string{"UPDATE sdk_storage_adapter_internal SET value = '3'"}, keystore.ErrInvalid, []string{`"3"`, "later version"}},
		"schema 2 with configs": {[]string{"UPDATE sdk_storage_adapter_internal SET value = '2'"},
			keystore.ErrCorrupt, []string{"schema 2", "config_storage"}},
		"no schema":        {[]string{"DELETE FROM sdk_storage_adapter_internal"}, keystore.ErrCorrupt, []string{"which version"}},
		"schema is a blob": {[]string{"UPDATE sdk_storage_adapter_internal SET value = x'31'"}, keystore.ErrCorrupt, []string{"something else than text"}},
		"a view":           {[]string{swapped, "CREATE VIEW token_storage AS SELECT * FROM real"}, keystore.ErrCorrupt, []string{"token_storage is a view"}},
		"other columns":    {[]string{"ALTER TABLE token_storage RENAME COLUMN token_data_json TO x"}, keystore.ErrCorrupt, []string{"not a sound"}},
		"token is a blob":  {[]string{row("'work'", "'bad'", "x'7b7d'")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "text"}},
		"name is a number": {[]string{swapped, "CREATE TABLE token_storage(namespace, resource_server, token_data_json)", row("'work'", "7", quoted)}, keystore.ErrCorrupt, []string{`"work"`, "text"}},
		"token is NULL":    {[]string{swapped, "CREATE TABLE token_storage(namespace, resource_server, token_data_json)", row("'work'", "'bad'", "NULL")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "text"}},
		"stands twice":     {[]string{swapped, "CREATE TABLE token_storage(namespace, resource_server, token_data_json)", row("'work'", "'bad'", quoted), row("'work'", "'bad'", quoted)}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "twice"}},
		"not UTF-8":        {[]string{row("'work'", "'bad'", "CAST(x'ff' AS TEXT)")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "UTF-8"}},
		"name not UTF-8":   {[]string{row("'work'", "CAST(x'ff' AS TEXT)", quoted)}, keystore.ErrCorrupt, []string{`"work"`, "UTF-8"}},
		"config stands twice": {[]string{"DROP TABLE config_storage", "CREATE TABLE config_storage(namespace, config_name, config_data_json)", config("'1'"), config("'1'")},
			keystore.ErrCorrupt, []string{`config "bad"`, "twice"}},
		"not JSON":          {[]string{row("'work'", "'bad'", "'"+canary+"'")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "JSON"}},
		"empty":             {[]string{row("'work'", "'bad'", "''")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`}},
		"another RS":        {[]string{row("'work'", "'bad'", `'{"access_token": "x", "resource_server": "other"}'`)}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, `"other"`}},
		"no access token":   {[]string{row("'work'", "'bad'", "'{}'")}, keystore.ErrCorrupt, []string{`"work"`, `"bad"`, "no access token"}},
		"control character": {[]string{row("'wo' || char(27)", "'bad'", quoted)}, keystore.ErrInvalid, []string{`\x1b`}},
		"no namespace":      {[]string{row("''", "'bad'", quoted)}, keystore.ErrInvalid, []string{"namespace is empty"}},
		"config not JSON":   {[]string{config("'{" + canary + "'")}, keystore.ErrCorrupt, []string{`config "bad"`, `"work"`, "JSON"}},
		"config twice said": {[]string{config(`'{"a": 1, "a": 2}'`)}, keystore.ErrCorrupt, []string{`config "bad"`, "twice"}},
		"config is a blob":  {[]string{config("x'7b7d'")}, keystore.ErrCorrupt, []string{`config "bad"`, "text"}},
		"a huge value":      {[]string{row("'work'", "'bad'", "printf('%1048577s', 'x')")}, keystore.ErrTooLarge, []string{"1048576"}},
	} {
		t.Run(what, func(t *testing.T) {
			path := edited(t, schema1Fixture, bad.statements...)
			before, err := os.ReadFile(path)
			check(t, err)
			f, err := legacy.Read(context.Background(), path, Read)
			if err == nil {
				t.Fatalf("accepted as %+v", f)
			}
			refused(t, err, bad.is, append(bad.says, path)...)
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Error("the database is not as it was")
			}
		})
	}
}

func TestTooManyRowsAreRefused(t *testing.T) {
	path := edited(t, schema2Fixture, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80)
		INSERT INTO token_storage SELECT 'work', i, printf('%1000000s', '') FROM n`)
	_, err := legacy.Read(context.Background(), path, Read)
	refused(t, err, keystore.ErrTooLarge, path, "67108864")
}

func TestDamagedAndForeignDatabasesAreRefused(t *testing.T) {
	whole, err := os.ReadFile(schema1Fixture)
	check(t, err)
	utf16 := filepath.Join(dir(t), "utf16.db")
	program(t, utf16, "PRAGMA encoding='UTF-16'", "CREATE TABLE token_storage(a)", "CREATE TABLE sdk_storage_adapter_internal(a)")
	for what, bad := range map[string]struct {
		content []byte
		is      error
	}{
		"header only": {whole[:16], keystore.ErrCorrupt},
		"first page":  {whole[:4096], keystore.ErrCorrupt},
		"zero pages":  {append(slices.Clone(whole[:4096]), make([]byte, len(whole)-4096)...), keystore.ErrCorrupt},
		"page size 3": {slices.Concat(whole[:16], []byte{0, 3}, whole[18:]), keystore.ErrCorrupt},
	} {
		path := filepath.Join(dir(t), "storage.db")
		check(t, os.WriteFile(path, bad.content, 0o600))
		_, err := legacy.Read(context.Background(), path, Read)
		t.Log(what, err)
		refused(t, err, bad.is, path)
	}
	_, err = legacy.Read(context.Background(), utf16, Read)
	refused(t, err, keystore.ErrCorrupt, utf16, "UTF-8")
}

func TestHotJournalIsRefusedWithAdvice(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	conn := program(t, path, "PRAGMA cache_size=1", "PRAGMA cache_spill=1", "BEGIN IMMEDIATE",
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
		INSERT INTO token_storage SELECT 'work', i, printf('%1000s', '') FROM n`)
	// What a crash leaves: the database half written, and its journal.
	crashed := filepath.Join(dir(t), "storage.db")
	for _, suffix := range []string{"", "-journal"} {
		data, err := os.ReadFile(path + suffix)
		check(t, err)
		check(t, os.WriteFile(crashed+suffix, data, 0o600))
	}
	check(t, conn.Close())
	_, err := legacy.Read(context.Background(), crashed, Read)
	refused(t, err, keystore.ErrUnavailable, crashed, "open it once with the program that wrote it")
	// The advice works.
	check(t, program(t, crashed, "DELETE FROM token_storage WHERE namespace = 'work'").Close())
	if n := len(mustRead(t, crashed).Contents[0].Tokens); n != 3 {
		t.Errorf("%d tokens", n)
	}
}
