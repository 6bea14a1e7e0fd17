package agent

import (
	"bytes"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// errTooLong: what comes is no line of this protocol.
var errTooLong = &keystore.Error{Err: keystore.ErrInvalid, Detail: "the line is longer than the protocol allows"}

// lines reads lines of a connection into one buffer, which is erased: bufio's would
// keep what was read, and the key with it.
type lines struct {
	conn  net.Conn
	quiet time.Duration // how long a line may be waited for; 0: whoever has conn sees to that
	whole time.Duration // from its first byte to its end
	buf   []byte        // maxLine
	n     int           // bytes of buf that were read
	used  int           // bytes of buf that next has returned
}

func newLines(c net.Conn, quiet, whole time.Duration) *lines {
	return &lines{conn: c, quiet: quiet, whole: whole, buf: make([]byte, maxLine)}
}

// erase forgets the last line.
func (l *lines) erase() {
	rest := copy(l.buf, l.buf[l.used:l.n])
	clear(l.buf[rest:l.n])
	l.n, l.used = rest, 0
}

// next returns a line without its end, which is there until erase.
func (l *lines) next() ([]byte, error) {
	l.erase()
	if l.n == 0 {
		l.wait(l.quiet)
		if err := l.read(); err != nil {
			return nil, err
		}
	}
	l.wait(l.whole)
	for searched := 0; ; {
		if i := bytes.IndexByte(l.buf[searched:l.n], '\n'); i >= 0 {
			l.used = searched + i + 1
			return l.buf[:l.used-1], nil
		}
		searched = l.n
		if l.n == len(l.buf) {
			return nil, errTooLong
		}
		if err := l.read(); err != nil {
			return nil, err
		}
	}
}

func (l *lines) wait(d time.Duration) {
	if d > 0 {
		l.conn.SetReadDeadline(time.Now().Add(d))
	}
}

func (l *lines) read() error {
	n, err := l.conn.Read(l.buf[l.n:])
	l.n += n
	if n > 0 {
		return nil
	}
	return err
}
