package oauth

import (
	"context"
	"errors"

	"github.com/globus-keys/globus-keys/keystore"
)

// Login has a person log in, as [Client.Login] does, and stores what comes of it.
// Whether it can be stored is tried out before: nobody logs in for nothing. Errors
// are those of [keystore.Store.Probe], [Client.Login] and [Client.Keep].
func Login(ctx context.Context, store *keystore.Store, c *Client, opts LoginOptions) (Answer, error) {
	if err := store.Probe(ctx); err != nil {
		return Answer{}, err
	}
	answer, err := c.Login(ctx, opts)
	if err != nil {
		return Answer{}, err
	}
	return answer, c.Keep(context.WithoutCancel(ctx), store, answer)
}

// Keep stores what the client was granted, all or none, and then its secret if it
// has one, under ClientConfig: a namespace has one confidential client. What cannot
// be stored is revoked, since nobody else has it: a login of another account than
// the namespace's (keystore.ErrSubjectMismatch), say. The error names what could not
// be revoked either. If it is the secret that cannot be stored the login stays, and
// the error says so.
func (c *Client) Keep(ctx context.Context, store *keystore.Store, answer Answer) error {
	if err := store.Put(ctx, answer.Response); err != nil {
		return errors.Join(append([]error{err}, c.takeBack(ctx, store, answer)...)...)
	}
	// A login that is refused must not have replaced the secret of another client.
	if err := c.keepSecret(ctx, store); err != nil {
		return &keystore.Error{Err: err, Detail: "the login is stored, but not the secret that renews it"}
	}
	return nil
}

// takeBack revokes what is not in the store.
func (c *Client) takeBack(ctx context.Context, store *keystore.Store, answer Answer) (failed []error) {
	for _, t := range answer.Response.Tokens {
		if stored, err := store.Get(ctx, t.ResourceServer); err == nil && shares(stored, t) {
			continue
		}
		if err := c.RevokeAll(ctx, t); err != nil {
			failed = append(failed, &keystore.Error{Op: "revoke the new login at", Err: err,
				Key: keystore.RecordKey{Namespace: store.Namespace(), Kind: keystore.KindToken, Name: t.ResourceServer}})
		}
	}
	return failed
}

// shares reports whether stored would die with t: the Update took effect although it
// reported an error, or this issuer has one refresh token for all logins.
func shares(stored, t keystore.Token) bool {
	return stored.AccessToken.Equal(t.AccessToken) || !t.RefreshToken.IsZero() && stored.RefreshToken.Equal(t.RefreshToken)
}

// Logout ends the login at a resource server: its refresh token and its access
// token are revoked at their issuer, and then it is removed, as
// [keystore.Store.Logout] says. opts may be nil.
//
// Errors: keystore.ErrUnavailable if the issuer cannot be reached, has no
// revocation endpoint, or is not known; then the login stays as it is. A nil revoke
// of [keystore.Store.Logout] removes it all the same.
func Logout(ctx context.Context, store *keystore.Store, resourceServer string, opts *Options) error {
	return store.Logout(ctx, resourceServer, func(ctx context.Context, t keystore.Token) error {
		if t.RefreshToken.IsZero() && t.Expired(store.Now()) {
			return nil // nothing of it is of use to anybody
		}
		if t.Issuer == "" || t.ClientID == "" {
			return &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the record does not say of which client and issuer it is: it cannot be revoked"}
		}
		c, err := clientOf(ctx, store, t, nil, opts)
		if err != nil {
			return err
		}
		return c.RevokeAll(ctx, t)
	})
}

// RevokeAll revokes the refresh token of t, if it has one, and then the access
// token. Errors are those of [Client.Revoke]; at the first one it ends.
func (c *Client) RevokeAll(ctx context.Context, t keystore.Token) error {
	for _, secret := range []keystore.Secret{t.RefreshToken, t.AccessToken} {
		if secret.IsZero() {
			continue
		}
		if err := c.Revoke(ctx, secret); err != nil {
			return err
		}
	}
	return nil
}
