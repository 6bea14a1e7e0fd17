// Package awake limits how long something may take, in time in which this process
// runs.
package awake

import (
	"context"
	"sync"
	"time"
)

// steps is how finely time is counted: a stop of the process counts for two at most.
const steps = 20

// Within returns ctx for as long as d, of time in which this process runs: one in
// which it is stopped (SIGSTOP, ^Z, a frozen container) counts for a tenth of d at
// most. So there is time left to take in what has come meanwhile, which a deadline
// would throw away. When d is over its error is context.DeadlineExceeded. It tells no
// Deadline but that of ctx. cancel must be called.
func Within(ctx context.Context, d time.Duration) (within context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(ctx)
	l := &limited{Context: ctx, done: make(chan struct{})}
	go l.count(max(d/steps, 1))
	return l, cancel
}

type limited struct {
	context.Context
	done chan struct{}

	mu  sync.Mutex
	err error // guarded by mu
}

// Done implements context.Context.
func (l *limited) Done() <-chan struct{} { return l.done }

// Err implements context.Context.
func (l *limited) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *limited) count(step time.Duration) {
	ticks := time.NewTicker(step) // which drops those that nobody takes
	defer ticks.Stop()
	for range steps {
		select {
		case <-ticks.C:
		case <-l.Context.Done():
			l.end(l.Context.Err())
			return
		}
	}
	l.end(context.DeadlineExceeded)
}

func (l *limited) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.done)
}
