package secretservice

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkPeer refuses a bus of another user, who may have taken the place of a
// socket that is left in /tmp or in the abstract name space: EXTERNAL shows the
// bus who we are, and not us who the bus is.
func checkPeer(socket net.Conn) error {
	c, ok := socket.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%w: it is no socket of this machine", ErrUnreachable)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, failed)
	}
	return checkOwner(peer.Uid)
}

func checkOwner(uid uint32) error {
	if uid != 0 && uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%w: the session bus belongs to uid %d", ErrUnreachable, uid)
	}
	return nil
}
