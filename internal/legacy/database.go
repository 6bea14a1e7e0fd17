package legacy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/internal/pae"
	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// SQLiteReader reads a database of the Globus SDK: legacysqlite.Read.
type SQLiteReader func(ctx context.Context, path string) (*Database, error)

// SQLiteDeleter removes a database, with the files that belong to it, unless
// check refuses: legacysqlite.Delete. check is given what the database holds
// when no other program can change it any more.
type SQLiteDeleter func(ctx context.Context, path string, check func(*Database) error) error

// Database is what the tables of a database of the Globus SDK hold, in no
// particular order. All texts are valid UTF-8.
type Database struct {
	Schema  string   // "1" or "2"
	Tokens  []Row    // Name is the resource server
	Configs []Row    // schema 2 has none
	Foreign []string // tables that are not the SDK's, sorted
}

// Row is one row of a table.
type Row struct {
	Namespace string
	Name      string
	JSON      keystore.Secret
}

func readDatabase(ctx context.Context, path string, sqlite SQLiteReader, seen *snapshot) (*File, error) {
	if sqlite == nil {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable,
			Detail: "it is an SQLite database, and this program was built without SQLite"}
	}
	d, err := sqlite(ctx, path)
	if err != nil {
		return nil, err
	}
	seen.database, seen.foreign, seen.sum = true, d.Foreign, d.sum()
	return d.file(pathFacts(path))
}

// sum is the same for the same rows, in whatever order.
func (d *Database) sum() [sha256.Size]byte {
	var rows []string
	for kind, table := range map[string][]Row{"token": d.Tokens, "config": d.Configs} {
		for _, r := range table {
			rows = append(rows, string(pae.Encode(kind, r.Namespace, r.Name, r.JSON.Reveal())))
		}
	}
	slices.Sort(rows)
	return sha256.Sum256(pae.Encode(rows...))
}

func (d *Database) file(where facts) (*File, error) {
	found := make(map[string]*keystore.Content) // by namespace
	in := func(namespace string) *keystore.Content {
		if found[namespace] == nil {
			found[namespace] = &keystore.Content{Namespace: namespace}
		}
		return found[namespace]
	}
	for _, r := range d.Tokens {
		t, err := record(r.Namespace, r.Name, []byte(r.JSON.Reveal()))
		if err != nil {
			return nil, err
		}
		c := in(r.Namespace)
		c.Tokens = append(c.Tokens, t)
	}
	for _, r := range d.Configs {
		if err := addConfig(in(r.Namespace), r); err != nil {
			return nil, err
		}
	}
	var contents []keystore.Content
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		c := found[namespace]
		sortTokens(c.Tokens)
		if err := twice(namespace, c.Tokens); err != nil {
			return nil, err
		}
		contents = append(contents, *c)
	}
	f := sdkFile(d.format(contents), contents, where)
	if len(d.Foreign) > 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("the database has other tables, which are not read: %q", d.Foreign))
	}
	return f, nil
}

func addConfig(c *keystore.Content, r Row) error {
	key := keystore.RecordKey{Namespace: r.Namespace, Kind: keystore.KindConfig, Name: r.Name}
	if err := key.Check(); err != nil {
		return keystore.Annotate(err, keystore.Error{Key: key})
	}
	if err := strictjson.Check([]byte(r.JSON.Reveal())); err != nil {
		return &keystore.Error{Key: key, Err: keystore.ErrCorrupt, Detail: err.Error()}
	}
	if _, ok := c.Configs[r.Name]; ok {
		return &keystore.Error{Key: key, Err: keystore.ErrCorrupt, Detail: "it stands twice"}
	}
	if c.Configs == nil {
		c.Configs = make(map[string]keystore.Secret)
	}
	c.Configs[r.Name] = r.JSON
	return nil
}

// format tells which program wrote the database: a Globus program, if all namespaces
// are as it names them. globus-compute's was of schema 1 before the SDK's version 4.
func (d *Database) format(contents []keystore.Content) string {
	cli, compute := false, false
	for _, c := range contents {
		kind, _, more := strings.Cut(c.Namespace, "/")
		switch {
		case !more:
			return d.sdk()
		case kind == "userprofile", kind == "clientprofile" && d.Schema == "1":
			cli = true
		case kind == "user", kind == "clientprofile":
			compute = true
		default:
			return d.sdk()
		}
	}
	switch {
	case cli == compute: // neither, or namespaces of both
		return d.sdk()
	case cli:
		return "globus-cli"
	}
	return "globus-compute"
}

func (d *Database) sdk() string {
	if d.Schema == "1" {
		return sdkSQLite1
	}
	return sdkSQLite2
}
