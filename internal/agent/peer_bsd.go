//go:build darwin || freebsd

package agent

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the user who has made the listening socket, or who has connected.
func peerUID(c net.Conn) (uid uint32, err error) {
	err = control(c, func(fd int) error {
		peer, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err == nil {
			uid = peer.Uid
		}
		return err
	})
	return uid, err
}

// peerPID is not known here.
func peerPID(net.Conn) int { return 0 }
