package oauth

import (
	"context"

	"golang.org/x/oauth2"

	"github.com/globus-keys/globus-keys/keystore"
)

// Source gives the access token of one login, and renews it.
type Source struct {
	store          *keystore.Store
	resourceServer string
}

// SourceOptions of a Source. The zero value is good.
type SourceOptions struct{}

// NewSource returns the Source of the login that store has at a resource server.
func NewSource(store *keystore.Store, resourceServer string, opts *SourceOptions) *Source {
	return &Source{store: store, resourceServer: resourceServer}
}

// ResourceServer returns the name of the login.
func (s *Source) ResourceServer() string { return s.resourceServer }

// Get returns the login with an access token that is good for a while.
func (s *Source) Get(ctx context.Context) (keystore.Token, error) {
	return s.store.Get(ctx, s.resourceServer)
}

// Refused returns the login with another access token than the one that
// a resource server has refused, or an error.
func (s *Source) Refused(ctx context.Context, access keystore.Secret) (keystore.Token, error) {
	return s.store.Get(ctx, s.resourceServer)
}

// Token implements oauth2.TokenSource.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext is Token for as long as ctx lasts.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	t, err := s.Get(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: t.TokenType, Expiry: t.ExpiresAt}, nil
}
