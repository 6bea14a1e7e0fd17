//go:build unix && !darwin

package keychain

import (
	"context"
	"errors"
	"time"
)

// errSilent is why a patience ends when its time is over.
var errSilent = errors.New("it does not answer")

// patience is the context of one call to the backend. It ends with the caller's,
// and when the service was silent for too long; while a person is being asked
// its time stands still. It belongs to one goroutine.
type patience struct {
	context.Context
	caller context.Context
	limit  time.Duration
	timer  *time.Timer
	end    context.CancelCauseFunc // with nil when the call is over
}

func newPatience(caller context.Context, limit time.Duration) *patience {
	ctx, end := context.WithCancelCause(caller)
	p := &patience{Context: ctx, caller: caller, limit: limit}
	p.timer = time.AfterFunc(limit, func() { end(errSilent) })
	p.end = func(cause error) {
		p.timer.Stop()
		end(cause)
	}
	return p
}

// pause stops the time; resume gives the whole of it again.
func (p *patience) pause()  { p.timer.Stop() }
func (p *patience) resume() { p.timer.Reset(p.limit) }
