package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// Handler does what requests ask.
type Handler interface {
	// Do is called with one request at a time. Its ctx ends when nobody waits for the
	// answer any more.
	Do(ctx context.Context, r Request) (Answer, error)

	// Explain tells of an error, without any secret.
	Explain(err error) Failure
}

// Serve answers the lines of in, in their order, until in ends or ctx does: what is
// being done then is broken off, and nothing else is begun. A line without its end
// is no request. What is wrong with a request is answered; a line that is too long
// is answered too and ends the service, as nothing says where the next one begins.
// An answer that nobody takes ends it as well.
func Serve(ctx context.Context, in io.Reader, out io.Writer, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := newLines(in)
	go lines.read(ctx, cancel)
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines.next:
			if ctx.Err() != nil {
				return nil
			}
			if err := serveLine(ctx, line, out, h); err != nil {
				return err
			}
		}
	}
}

func serveLine(ctx context.Context, l line, out io.Writer, h Handler) error {
	var text []byte
	erase.Do(func() { text = reply(ctx, l, h) })
	return errors.Join(l.err, write(ctx, out, text))
}

// write waits for a client that does not read as long as ctx lasts.
func write(ctx context.Context, out io.Writer, text []byte) error {
	written := make(chan error, 1)
	go func() {
		_, err := out.Write(text)
		clear(text)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return nil
	}
}

// reply is the answer to a line, as a line.
func reply(ctx context.Context, l line, h Handler) []byte {
	a, err := answer(ctx, l, h)
	text := encode(a)
	if err == nil && len(text) > MaxLine {
		err = &keystore.Error{Err: keystore.ErrTooLarge, Detail: "the answer is longer than a line may be"}
	}
	if err != nil {
		failure := h.Explain(err)
		text = encode(Answer{Version: Version, ID: a.ID, Error: &failure})
	}
	return text
}

func answer(ctx context.Context, l line, h Handler) (a Answer, err error) {
	defer clear(l.text)
	if l.err != nil {
		return a, l.err
	}
	r, err := decode(l.text)
	if err == nil {
		a, err = h.Do(ctx, r)
	}
	a.Version, a.ID = Version, r.ID
	return a, err
}

// encode writes an answer, which may hold access tokens: encoding/json would keep
// them in a pool of buffers.
func encode(a Answer) []byte {
	var b taken
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(a) // what has no JSON form is not in it
	return b.Bytes()
}

// taken takes what encoding/json has written out of its buffer, which goes back into
// a pool. A writer must not do so; this one is that encoder's only.
type taken struct{ bytes.Buffer }

func (t *taken) Write(p []byte) (int, error) {
	defer clear(p)
	return t.Buffer.Write(p)
}
