package agent

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkPeer refuses another user, root too: whoever root serves has an agent of his
// own. The kernel says who it is.
func checkPeer(c net.Conn) error {
	var peer *unix.Xucred
	err := control(c, func(fd int) (err error) {
		peer, err = unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		return err
	})
	if err == nil && int(peer.Uid) != os.Geteuid() {
		err = fmt.Errorf("who is at the other end of the socket is uid %d, not uid %d", peer.Uid, os.Geteuid())
	}
	return err
}
