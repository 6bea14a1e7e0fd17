// Tour shows what globus-keys does, in a temporary directory: no account, no
// keychain and no network, but a fake Globus Auth on this machine. Run it with
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
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

const transfer = "transfer.api.globus.org"

func main() {
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "globus-keys-tour-")
	if err != nil {
		log.Fatal(err)
	}
	err = run(context.Background(), dir)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

// tour is what the steps need.
type tour struct {
	path   string // of the store
	store  *keystore.Store
	issuer *oauthtest.Server
	passed atomic.Int64 // time that we only say has passed
}

func run(ctx context.Context, dir string) error {
	var end cleanup
	defer end.run()
	t := &tour{path: filepath.Join(dir, "store", "tokens.json"), issuer: oauthtest.New(&end)}
	t.issuer.SetRotation(oauthtest.Rotating) // each refresh token is good once
	var err error
	t.store, err = local.Open(ctx, &local.Options{
		Store:  "file:" + t.path,
		Key:    keystore.SlotPassphrase, // your keychain is none of a tour's business
		Prompt: passphrase,
		Clock:  func() time.Time { return time.Now().Add(time.Duration(t.passed.Load())) },
	})
	if err != nil {
		return err
	}
	defer t.store.Close()
	for _, step := range []func(context.Context) error{
		t.login, t.searchDisk, t.printToken, t.refresh, t.logout, t.tamper,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// passphrase stands for somebody at a terminal.
func passphrase(context.Context, local.Question) (keystore.Secret, error) {
	return keystore.NewSecret("correct horse battery staple"), nil
}

func (t *tour) login(ctx context.Context) error {
	fmt.Println("1. Somebody logs in with a browser. The login is stored.")
	client, err := oauth.NewClient(t.issuer.Provider(), oauth.Credentials{ID: "fake-client"}, nil)
	if err != nil {
		return err
	}
	answer, err := oauth.Login(ctx, t.store, client, oauth.LoginOptions{
		Scopes: []string{"openid", "urn:globus:auth:scope:transfer.api.globus.org:all", "urn:globus:auth:scope:groups.api.globus.org:all"},
		Visit:  browser,
	})
	if err != nil {
		return err
	}
	fmt.Printf("   %s can use:", answer.Response.Account.Username)
	for login, err := range t.store.All(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf(" %s", login.ResourceServer)
	}
	fmt.Println()
	return nil
}

// browser stands for a browser and the person before it.
func browser(ctx context.Context, url string) error {
	go func() {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
		}
	}()
	return nil
}

func (t *tour) searchDisk(ctx context.Context) error {
	fmt.Println("2. We search every byte below the store's directory for the tokens.")
	files, found := 0, 0
	err := filepath.WalkDir(filepath.Dir(t.path), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		files++
		for login := range t.store.All(ctx) {
			for _, secret := range []string{login.AccessToken.Reveal(), login.RefreshToken.Reveal()} {
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

func (t *tour) printToken(ctx context.Context) error {
	fmt.Println("3. A program that has the key gets a token.")
	login, err := t.store.Get(ctx, transfer)
	if err != nil {
		return err
	}
	fmt.Printf("   printed by mistake:  %v\n", login.AccessToken)
	fmt.Printf("   printed on purpose:  %s\n", login.AccessToken.Reveal())
	return nil
}

func (t *tour) refresh(ctx context.Context) error {
	fmt.Println("4. Three days later the access token is over. Twenty programs need one at once.")
	t.passed.Add(int64(72 * time.Hour))
	before := t.issuer.Counts().Posts
	var asked sync.WaitGroup
	var hooks, served atomic.Int32
	for range 20 {
		asked.Go(func() {
			source := oauth.NewSource(t.store, transfer, &oauth.SourceOptions{
				OnRefresh: func(_ context.Context, r oauth.Refreshed) {
					hooks.Add(1)
					fmt.Printf("   hook: the login at %s was renewed, and is stored\n", r.Token.ResourceServer)
				},
			})
			if token, err := source.Get(ctx); err == nil && !token.Expired(t.store.Now()) {
				served.Add(1)
			}
		})
	}
	asked.Wait()
	posts := t.issuer.Counts().Posts - before
	fmt.Printf("   programs with a new token: %d; requests to the issuer: %d; hooks: %d\n", served.Load(), posts, hooks.Load())
	if served.Load() != 20 || posts != 1 || hooks.Load() != 1 {
		return errors.New("a login was renewed more than once, or not for all")
	}
	return nil
}

func (t *tour) logout(ctx context.Context) error {
	fmt.Println("5. Somebody logs out of Groups.")
	login, err := t.store.Get(ctx, "groups.api.globus.org")
	if err != nil {
		return err
	}
	if err := oauth.Logout(ctx, t.store, "groups.api.globus.org", nil); err != nil {
		return err
	}
	fmt.Printf("   at the issuer: refresh token dead: %v, access token active: %v\n",
		t.issuer.Dead(login.RefreshToken.Reveal()), t.issuer.Active(login.AccessToken.Reveal()))
	return nil
}

func (t *tour) tamper(ctx context.Context) error {
	fmt.Println("6. Somebody who can write the file puts another token in transfer's place.")
	data, err := os.ReadFile(t.path)
	if err != nil {
		return err
	}
	swap := strings.NewReplacer(`"`+transfer+`"`, `"auth.globus.org"`, `"auth.globus.org"`, `"`+transfer+`"`)
	if err := os.WriteFile(t.path, []byte(swap.Replace(string(data))), 0o600); err != nil {
		return err
	}
	_, err = t.store.Get(ctx, transfer)
	if !errors.Is(err, keystore.ErrTampered) {
		return fmt.Errorf("the swap went unnoticed: %v", err)
	}
	fmt.Println("   refused:", strings.ReplaceAll(err.Error(), filepath.Dir(t.path), "…"))
	return nil
}

// cleanup ends what the tour has started.
type cleanup []func()

// Cleanup implements oauthtest.Cleaner.
func (c *cleanup) Cleanup(f func()) { *c = append(*c, f) }

func (c *cleanup) run() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
}
