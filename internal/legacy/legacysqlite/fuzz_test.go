//go:build cgo

package legacysqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

// FuzzSQLite reads the fixtures with some bytes replaced. Whole databases as
// inputs would spend the time on making 28 kB shorter.
func FuzzSQLite(f *testing.F) {
	var fixtures [][]byte
	for i, path := range []string{cliFixture, schema1Fixture, schema2Fixture} {
		data, err := os.ReadFile(path)
		check(f, err)
		fixtures = append(fixtures, data)
		f.Add(uint8(i), uint16(18), []byte{2, 2}) // the file says that it is in WAL mode
		f.Add(uint8(i), uint16(len(data)-1), []byte("}"))
		f.Add(uint8(i), uint16(100), []byte{13, 0, 0, 0, 3})
	}
	f.Fuzz(func(t *testing.T, which uint8, offset uint16, patch []byte) {
		data := append([]byte(nil), fixtures[int(which)%len(fixtures)]...)
		copy(data[int(offset)%len(data):], patch)
		path := filepath.Join(t.TempDir(), "f.db")
		check(t, os.WriteFile(path, data, 0o600))
		file, err := legacy.Read(context.Background(), path, Read)
		if err != nil {
			return
		}
		for _, c := range file.Contents {
			for _, token := range c.Tokens {
				comesBack(t, token)
			}
		}
	})
}

// comesBack checks what FuzzJSON of package legacy checks field by field: a
// record that was accepted is written as one that reads the same.
func comesBack(t *testing.T, token keystore.Token) {
	t.Helper()
	once, err := keystore.FormatTokenRecord(token)
	check(t, err)
	again, err := keystore.ParseTokenRecord(once)
	check(t, err)
	twice, err := keystore.FormatTokenRecord(again)
	check(t, err)
	if string(once) != string(twice) || again.ResourceServer != token.ResourceServer || !again.AccessToken.Equal(token.AccessToken) {
		t.Errorf("%s came back as %s", once, twice)
	}
}
