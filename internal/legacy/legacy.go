// Package legacy reads the token files that other programs write in plain
// text, so that their logins can be taken over, and writes those of the Globus SDK,
// for programs that must stay on them for now. A file is recognised by its
// content, never by its name:
//
//	globus-sdk SimpleJSONFileAdapter 1.0, JSONTokenStorage 2.0     JSON
//	globus-sdk SQLiteAdapter (schema 1), SQLiteTokenStorage (2)    SQLite
//	globus-cli, globus-compute                                     SQLite, told by their namespaces
//	fair-research-login                                            INI
//	Parsl and others: {resource server: record}                    JSON
//
// Reading is strict: one record that is not as it should be makes the whole
// file refused, by the name of the record. Half an import would look like a
// whole one, and a user who deletes the file afterwards has lost the rest.
//
// Databases are read and made by functions that package legacysqlite has, and that the
// caller passes in: a program that never meets one needs no cgo.
package legacy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"slices"

	"github.com/globus-keys/globus-keys/keystore"
)

// maxText is the most bytes that a text file may have: some 20,000 logins.
const maxText = 16 << 20

// File is what another program's token file held when it was read.
type File struct {
	Format   string             // for people, such as "globus-sdk JSONTokenStorage 2.0"
	Path     string             // as the caller named it
	Contents []keystore.Content // one per namespace that holds something, sorted
	Notes    []string           // what the user should know, such as a client id that the file does not say

	seen snapshot
}

// snapshot is what Delete compares a file with.
type snapshot struct {
	info     fs.FileInfo
	database bool
	foreign  []string          // tables of a database that were not read
	sum      [sha256.Size]byte // of the bytes of a text file, of the rows of a database
}

// Read reads the token file at path, which may be a symbolic link to it. sqlite
// reads databases; with nil they are refused with ErrUnavailable. A database is
// not written to, but SQLite may leave its empty -wal and -shm files beside one
// in WAL mode.
//
// The file must not be a database that this process has open elsewhere: reading
// its first bytes drops SQLite's locks on it.
//
// Errors name the file, and the record if it is one record's fault: ErrCorrupt
// for a file that is damaged or contradicts itself, ErrInvalid for a file of
// another kind, ErrTooLarge, ErrBusy, ErrUnavailable, or what the system says.
func Read(ctx context.Context, path string, sqlite SQLiteReader) (*File, error) {
	f, err := read(ctx, path, sqlite)
	if err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Op: "read", Store: path})
	}
	return f, nil
}

func read(ctx context.Context, path string, sqlite SQLiteReader) (*File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, err := load(path)
	if err != nil {
		return nil, err
	}
	seen := snapshot{info: raw.info, sum: sha256.Sum256(raw.text)}
	var f *File
	if raw.sqlite {
		f, err = readDatabase(ctx, path, sqlite, &seen)
	} else {
		f, err = parse(raw.text, pathFacts(path))
	}
	if err != nil {
		return nil, err
	}
	f.Path, f.seen = path, seen
	return f, nil
}

// parse reads a text file; where is what its path says of its logins.
func parse(data []byte, where facts) (*File, error) {
	body := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(body) == 0:
		return nil, corrupt("it is empty; the program that wrote it may have been interrupted")
	case bytes.HasPrefix(body, []byte("age-encryption.org/")), bytes.HasPrefix(body, []byte("-----BEGIN AGE")):
		return nil, foreign("it is an age file, not a token file; age -d opens it")
	case body[0] == '{', json.Valid(body):
		return parseJSON(data, where)
	case body[0] == '[':
		return parseINI(data)
	case bytes.Contains(body, []byte("AGE-SECRET-KEY-")):
		return nil, foreign("it is an age identity, which is a key and holds no logins")
	}
	return nil, foreign("it is not a token file; " + expected)
}

// The SDK's own formats, for people.
const (
	sdkJSON1   = "globus-sdk SimpleJSONFileAdapter 1.0"
	sdkJSON2   = "globus-sdk JSONTokenStorage 2.0"
	sdkSQLite1 = "globus-sdk SQLiteAdapter (schema 1)"
	sdkSQLite2 = "globus-sdk SQLiteTokenStorage (schema 2)"
)

const expected = "expected one of the Globus SDK, globus-cli, globus-compute, fair-research-login or Parsl"

// newFile puts the contents in order and leaves out empty ones.
func newFile(format string, contents []keystore.Content, notes []string) *File {
	contents = slices.DeleteFunc(contents, func(c keystore.Content) bool {
		return len(c.Tokens) == 0 && len(c.Configs) == 0
	})
	slices.SortFunc(contents, func(a, b keystore.Content) int { return cmp.Compare(a.Namespace, b.Namespace) })
	if len(contents) == 0 {
		notes = append(notes, "the file holds no logins")
	}
	return &File{Format: format, Contents: contents, Notes: notes}
}

// record reads the record that stands at a place of a file. Its own name for
// its resource server, if it has one, must be the place's.
func record(namespace, resourceServer string, text []byte) (keystore.Token, error) {
	key := keystore.RecordKey{Namespace: namespace, Kind: keystore.KindToken, Name: resourceServer}
	t, err := tokenAt(key, text)
	return t, keystore.Annotate(err, keystore.Error{Key: key})
}

func tokenAt(key keystore.RecordKey, text []byte) (keystore.Token, error) {
	if err := key.Check(); err != nil {
		return keystore.Token{}, err
	}
	t, err := keystore.ParseTokenRecord(text)
	if err != nil {
		return keystore.Token{}, err
	}
	if t.ResourceServer == "" {
		t.ResourceServer = key.Name
	}
	if t.ResourceServer != key.Name {
		return keystore.Token{}, corruptf("the record there is of resource server %q", t.ResourceServer)
	}
	if t.AccessToken.IsZero() {
		return keystore.Token{}, corrupt("the record has no access token")
	}
	return t, nil
}

func sortTokens(tokens []keystore.Token) {
	slices.SortFunc(tokens, func(a, b keystore.Token) int { return cmp.Compare(a.ResourceServer, b.ResourceServer) })
}
