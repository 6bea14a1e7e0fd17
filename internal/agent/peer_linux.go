package agent

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the user who has made the listening socket, or who has connected.
func peerUID(c net.Conn) (uid uint32, err error) {
	err = control(c, func(fd int) error {
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = peer.Uid
		}
		return err
	})
	return uid, err
}

// peerPID is the process that listens, or that has connected, as this one calls it; 0: it
// is in another namespace, or not known.
func peerPID(c net.Conn) (pid int) {
	control(c, func(fd int) error {
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			pid = int(peer.Pid)
		}
		return err
	})
	return pid
}
