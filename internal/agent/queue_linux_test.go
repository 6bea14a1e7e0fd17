package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestQueueThatIsFull is waited for: the kernel does not let more wait than the
// listener says, which can be few.
func TestQueueThatIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn // the queue is full when one has to wait
	for full := false; !full; {
		c, err := net.Dial("unix", path)
		full = err != nil
		if err == nil {
			waiting = append(waiting, c)
			defer c.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := dialAt(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want context.DeadlineExceeded", err)
	}
	for range waiting {
		taken, _, err := syscall.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(taken)
	}
	c, err := dialAt(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
