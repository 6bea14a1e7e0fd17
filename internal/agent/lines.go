package agent

import (
	"bytes"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

const (
	quietTime   = time.Minute     // between two requests of a client
	requestTime = 5 * time.Second // from the first byte of a line to its end
)

// errTooLong: what comes is no line of this protocol.
var errTooLong = &keystore.Error{Err: keystore.ErrInvalid, Detail: "the line is longer than the protocol allows"}

// lines reads lines of a connection into one buffer, which is erased: bufio's would
// keep what was read, and the key with it.
type lines struct {
	conn net.Conn
	buf  []byte // maxLine
	n    int    // bytes of buf that were read
	used int    // bytes of buf that next has returned
}

func newLines(c net.Conn) *lines { return &lines{conn: c, buf: make([]byte, maxLine)} }

// erase forgets the last line.
func (l *lines) erase() {
	rest := copy(l.buf, l.buf[l.used:l.n])
	clear(l.buf[rest:l.n])
	l.n, l.used = rest, 0
}

// next returns a line without its end, which is there until erase. It waits for its
// first byte for quiet, and from then on for the rest.
func (l *lines) next(quiet, whole time.Duration) ([]byte, error) {
	l.erase()
	begun := l.n > 0
	if begun {
		quiet = whole
	}
	l.conn.SetReadDeadline(time.Now().Add(quiet))
	for searched := 0; ; {
		if i := bytes.IndexByte(l.buf[searched:l.n], '\n'); i >= 0 {
			l.used = searched + i + 1
			return l.buf[:l.used-1], nil
		}
		searched = l.n
		if l.n == len(l.buf) {
			return nil, errTooLong
		}
		n, err := l.conn.Read(l.buf[l.n:])
		l.n += n
		if n == 0 && err != nil {
			return nil, err
		}
		if !begun && n > 0 {
			begun = true
			l.conn.SetReadDeadline(time.Now().Add(whole))
		}
	}
}
