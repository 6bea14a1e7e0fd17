package legacy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// sdkVersion is the version of the Globus SDK whose files Encode writes. The SDK
// asks for one, and does not look at it.
const sdkVersion = "4.10.0"

// Format is a form of file that Encode writes.
type Format struct {
	Name    string // "globus-sdk-json" or "globus-sdk-sqlite"
	Version string // the SDK's "format_version", or version of the database's schema

	title  string
	one    bool // it has room for one namespace, and no place for its name
	config bool // it has a place for configuration values
	needs  members
}

// What a record must have, whatever the store knows of it. Programs take the fields
// of SimpleJSONFileAdapter and SQLiteAdapter for given; those of version 2 refuse a
// record without scope and time, and take no null for them.
var (
	needs1 = members{"scope": verbatim(`""`), "expires_at_seconds": verbatim("0"), "refresh_token": verbatim("null"), "token_type": verbatim("null")}
	needs2 = members{"scope": verbatim(`""`), "expires_at_seconds": verbatim("0")}
)

func verbatim(s string) json.RawMessage { return json.RawMessage(s) }

// Formats are all that Encode writes; the first of a name is what people mean by it.
var Formats = []Format{
	{Name: "globus-sdk-json", Version: "2.0", title: sdkJSON2, needs: needs2},
	{Name: "globus-sdk-json", Version: "1.0", title: sdkJSON1, needs: needs1, one: true},
	{Name: "globus-sdk-sqlite", Version: "2", title: sdkSQLite2, needs: needs2},
	{Name: "globus-sdk-sqlite", Version: "1", title: sdkSQLite1, needs: needs1, config: true},
}

// FindFormat returns the format of this name, and of this version unless that is "".
func FindFormat(name, version string) (Format, bool) {
	n := slices.IndexFunc(Formats, func(f Format) bool {
		return f.Name == name && (version == "" || f.Version == version)
	})
	if n < 0 {
		return Format{}, false
	}
	return Formats[n], true
}

// String is for people, such as "globus-sdk JSONTokenStorage 2.0".
func (f Format) String() string { return f.title }

// One reports whether a file holds one namespace only, and not its name.
func (f Format) One() bool { return f.one }

// SQLiteEncoder makes the file of a database: legacysqlite.Encode.
type SQLiteEncoder func(ctx context.Context, d *Database) ([]byte, error)

// Left is a value that a file has not.
type Left struct {
	Key keystore.RecordKey
	Why string // "such a file has no place for it"
}

// why says why a file has not this value, "" if it has.
func (f Format) why(value keystore.Secret) string {
	text := []byte(value.Reveal())
	_, isObject := object(text)
	switch {
	case !f.config:
		return "such a file has no place for it"
	case strictjson.Check(text) != nil: // Read would refuse the whole file
		return "programs do not read its JSON alike"
	case !isObject: // the SDK takes and gives a dict
		return "such a file holds JSON objects only"
	}
	return ""
}

// Encode returns the file of contents, and the values that it has not. Of
// whom the logins are (Account, and what Token says of issuer and client) is in no
// format. Several contents are ErrInvalid for a format of one namespace.
func (f Format) Encode(ctx context.Context, contents []keystore.Content, sqlite SQLiteEncoder) (file []byte, left []Left, err error) {
	if f.one && len(contents) != 1 {
		return nil, nil, foreignf("%s holds one namespace, and there are %d", f, len(contents))
	}
	d := &Database{Schema: f.Version}
	for _, c := range contents {
		for _, t := range c.Tokens {
			text, err := f.record(t)
			if err != nil {
				key := keystore.RecordKey{Namespace: c.Namespace, Kind: keystore.KindToken, Name: t.ResourceServer}
				return nil, nil, keystore.Annotate(err, keystore.Error{Key: key})
			}
			d.Tokens = append(d.Tokens, Row{c.Namespace, t.ResourceServer, keystore.NewSecret(string(text))})
		}
		for _, name := range slices.Sorted(maps.Keys(c.Configs)) {
			if why := f.why(c.Configs[name]); why != "" {
				left = append(left, Left{keystore.RecordKey{Namespace: c.Namespace, Kind: keystore.KindConfig, Name: name}, why})
				continue
			}
			d.Configs = append(d.Configs, Row{c.Namespace, name, c.Configs[name]})
		}
	}
	if f.Name == "globus-sdk-sqlite" {
		file, err = sqlite(ctx, d)
	} else {
		file, err = f.json(d.Tokens)
	}
	return file, left, err
}

// record is t as the SDK has it.
func (f Format) record(t keystore.Token) ([]byte, error) {
	text, err := keystore.FormatTokenRecord(t)
	if err != nil {
		return nil, err
	}
	fields, ok := object(text)
	if !ok {
		return nil, fmt.Errorf("the record has no JSON form")
	}
	for name, value := range f.needs {
		if _, ok := fields[name]; !ok {
			fields[name] = value
		}
	}
	return encode(fields)
}

func (f Format) json(tokens []Row) ([]byte, error) {
	data := make(map[string]members)
	for _, r := range tokens {
		if data[r.Namespace] == nil {
			data[r.Namespace] = make(members)
		}
		data[r.Namespace][r.Name] = json.RawMessage(r.JSON.Reveal())
	}
	file := map[string]any{"format_version": f.Version, "globus-sdk.version": sdkVersion, "data": data}
	if f.one {
		delete(file, "data")
		file["by_rs"] = members{}
		for _, byServer := range data { // one, or none
			file["by_rs"] = byServer
		}
	}
	return encode(file)
}

// encode is json.Marshal without HTML's escapes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Internal are the rows, names and values, of the SDK's table about the database
// itself.
func (d *Database) Internal() [][2]string {
	return [][2]string{{"globus-sdk.version", sdkVersion}, {"globus-sdk.database_schema_version", d.Schema}}
}
