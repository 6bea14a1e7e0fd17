package legacy

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// plain are two namespaces: one login with all fields, one with the least, a value.
func plain() []keystore.Content {
	full, err := keystore.ParseTokenRecord([]byte(`{"access_token": "FakeAccess", "refresh_token": "FakeRefresh", "scope": "s <&>",
		"token_type": "Bearer", "expires_at_seconds": 4070908799, "resource_server": "rs", "identity_id": "i", "big": 1e400, "none": null}`))
	if err != nil {
		panic(err)
	}
	full.Issuer = "https://auth.globus.org"
	return []keystore.Content{
		{Namespace: "DEFAULT", Tokens: []keystore.Token{full}, Configs: map[string]keystore.Secret{"c": keystore.NewSecret(`{"a": 1}`)}},
		{Namespace: "work", Tokens: []keystore.Token{{ResourceServer: "rs", AccessToken: keystore.NewSecret("FakeLeast")}}},
	}
}

func format(t *testing.T, name, version string) Format {
	t.Helper()
	f, ok := FindFormat(name, version)
	if !ok {
		t.Fatalf("there is no %s %s", name, version)
	}
	return f
}

func TestJSONIsWrittenAsTheSDKHasIt(t *testing.T) {
	const full = `{"access_token":"FakeAccess","big":1e400,"expires_at_seconds":4070908799,"identity_id":"i","none":null,` +
		`"refresh_token":"FakeRefresh","resource_server":"rs","scope":"s <&>","token_type":"Bearer"}`
	const least = `{"access_token":"FakeLeast","expires_at_seconds":0,"resource_server":"rs","scope":""}`
	const least1 = `{"access_token":"FakeLeast","expires_at_seconds":0,"refresh_token":null,"resource_server":"rs","scope":"","token_type":null}`
	const end = `,"globus-sdk.version":"4.10.0"}`
	for _, c := range []struct {
		version  string
		contents []keystore.Content
		want     string
		left     int
	}{
		{"", plain(), `{"data":{"DEFAULT":{"rs":` + full + `},"work":{"rs":` + least + `}},"format_version":"2.0"` + end, 1},
		{"1.0", plain()[:1], `{"by_rs":{"rs":` + full + `},"format_version":"1.0"` + end, 1},
		{"1.0", plain()[1:], `{"by_rs":{"rs":` + least1 + `},"format_version":"1.0"` + end, 0},
	} {
		f := format(t, "globus-sdk-json", c.version)
		file, left, err := f.Encode(context.Background(), c.contents, nil)
		if err != nil || string(file) != c.want || len(left) != c.left {
			t.Errorf("%s: %v, %v\n%s\nwant\n%s", f, err, left, file, c.want)
		}
		back, err := parse(file, facts{})
		if err != nil || back.Format != f.String() || len(back.Contents) != len(c.contents) {
			t.Errorf("%s is read as %+v, %v", f, back, err)
		}
	}
}

// TestValuesThatNoProgramWouldRead are left out by name: Read would refuse the whole
// file, and the SDK fails on what is no object.
func TestValuesThatNoProgramWouldRead(t *testing.T) {
	values := map[string]string{"good": `{"a": [1, {}]}`, "twice": `{"a": [{"b": 1, "b": 2}]}`, "half": `{"a": "\ud800"}`,
		"null": `null`, "text": `"x"`, "list": `[]`}
	content := keystore.Content{Namespace: "n", Configs: make(map[string]keystore.Secret)}
	for name, text := range values {
		content.Configs[name] = keystore.NewSecret(text)
	}
	var rows []Row
	_, left, err := format(t, "globus-sdk-sqlite", "1").Encode(context.Background(), []keystore.Content{content},
		func(_ context.Context, d *Database) ([]byte, error) { rows = d.Configs; return nil, nil })
	if err != nil || len(rows) != 1 || rows[0].Name != "good" || len(left) != len(values)-1 {
		t.Fatalf("written %v, left %v, %v", rows, left, err)
	}
	for _, l := range left {
		alike := l.Why != "programs do not read its JSON alike"
		if want := l.Key.Name != "half" && l.Key.Name != "twice"; alike != want {
			t.Errorf("%s: %s", l.Key, l.Why)
		}
	}
}

func TestOneNamespaceOnly(t *testing.T) {
	f := format(t, "globus-sdk-json", "1.0")
	if _, _, err := f.Encode(context.Background(), plain(), nil); !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), "2") {
		t.Errorf("got %v", err)
	}
}

func TestFormatsAreFound(t *testing.T) {
	if f := format(t, "globus-sdk-sqlite", ""); f.Version != "2" {
		t.Errorf("SQLite is %s", f)
	}
	for _, c := range [][2]string{{"globus-sdk-json", "2"}, {"globus-sdk-sqlite", "1.0"}, {"", ""}, {"json", ""}} {
		if f, ok := FindFormat(c[0], c[1]); ok {
			t.Errorf("%q is %s", c, f)
		}
	}
}
