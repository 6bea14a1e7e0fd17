package local_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// A program keeps its user's login. On a desktop local.Open(ctx, nil) does, with
// the key in the keychain; this one asks for a passphrase by its own means, here
// with an answer that is always the same.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := local.Open(ctx, &local.Options{
		Store: "file:" + filepath.Join(dir, "tokens.json"), // "" is the user's own store
		Key:   keystore.SlotPassphrase,                     // "" is the keychain, where there is one
		Prompt: func(context.Context, local.Question) (keystore.Secret, error) {
			return keystore.NewSecret("correct horse battery staple"), nil
		},
		WorkFactor: 10, // for the example's sake; leave it out
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	// A resource server is named in full: "transfer" is a word of the command only.
	_, err = store.Get(ctx, "transfer.api.globus.org")
	fmt.Println("nobody is logged in:", errors.Is(err, keystore.ErrNotFound))

	err = store.Put(ctx, keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "transfer.api.globus.org",
		Scope:          "urn:globus:auth:scope:transfer.api.globus.org:all",
		AccessToken:    keystore.NewSecret("FakeAccessToken"),
		RefreshToken:   keystore.NewSecret("FakeRefreshToken"),
		ExpiresAt:      time.Now().Add(48 * time.Hour), // now and the response's expires_in
	}}})
	fmt.Println("stored:", err)

	token, err := store.Get(ctx, "transfer.api.globus.org")
	fmt.Println("Authorization: Bearer", token.AccessToken, err)
	fmt.Println("Authorization: Bearer", token.AccessToken.Reveal(), err)
	// Output:
	// nobody is logged in: true
	// stored: <nil>
	// Authorization: Bearer [redacted] <nil>
	// Authorization: Bearer FakeAccessToken <nil>
}
