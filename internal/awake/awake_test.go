package awake_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/internal/awake"
)

func TestWithin(t *testing.T) {
	errHere := errors.New("the caller's own")
	for name, c := range map[string]struct {
		limit   func(context.Context) (context.Context, context.CancelFunc)
		err     error
		cause   error
		elapsed time.Duration
	}{
		"over": {func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, context.DeadlineExceeded, context.DeadlineExceeded, 20 * time.Second},
		"sooner": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 7*time.Second)
		}, context.DeadlineExceeded, context.DeadlineExceeded, 7 * time.Second},
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(3*time.Second, func() { cancel(errHere) })
			return ctx, func() { cancel(nil) }
		}, context.Canceled, errHere, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outer, end := c.limit(t.Context())
				defer end()
				ctx, cancel := awake.Within(outer, 20*time.Second)
				defer cancel()
				child, done := context.WithCancel(ctx)
				defer done()
				began := time.Now()
				if ctx.Err() != nil || child.Err() != nil {
					t.Errorf("at first: %v, %v", ctx.Err(), child.Err())
				}
				<-child.Done()
				if ctx.Err() != c.err || child.Err() != c.err || context.Cause(child) != c.cause || time.Since(began) != c.elapsed {
					t.Errorf("%v, %v, %v after %v, want %v, %v after %v", ctx.Err(), child.Err(), context.Cause(child), time.Since(began), c.err, c.cause, c.elapsed)
				}
			})
		})
	}
}

// TestCancel ends it at once, and its goroutine with it, however short the time.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := awake.Within(t.Context(), time.Hour)
		cancel()
		<-ctx.Done()
		if ctx.Err() != context.Canceled {
			t.Error(ctx.Err())
		}
		ctx, cancel = awake.Within(t.Context(), time.Nanosecond)
		defer cancel()
		<-ctx.Done()
	})
}
