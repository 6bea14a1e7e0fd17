//go:build unix

package legacy

import (
	"context"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestFIFOAndSocketAreRefusedWithoutWaiting(t *testing.T) {
	fifo := filepath.Join(tempDir(t), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Read(context.Background(), fifo, nil)
	refused(t, err, keystore.ErrInvalid, fifo, "a FIFO")

	socket := filepath.Join(tempDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Read(context.Background(), socket, nil)
	refused(t, err, keystore.ErrInvalid, socket, "a socket")
}
