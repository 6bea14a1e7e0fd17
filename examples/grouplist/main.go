// Grouplist lists the groups that you are in. It is the script "Group Listing With
// Token Storage" of the Globus SDK's documentation as a Go program: you log in
// once, and from then on your login is kept, sealed, and renewed when it has to be.
//
//	go run ./examples/grouplist
//
// The login is in the store that globus-keys uses too, in a namespace of its own.
// "globus-keys logout --namespace grouplist --all" ends it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

const (
	// The client of the Globus SDK's tutorials. Register one for your program at
	// https://app.globus.org/settings/developers.
	clientID = "61338d24-54d5-408f-a10d-66c06b59f6d2"

	groups = "groups.api.globus.org"
	scope  = "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := lister{
		store:    local.Options{Namespace: "grouplist"},
		provider: oauth.Globus("production"),
		api:      "https://groups.api.globus.org",
		visit: func(_ context.Context, url string) error {
			_, err := fmt.Fprintln(os.Stderr, "Log in here:", url)
			return err
		},
	}.list(ctx, os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// lister has what a test puts something else in the place of.
type lister struct {
	store    local.Options
	provider oauth.Provider
	api      string
	hosts    []string // empty: those of Globus
	visit    func(ctx context.Context, url string) error
}

// list writes one line for each group to out.
func (l lister) list(ctx context.Context, out io.Writer) error {
	store, err := local.Open(ctx, &l.store)
	if err != nil {
		return err
	}
	defer store.Close()
	client := oauth.NewHTTPClient(oauth.NewSource(store, groups, nil), &oauth.TransportOptions{Hosts: l.hosts})
	mine, err := l.myGroups(ctx, client)
	if errors.Is(err, keystore.ErrNotFound) || errors.Is(err, keystore.ErrLoginRequired) {
		if err = l.login(ctx, store); err == nil {
			mine, err = l.myGroups(ctx, client)
		}
	}
	for _, g := range mine {
		fmt.Fprintf(out, "%s %q\n", g.ID, g.Name)
	}
	return err
}

// login has somebody log in with a browser, and stores the tokens.
func (l lister) login(ctx context.Context, store *keystore.Store) error {
	c, err := oauth.NewClient(l.provider, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		return err
	}
	_, err = oauth.Login(ctx, store, c, oauth.LoginOptions{Scopes: []string{"openid", scope}, Visit: l.visit})
	return err
}

type group struct{ ID, Name string }

// myGroups asks Globus Groups. The client adds the access token.
func (l lister) myGroups(ctx context.Context, client *http.Client) (mine []group, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.api+"/v2/groups/my_groups", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the groups service answers %q", resp.Status)
	}
	err = json.NewDecoder(resp.Body).Decode(&mine)
	return mine, err
}
