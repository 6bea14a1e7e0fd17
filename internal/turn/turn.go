// Package turn is a mutex among goroutines that is waited for as long as a context
// lasts.
package turn

import (
	"context"

	"github.com/globus-keys/globus-keys/keystore"
)

// Turn is held by one at a time. Make it with New.
type Turn chan struct{}

// New returns a Turn that nobody holds.
func New() Turn { return make(Turn, 1) }

// Take waits for the turn, in the order of coming. The error is that of ctx, as
// keystore.Ended has it.
func (t Turn) Take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return keystore.Ended(ctx)
	}
}

// Give gives it back.
func (t Turn) Give() { <-t }
