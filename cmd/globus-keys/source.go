package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
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
	p, store, err := a.open()
	return opened{a, p, store}, err
}

// close waits for renewals under way: an interrupted command ends after them.
func (o opened) close() {
	o.finishing.Add(1)
	defer o.finishing.Add(-1)
	o.store.Close()
}

// source returns the Source of a login, which runs the user's hooks. failed hears
// why a token was not renewed, also if the old one is still good.
func (o opened) source(resourceServer string, minTTL time.Duration, failed func(error)) *oauth.Source {
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
			failed(err)
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
	s, err := o.settings()
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

// loginHint adds to an error that only a new login at a resource server helps how to
// make one.
func (o opened) loginHint(ctx context.Context, resourceServer string, err error) error {
	refused, _ := errors.AsType[*oauth.Error](err)
	unknown := refused != nil && refused.Code == "invalid_client"
	if !errors.Is(err, keystore.ErrLoginRequired) && !unknown {
		return err
	}
	line := o.loginLine(ctx)
	if t, err := o.store.Get(ctx, resourceServer); err == nil && t.Grant == keystore.GrantClientCredentials {
		line += " --flow client-credentials"
		if unknown {
			line += " --client-secret-file FILE"
		}
	}
	return hinted{err, line + " logs in again"}
}

// nobody is the error of a namespace without a login.
func (o opened) nobody(ctx context.Context) error {
	err := fmt.Errorf("nobody is logged in in namespace %q: %w", o.store.Namespace(), keystore.ErrLoginRequired)
	return hinted{err, o.loginLine(ctx) + " logs in"}
}

// loginLine is the command that logs the namespace's account in again.
func (o opened) loginLine(ctx context.Context) string {
	line := o.line("login")
	s, err := o.settings()
	if err != nil {
		s = new(settings.Settings)
	}
	account, _ := o.store.Account(ctx) // zero if it is not known
	chosen := chosenIssuer(s, account)
	issuer := cmp.Or(account.Issuer, chosen)
	if issuer != chosen {
		line += " --issuer " + shellQuoted(issuer)
	}
	switch known := registered(s, account, issuer); {
	case known == "" && account.ClientID == "":
		line += " --client-id ID"
	case account.ClientID != "" && account.ClientID != known:
		line += " --client-id " + shellQuoted(account.ClientID)
	}
	return line
}

// line is how to call the program for the same namespace.
func (o opened) line(words ...string) string {
	line := "{}"
	if ns := o.store.Namespace(); ns != keystore.DefaultNamespace {
		line += " --namespace " + shellQuoted(ns)
	}
	for _, w := range words {
		line += " " + shellQuoted(w)
	}
	return line
}

// settings are those of config.toml. What is wrong with them is the user's own to
// mend: usage, unless others can have written them.
func (a *app) settings() (*settings.Settings, error) {
	s, err := settings.Load(a.getenv)
	if err != nil && !errors.Is(err, keystore.ErrTampered) {
		err = hinted{usageError{err}, "mend the file; without it: GLOBUS_KEYS_CONFIG=" + os.DevNull}
	}
	return s, err
}

// each does something for several logins and goes on past errors, which it tells.
// The first one decides the exit code. It ends with ctx, and when nobody opens the store:
// that is so for the next ones too, and is told once.
func (a *app) each(ctx context.Context, servers []string, do func(resourceServer string) error) error {
	var first error
	failed := 0
	for _, rs := range servers {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := do(rs)
		if err == nil {
			continue
		}
		shut := errors.Is(err, keystore.ErrLocked) || errors.Is(err, keystore.ErrDeclined)
		if shut && first == nil {
			return err
		}
		if failed++; first == nil {
			first = err
			continue
		}
		a.complain(err)
		if shut {
			return first
		}
	}
	if failed > 1 {
		a.say("%d of %d logins failed", failed, len(servers))
	}
	return first
}

// validFor says how long a token is good.
func validFor(t keystore.Token, now time.Time) string {
	return fmt.Sprintf("valid for %s", roughly(t.ExpiresAt.Sub(now)))
}
