// Profiles shows a program with several profiles, each with logins and settings of its
// own, in one encrypted database. It makes one in a temporary directory, and prints what
// it has kept. It needs cgo.
//
//	go run ./examples/profiles
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

func main() {
	dir, err := os.MkdirTemp("", "profiles")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), filepath.Join(dir, "profiles.db"), os.Stdout); err != nil {
		log.Print(err)
	}
}

func run(ctx context.Context, path string, out io.Writer) error {
	store, err := local.Open(ctx, &local.Options{
		Store:  "sqlite:" + path,
		SQLite: sqliteadapter.Opener(nil),
		// A program for people leaves the rest out: then the key is in the keychain.
		Key:        keystore.SlotPassphrase,
		Prompt:     passphrase,
		WorkFactor: 10,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	p := profiles{store}
	if err := p.make(ctx); err != nil {
		return err
	}
	return p.print(ctx, out)
}

// passphrase stands for a dialog of the program's.
func passphrase(context.Context, local.Question) (keystore.Secret, error) {
	return keystore.NewSecret("correct horse battery staple"), nil
}

// profiles keeps each profile in a namespace.
type profiles struct{ store *keystore.Store }

// settings of a profile: any value that has a JSON form.
type settings struct {
	Home  string   `json:"home"`
	Hosts []string `json:"hosts,omitempty"`
}

// make stands for what people do in time.
func (p profiles) make(ctx context.Context) error {
	if err := p.save(ctx, "work", settings{Home: "/projects", Hosts: []string{"a.example.org", "b.example.org"}}); err != nil {
		return err
	}
	if err := p.save(ctx, "private", settings{Home: "/home/me"}); err != nil {
		return err
	}
	return p.login(ctx, "work", "transfer.api.globus.org", "groups.api.globus.org")
}

func (p profiles) save(ctx context.Context, profile string, s settings) error {
	return p.store.In(profile).PutConfig(ctx, "settings", s)
}

func (p profiles) settings(ctx context.Context, profile string) (s settings, err error) {
	err = p.store.In(profile).GetConfig(ctx, "settings", &s)
	return s, err
}

// login stores what oauth.Login would have got. All of it, or nothing.
func (p profiles) login(ctx context.Context, profile string, servers ...string) error {
	var r keystore.TokenResponse
	for _, rs := range servers {
		r.Tokens = append(r.Tokens, keystore.Token{
			ResourceServer: rs,
			AccessToken:    keystore.NewSecret("FakeAccessToken of " + profile),
			ExpiresAt:      time.Now().Add(48 * time.Hour),
		})
	}
	return p.store.In(profile).Put(ctx, r)
}

func (p profiles) print(ctx context.Context, out io.Writer) error {
	names, err := p.store.Namespaces(ctx, keystore.KindToken, keystore.KindConfig)
	if err != nil {
		return err
	}
	for _, name := range names {
		s, err := p.settings(ctx, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %+v\n", name, s)
		for t, err := range p.store.In(name).All(ctx) {
			if err != nil { // this one cannot be read: the others are not hidden by it
				fmt.Fprintln(out, "  ", err)
				continue
			}
			fmt.Fprintf(out, "  %s %s\n", t.ResourceServer, t.AccessToken)
		}
	}
	return nil
}
