package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

func ExampleStore() {
	ctx := context.Background()
	store := keystore.New(memory.New(), nil) // a program that keeps its logins calls local.Open
	defer store.Close()

	_, err := store.Get(ctx, "transfer.api.globus.org")
	if errors.Is(err, keystore.ErrNotFound) {
		fmt.Println("nobody is logged in")
	}

	err = store.Put(ctx, keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "transfer.api.globus.org",
		AccessToken:    keystore.NewSecret("AgExample"),
		ExpiresAt:      time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := store.Get(ctx, "transfer.api.globus.org")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("a log shows", token.AccessToken)
	fmt.Println("Authorization: Bearer", token.AccessToken.Reveal())
	// Output:
	// nobody is logged in
	// a log shows [redacted]
	// Authorization: Bearer AgExample
}

// A refresh answer may be half said: the store completes it.
func ExampleStore_OnRefresh() {
	ctx := context.Background()
	store := keystore.New(memory.New(), nil)
	defer store.Close()

	login := keystore.Token{
		ResourceServer: "transfer.api.globus.org", Scope: "all",
		AccessToken: keystore.NewSecret("first"), RefreshToken: keystore.NewSecret("again"),
	}
	refreshed := keystore.Token{ResourceServer: "transfer.api.globus.org", AccessToken: keystore.NewSecret("second")}
	for _, token := range []keystore.Token{login, refreshed} {
		if err := store.OnRefresh(ctx, keystore.TokenResponse{Tokens: []keystore.Token{token}}); err != nil {
			fmt.Println(err)
			return
		}
	}
	for token, err := range store.All(ctx) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(token.AccessToken.Reveal(), token.RefreshToken.Reveal(), token.Scope)
	}
	// Output: second again all
}

func ExampleStore_In() {
	ctx := context.Background()
	store := keystore.New(memory.New(), nil)
	defer store.Close()

	for _, namespace := range []string{"work", "home"} {
		if err := store.In(namespace).PutConfig(ctx, "editor", namespace+"'s"); err != nil {
			fmt.Println(err)
			return
		}
	}
	namespaces, err := store.Namespaces(ctx, keystore.KindConfig)
	fmt.Println(namespaces, err)
	var editor string
	err = store.In("work").GetConfig(ctx, "editor", &editor)
	fmt.Println(editor, err)
	// Output:
	// [home work] <nil>
	// work's <nil>
}

func ExampleError() {
	store := keystore.New(memory.New(), nil)
	defer store.Close()

	_, err := store.Get(context.Background(), "transfer.api.globus.org")
	fmt.Println(err)
	var e *keystore.Error
	if errors.As(err, &e) {
		fmt.Println(e.Op, e.Key.Name, errors.Is(err, keystore.ErrNotFound))
	}
	// Output:
	// get token "transfer.api.globus.org" in namespace "DEFAULT": not found
	// get transfer.api.globus.org true
}

func ExampleSecret() {
	type config struct{ password keystore.Secret }
	c := config{keystore.NewSecret("hunter2")}
	fmt.Println(c.password)
	fmt.Printf("%s %q %x\n", c.password, c.password, c.password)
	fmt.Println(c.password.Reveal())
	// Output:
	// [redacted]
	// [redacted] [redacted] [redacted]
	// hunter2
}
