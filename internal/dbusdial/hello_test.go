//go:build unix && !darwin

package dbusdial

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
)

// godbus writes without a context, so a bus that does not read must not hold
// the writer up.
func TestWriteToABusThatDoesNotReadEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := &stream{socket: ours, in: bufio.NewReader(ours)}
	if _, err := s.Write([]byte("nobody reads this")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := s.Write([]byte("more")); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is not closed: %v", err)
	}
}
