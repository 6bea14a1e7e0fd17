//go:build unix && !darwin

package keychain

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/internal/secretservice"
	"github.com/globus-keys/globus-keys/keystore"
)

// errUnanswered is why a dialog's context ends when nobody answers it.
var errUnanswered = errors.New("nobody has answered the keyring's dialog")

// mayAsk: somebody is there, and can see a dialog.
func (b *secretService) mayAsk(ctx context.Context) bool {
	display := b.opts.Getenv("DISPLAY") != "" || b.opts.Getenv("WAYLAND_DISPLAY") != ""
	return display && !b.opts.NoPrompt && ctx.Value(silently{}) == nil
}

// unlock unlocks items or collections, which asks a person.
func (b *secretService) unlock(p *patience, s *secretservice.Service, objects []secretservice.Path) error {
	if !b.mayAsk(p) {
		return locked("it is locked")
	}
	leave, err := b.queue(p)
	if err != nil {
		return err
	}
	defer leave()
	// Only now: who was before us may have had it unlocked.
	prompt, err := s.Unlock(p, objects)
	if err != nil || prompt == "" {
		return err
	}
	return b.follow(p, func(ctx context.Context) error { return s.Answer(ctx, prompt) })
}

// ask shows a prompt that is not about unlocking, with answer.
func (b *secretService) ask(p *patience, s *secretservice.Service, prompt secretservice.Path, answer func(context.Context) error) error {
	if !b.mayAsk(p) {
		s.Dismiss(p, prompt)
		return locked("it wants to ask before it does this")
	}
	leave, err := b.queue(p)
	if err != nil {
		s.Dismiss(p, prompt)
		return err
	}
	defer leave()
	return b.follow(p, answer)
}

// queue waits until nobody else in this process is being asked. After a dialog
// that was declined or left alone it fails at once: nobody is asked twice.
func (b *secretService) queue(p *patience) (leave func(), err error) {
	p.pause() // who waits here waits for a person too
	defer p.resume()
	ctx, cancel := b.person(p)
	defer cancel()
	select {
	case b.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, b.unanswered(ctx)
	}
	leave = func() { <-b.asking }
	if b.refused != nil {
		refused := *b.refused
		leave()
		return nil, &refused
	}
	return leave, nil
}

// follow waits for the answer to a dialog. The caller has the seat.
func (b *secretService) follow(p *patience, answer func(context.Context) error) error {
	defer b.tell()()
	p.pause()
	defer p.resume()
	ctx, cancel := b.person(p)
	defer cancel()
	err := answer(ctx)
	var problem *Problem
	switch {
	case errors.Is(err, secretservice.ErrDismissed):
		problem = &Problem{State: Declined, Detail: "Secret Service: its dialog was dismissed"}
	case errors.Is(err, errUnanswered):
		problem = locked("nobody has answered its dialog")
	default:
		return err
	}
	b.refused = problem
	return problem
}

// tell says, once, that there is a dialog, if it is still there after a moment:
// KWallet and KeePassXC have prompts that ask nobody and end at once. Nothing is
// said after done.
func (b *secretService) tell() (done func()) {
	say := func() {
		b.notice.Do(func() {
			b.opts.Notice("your keyring asks in a window of its own: answer it there (^C cancels)")
		})
	}
	if b.limits.shown == 0 {
		say()
		return func() {}
	}
	var mu sync.Mutex
	over := false // guarded by mu
	timer := time.AfterFunc(b.limits.shown, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			say()
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// person returns the context of what a person is waited for.
func (b *secretService) person(p *patience) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(p.caller, b.limits.answer, errUnanswered)
}

func (b *secretService) unanswered(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, errUnanswered) {
		return err
	}
	return locked("nobody has answered its dialog")
}

func locked(why string) *Problem {
	return &Problem{State: Locked, Detail: "Secret Service: " + why}
}

// absent are the errors that mean that there is no keychain, which in this
// session will not be different in a minute.
var absent = []error{
	secretservice.ErrNoBus, secretservice.ErrNoService, secretservice.ErrNoCollection, secretservice.ErrVolatile,
}

// explain returns the error of a backend that a client's error is.
func (b *secretService) explain(p *patience, err error) error {
	var problem *Problem
	var known *keystore.Error
	switch {
	case err == nil || errors.As(err, &problem) || errors.As(err, &known):
		return err
	case p.caller.Err() != nil:
		return &keystore.Error{Err: keystore.Ended(p.caller)}
	case errors.Is(err, secretservice.ErrBadSecret):
		return corrupt(err.Error())
	case errors.Is(err, secretservice.ErrLocked):
		return locked("it is locked")
	}
	return classify(err)
}

func classify(err error) *Problem {
	problem := &Problem{State: Unreachable, Detail: "Secret Service: " + err.Error()}
	switch {
	case slices.ContainsFunc(absent, func(a error) bool { return errors.Is(err, a) }):
		problem.State = Absent
	case errors.Is(err, secretservice.ErrPlain):
		problem.State = Unsupported
	case errors.Is(err, secretservice.ErrStart):
		problem.Advice = "find out why your desktop's keyring does not start; --key passphrase makes a store that needs none"
	}
	return problem
}
