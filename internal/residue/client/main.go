// Client is a program that uses a store and is done with it, for the tests of
// package residue. It prints a line at each station, and goes on when it reads one.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	in := bufio.NewReader(os.Stdin)
	station := func(name string) error {
		fmt.Println(name)
		_, err := in.ReadString('\n')
		return err
	}
	own, err := json.Marshal(strings.Repeat("a program's own ", 20)) // leaves a buffer in the pool of encoding/json
	if err != nil {
		return err
	}
	store, err := local.Open(ctx, nil)
	if err != nil {
		return err
	}
	if err := store.Probe(ctx); err != nil { // a write that comes first
		return err
	}
	token, err := useAll(ctx, store)
	if err != nil {
		return err
	}
	if err := station("open"); err != nil {
		return err
	}
	fmt.Println(len(own), token.AccessToken) // until here it is in use
	if err := store.Close(); err != nil {
		return err
	}
	runtime.GC()
	runtime.GC()
	err = station("closed")
	runtime.KeepAlive(store) // a closed store may stay
	return err
}

// useAll uses the store from several goroutines, which end.
func useAll(ctx context.Context, store *keystore.Store) (keystore.Token, error) {
	var all sync.WaitGroup
	failed := make([]error, 3)
	for i := range failed {
		all.Go(func() { _, failed[i] = use(ctx, store, fmt.Sprintf("%d.example", i)) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return keystore.Token{}, err
	}
	return use(ctx, store, "groups.api.globus.org")
}

// use does what programs do with a store.
func use(ctx context.Context, store *keystore.Store, other string) (keystore.Token, error) {
	token, err := store.Get(ctx, "transfer.api.globus.org")
	if err != nil {
		return token, err
	}
	again := token
	again.ResourceServer = other
	if err := store.Put(ctx, keystore.TokenResponse{Tokens: []keystore.Token{again}}); err != nil {
		return token, err
	}
	renew := func(_ context.Context, old keystore.Token) (keystore.TokenResponse, error) {
		old.Scope += " more"
		return keystore.TokenResponse{Tokens: []keystore.Token{old}}, nil
	}
	stale := func(t keystore.Token) bool { return t.Scope == token.Scope }
	if _, err := store.Refresh(ctx, other, stale, renew, nil); err != nil {
		return token, err
	}
	for _, err := range store.All(ctx) {
		if err != nil {
			return token, err
		}
	}
	return token, nil
}
