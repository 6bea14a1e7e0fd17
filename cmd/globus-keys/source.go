package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/internal/hook"
	"github.com/globus-keys/globus-keys/internal/settings"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// opened is a store, and what its logins need besides: the settings are read when
// something is renewed.
type opened struct {
	*app
	place *local.Place
	store *keystore.Store
}

func (a *app) openStore() (opened, error) {
	p, err := a.place()
	if err != nil {
		return opened{}, err
	}
	return opened{a, p, p.Store()}, nil
}

// close waits for renewals under way: an interrupted command ends after them.
func (o opened) close() {
	o.finishing.Add(1)
	defer o.finishing.Add(-1)
	o.store.Close()
}

// source returns the Source of a login, which runs the user's hooks.
func (o opened) source(resourceServer string, minTTL time.Duration) *oauth.Source {
	return oauth.NewSource(o.store, resourceServer, &oauth.SourceOptions{
		MinTTL: minTTL,
		OnRefresh: func(ctx context.Context, r oauth.Refreshed) {
			if len(r.Narrowed) > 0 {
				o.warn("the login at %q has lost scopes: %s", resourceServer, strings.Join(r.Narrowed, " "))
			}
			o.hook(ctx, func(s *settings.Settings) hook.Command { return s.OnRefresh },
				hook.Refreshed(o.place.String(), o.store.Namespace(), r.Token, r.Narrowed, o.store.Now()))
		},
		OnError: func(ctx context.Context, err error) {
			if !errors.Is(err, keystore.ErrLoginRequired) {
				return
			}
			o.hook(ctx, func(s *settings.Settings) hook.Command { return s.OnLoginRequired },
				hook.LoginOver(o.place.String(), o.store.Namespace(), resourceServer, err.Error(), o.store.Now()))
		},
	})
}

// hook runs one of the user's programs, if he has named one. What goes wrong with
// it is told, and does not concern the login.
func (o opened) hook(ctx context.Context, which func(*settings.Settings) hook.Command, e hook.Event) {
	if hook.Inside(o.getenv) {
		return
	}
	s, err := settings.Load(o.getenv)
	if err != nil {
		o.warn("no hook was run: %v", err)
		return
	}
	if err := hook.Run(ctx, which(s), e, o.err); err != nil {
		o.warn("%v", err)
	}
}

// servers are the resource servers that the arguments name, or all of the
// namespace if there are none.
func (o opened) servers(ctx context.Context, args []string) ([]string, error) {
	if len(args) == 0 {
		return resourceServers(ctx, o.place.Adapter(), o.store.Namespace())
	}
	var servers []string
	for _, arg := range args {
		servers = append(servers, oauth.ResourceServer(arg))
	}
	return servers, nil
}

// loginHint adds to an error that only a new login helps how to make one.
func (o opened) loginHint(ctx context.Context, err error) error {
	if !errors.Is(err, keystore.ErrLoginRequired) {
		return err
	}
	return hinted{err, o.loginLine(ctx) + " logs in again"}
}

func (o opened) loginLine(ctx context.Context) string {
	line := "{}"
	if ns := o.store.Namespace(); ns != keystore.DefaultNamespace {
		line += " --namespace " + shellQuoted(ns)
	}
	line += " login"
	s, err := settings.Load(o.getenv)
	account, accountErr := o.store.Account(ctx)
	if (err != nil || s.ClientID == "") && (accountErr != nil || account.ClientID == "") {
		line += " --client-id ID"
	}
	return line
}

// each does something for several logins and goes on past errors, which it tells.
// The first one decides the exit code.
func (a *app) each(servers []string, do func(resourceServer string) error) error {
	var first error
	failed := 0
	for _, rs := range servers {
		err := do(rs)
		if err == nil {
			continue
		}
		if failed++; first == nil {
			first = err
		} else {
			a.talk("error: ", "%v", err)
		}
	}
	if failed > 1 {
		a.say("%d of %d logins: failed", failed, len(servers))
	}
	return first
}

// validFor says how long a token is good.
func validFor(t keystore.Token, now time.Time) string {
	return fmt.Sprintf("valid for %s", roughly(t.ExpiresAt.Sub(now)))
}
