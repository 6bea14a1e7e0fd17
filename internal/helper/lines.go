package helper

import (
	"bytes"
	"context"
	"io"

	"github.com/globus-keys/globus-keys/keystore"
)

var errTooLong = &keystore.Error{Op: "read the request", Err: keystore.ErrTooLarge, Detail: "the line is longer than the protocol allows"}

// line is one without its end, or why there is no more. Whoever gets it erases it.
type line struct {
	text []byte
	err  error
}

// lines reads one line ahead, so that the end of input is noticed while a request is
// under way. Requests hold secrets: bufio's buffers would keep them.
type lines struct {
	in   io.Reader
	next chan line
	buf  []byte // what was read of lines that have not ended, MaxLine at most
}

func newLines(in io.Reader) *lines {
	return &lines{in: in, next: make(chan line)}
}

// read passes lines on until ctx ends, or the input, which it tells with ended.
func (l *lines) read(ctx context.Context, ended func()) {
	chunk := make([]byte, 32<<10)
	defer func() { clear(chunk); clear(l.buf) }()
	for {
		n, err := l.in.Read(chunk)
		ok := l.take(ctx, chunk[:n])
		clear(chunk[:n])
		if !ok {
			return
		}
		if err != nil {
			ended()
			return
		}
	}
}

// take passes on the lines that end in chunk, and keeps the rest.
func (l *lines) take(ctx context.Context, chunk []byte) bool {
	for {
		before, rest, ended := bytes.Cut(chunk, []byte("\n"))
		if len(l.buf)+len(before) >= MaxLine {
			l.send(ctx, line{err: errTooLong})
			return false
		}
		l.append(before)
		if !ended {
			return true
		}
		text := l.buf
		l.buf = nil
		if !l.send(ctx, line{text: text}) {
			clear(text)
			return false
		}
		chunk = rest
	}
}

// append is that of slices, and leaves no copy behind.
func (l *lines) append(more []byte) {
	if free := cap(l.buf) - len(l.buf); free < len(more) {
		grown := make([]byte, len(l.buf), 2*cap(l.buf)+len(more))
		copy(grown, l.buf)
		clear(l.buf)
		l.buf = grown
	}
	l.buf = append(l.buf, more...)
}

func (l *lines) send(ctx context.Context, next line) bool {
	select {
	case l.next <- next:
		return true
	case <-ctx.Done():
		return false
	}
}
