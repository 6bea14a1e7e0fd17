package main

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/internal/legacy/legacysqlite"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// TestFixturesSurvive imports every file that the real programs wrote into a
// store of its own and opens that store again: each field of each record is
// there, and no secret of it lies on the disk in any form.
func TestFixturesSurvive(t *testing.T) {
	root := filepath.Join("..", "..", "internal", "legacy", "testdata")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) == "fuzz" {
			return err
		}
		if rel, _ := filepath.Rel(root, path); filepath.Dir(rel) == "." {
			return nil // not a fixture
		}
		files++
		t.Run(filepath.Base(path), func(t *testing.T) { survives(t, path) })
		return nil
	})
	if err != nil || files < 8 {
		t.Errorf("%d fixtures: %v", files, err)
	}
}

func survives(t *testing.T, path string) {
	file, err := legacy.Read(t.Context(), path, legacysqlite.Read)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	opts := &local.Options{Store: "file:" + filepath.Join(home, "store", "tokens.json"), WorkFactor: 5, Prompt: fixedPassphrase}
	first := openLocal(t, opts)
	if _, err := first.Import(t.Context(), file.Contents, false); err != nil {
		t.Fatal(err)
	}
	again := openLocal(t, opts)
	if err := again.Holds(t.Context(), file.Contents); err != nil {
		t.Error(err)
	}
	for _, c := range file.Contents {
		for _, want := range c.Tokens {
			got, err := again.In(c.Namespace).Get(t.Context(), want.ResourceServer)
			if err != nil {
				t.Fatal(err)
			}
			sameToken(t, got, want)
			absent(t, home, want.AccessToken, want.RefreshToken)
		}
		for _, text := range c.Configs {
			absent(t, home, text)
		}
	}
}

func openLocal(t *testing.T, opts *local.Options) *keystore.Store {
	t.Helper()
	store, err := local.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// sameToken compares what the file said, in the form in which it said it.
func sameToken(t *testing.T, got, want keystore.Token) {
	t.Helper()
	gotText, err := keystore.FormatTokenRecord(got)
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := keystore.FormatTokenRecord(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(gotText) != string(wantText) {
		t.Errorf("token of %q came back as\n%s\nwant\n%s", want.ResourceServer, gotText, wantText)
	}
}

func absent(t *testing.T, root string, secrets ...keystore.Secret) {
	t.Helper()
	for _, s := range secrets {
		if s.IsZero() {
			continue
		}
		if found := keystoretest.FindCanary(root, s.Reveal()); len(found) > 0 {
			t.Errorf("a secret lies on the disk in %v", found)
		}
	}
}

func fixedPassphrase(context.Context, local.Question) (keystore.Secret, error) {
	return keystore.NewSecret("correct horse battery staple"), nil
}
