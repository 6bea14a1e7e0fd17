package oauth

import (
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
)

// renewing is one renewal of a Source.
type renewing struct {
	*Source
	began  time.Time      // by its uptime
	of     keystore.Token // what is to be renewed
	asked  bool           // once at least
	answer Answer
}

// ask is a keystore.Renew: it asks the issuer, unless somebody else of the Source
// has been told no for this login since this began.
func (r *renewing) ask(ctx context.Context, old keystore.Token) (keystore.TokenResponse, error) {
	if !r.asked && r.failedSince(r.began, old) {
		return keystore.TokenResponse{}, errLeft
	}
	r.asked, r.of = true, old
	err := r.spend(ctx, old)
	if err != nil {
		r.leave(old, err) // before the next one has the lock
	}
	return r.response(), err
}

// response is what the answer says of the login that is renewed. Its issuer has no
// say in others, nor in whose they are.
func (r *renewing) response() (only keystore.TokenResponse) {
	for _, t := range r.answer.Response.Tokens {
		if t.ResourceServer == r.resourceServer {
			only.Tokens = append(only.Tokens, t)
		}
	}
	return only
}

// spend gets the answer for old's refresh token, or for the client's secret.
func (r *renewing) spend(ctx context.Context, old keystore.Token) error {
	c, err := clientOf(ctx, r.store, old, r.opts.Client, r.opts.Requests)
	if err != nil {
		return err
	}
	if old.RefreshToken.IsZero() && old.Grant == keystore.GrantClientCredentials {
		r.answer, err = c.ClientCredentials(ctx, old.Scopes())
	} else {
		r.answer, err = c.RefreshToken(ctx, old)
	}
	return err
}

// failed tells of a failure. That a caller has gone is none.
func (r *renewing) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // r is still at work
	}
	r.leave(r.of, err)
	r.complain(ctx, err)
}

func (r *renewing) told(t keystore.Token) Refreshed {
	return Refreshed{Token: t, Narrowed: r.answer.Narrowed, Widened: r.answer.Widened}
}

// clientOf returns the client that got t, with the endpoints that were recorded
// when it did. known, which may be nil, has the secret of the program's own.
func clientOf(ctx context.Context, store *keystore.Store, t keystore.Token, known *Client, opts *Options) (*Client, error) {
	p, err := providerOf(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	c := Credentials{ID: t.ClientID}
	if known != nil && known.provider.Issuer == t.Issuer && known.credentials.ID == t.ClientID {
		c.Secret = known.credentials.Secret
	} else if c.Secret, err = KeptSecret(ctx, store, t.Issuer, t.ClientID); err != nil {
		return nil, err
	}
	return NewClient(p, c, clocked(opts, store))
}

// clocked returns opts with the store's clock, if they have none: a token's end is
// compared with that.
func clocked(opts *Options, store *keystore.Store) *Options {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Clock == nil {
		o.Clock = store.Now
	}
	return &o
}

// providerOf returns where t's secrets may go. A login that was imported has no
// endpoints recorded: then they are what the issuer itself says.
func providerOf(ctx context.Context, t keystore.Token, opts *Options) (Provider, error) {
	if t.Endpoints.Token != "" {
		return Provider{Issuer: t.Issuer, TokenEndpoint: t.Endpoints.Token, RevocationEndpoint: t.Endpoints.Revocation}, nil
	}
	return Find(ctx, t.Issuer, opts)
}

// clientRecord is what ClientConfig holds. The Globus CLI writes no issuer.
type clientRecord struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	Issuer string `json:"issuer,omitempty"`
}

// is reports whether the secret is that of a client at an issuer: it goes to no
// other, whatever the record of a login says.
func (r clientRecord) is(issuer, clientID string) bool {
	return r.ID == clientID && (r.Issuer == issuer || r.Issuer == "" && isGlobus(issuer))
}

// KeptSecret returns the secret that the namespace keeps for a client at an issuer,
// since it has logged in; zero if it keeps none.
func KeptSecret(ctx context.Context, store *keystore.Store, issuer, clientID string) (keystore.Secret, error) {
	var r clientRecord
	err := store.GetConfig(ctx, ClientConfig, &r)
	if errors.Is(err, keystore.ErrNotFound) || err == nil && !r.is(issuer, clientID) {
		return keystore.Secret{}, nil
	}
	return keystore.NewSecret(r.Secret), err
}

// keepSecret stores the secret of c, if it has one, in the namespace, where Source
// and Logout find it. There is one confidential client in a namespace.
func (c *Client) keepSecret(ctx context.Context, store *keystore.Store) error {
	if c.credentials.Secret.IsZero() {
		return nil
	}
	return store.PutConfig(ctx, ClientConfig, clientRecord{c.credentials.ID, c.credentials.Secret.Reveal(), c.provider.Issuer})
}

// OnTokenChange returns a hook for programs that have a refresher of their own
// (the shape of golang/go#77502): it stores each token that it is told, as the
// login at a resource server, whose issuer and client stay those that are stored.
// failed hears what could not be stored; it may be nil. Two refreshers of one
// login destroy it where refresh tokens rotate: then use a Source.
func OnTokenChange(ctx context.Context, store *keystore.Store, resourceServer string, failed func(error)) func(*oauth2.Token) {
	return func(t *oauth2.Token) {
		scope, _ := t.Extra("scope").(string)
		err := store.OnRefresh(ctx, keystore.TokenResponse{Tokens: []keystore.Token{{
			ResourceServer: resourceServer,
			Scope:          scope,
			AccessToken:    keystore.NewSecret(t.AccessToken),
			RefreshToken:   keystore.NewSecret(t.RefreshToken),
			TokenType:      t.TokenType,
			ExpiresAt:      t.Expiry,
			Used:           store.Now(),
		}}})
		if err != nil && failed != nil {
			failed(err)
		}
	}
}
