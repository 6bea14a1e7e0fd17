// Tour shows what globus-keys does, in a temporary directory: no account, no
// keychain and no network. Run it with
//
//	go run ./examples/tour
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// plain is what the Globus SDK for Python leaves on a disk. The tokens are fake.
const plain = `{"by_rs": {
  "transfer.api.globus.org": {"scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
    "access_token": "FakeTransferAccessToken", "refresh_token": "FakeTransferRefreshToken",
    "token_type": "Bearer", "expires_at_seconds": 4070908799, "resource_server": "transfer.api.globus.org"},
  "groups.api.globus.org": {"scope": "urn:globus:auth:scope:groups.api.globus.org:all",
    "access_token": "FakeGroupsAccessToken", "refresh_token": "FakeGroupsRefreshToken",
    "token_type": "Bearer", "expires_at_seconds": 4070908799, "resource_server": "groups.api.globus.org"}},
 "format_version": "1.0", "globus-sdk.version": "4.9.0"}`

func main() {
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "globus-keys-tour-")
	if err != nil {
		log.Fatal(err)
	}
	err = tour(context.Background(), dir)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

func tour(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "store", "tokens.json")
	store, err := local.Open(ctx, &local.Options{
		Store:  "file:" + path,
		Key:    keystore.SlotPassphrase, // your keychain is none of a tour's business
		Prompt: passphrase,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	for _, step := range []func(context.Context, *keystore.Store, string) error{
		importSample, searchDisk, printToken, tamper,
	} {
		if err := step(ctx, store, path); err != nil {
			return err
		}
	}
	return nil
}

// passphrase stands for somebody at a terminal.
func passphrase(context.Context, local.Question) (keystore.Secret, error) {
	return keystore.NewSecret("correct horse battery staple"), nil
}

func importSample(ctx context.Context, store *keystore.Store, path string) error {
	fmt.Println("1. A login of the Globus SDK lies in a plain file. We import it.")
	source := filepath.Join(filepath.Dir(filepath.Dir(path)), "plain.json")
	if err := os.WriteFile(source, []byte(plain), 0o600); err != nil {
		return err
	}
	file, err := legacy.Read(ctx, source, nil)
	if err != nil {
		return err
	}
	results, err := store.Import(ctx, file.Contents, false)
	if err != nil {
		return err
	}
	for _, r := range results {
		fmt.Printf("   %s: %s\n", r.Outcome, r.Key)
	}
	return os.Remove(source)
}

func searchDisk(ctx context.Context, store *keystore.Store, path string) error {
	fmt.Println("2. We search every byte below the store's directory for the tokens.")
	files, found := 0, 0
	err := filepath.WalkDir(filepath.Dir(path), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		files++
		for t := range store.All(ctx) {
			for _, secret := range []string{t.AccessToken.Reveal(), t.RefreshToken.Reveal()} {
				found += strings.Count(string(data), secret)
				found += strings.Count(string(data), base64.StdEncoding.EncodeToString([]byte(secret)))
			}
		}
		return err
	})
	fmt.Printf("   %d files searched, tokens found: %d\n", files, found)
	if err == nil && found > 0 {
		err = errors.New("a token lies on the disk in plain")
	}
	return err
}

func printToken(ctx context.Context, store *keystore.Store, _ string) error {
	fmt.Println("3. A program that has the key gets a token.")
	t, err := store.Get(ctx, "transfer.api.globus.org")
	if err != nil {
		return err
	}
	fmt.Printf("   printed by mistake:  %v\n", t.AccessToken)
	fmt.Printf("   printed on purpose:  %s\n", t.AccessToken.Reveal())
	return nil
}

func tamper(ctx context.Context, store *keystore.Store, path string) error {
	fmt.Println("4. Somebody who can write the file puts the groups token in transfer's place.")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	swap := strings.NewReplacer(
		`"transfer.api.globus.org"`, `"groups.api.globus.org"`,
		`"groups.api.globus.org"`, `"transfer.api.globus.org"`)
	if err := os.WriteFile(path, []byte(swap.Replace(string(data))), 0o600); err != nil {
		return err
	}
	_, err = store.Get(ctx, "transfer.api.globus.org")
	if !errors.Is(err, keystore.ErrTampered) {
		return fmt.Errorf("the swap went unnoticed: %v", err)
	}
	fmt.Println("   refused:", strings.ReplaceAll(err.Error(), filepath.Dir(path), "…"))
	return nil
}
