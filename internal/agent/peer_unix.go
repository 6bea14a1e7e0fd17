//go:build unix

package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// checkPeer refuses another user, root too: whoever root serves has an agent of his
// own. The kernel says who it is.
func checkPeer(c net.Conn) error {
	uid, err := peerUID(c)
	if err == nil && int(uid) != os.Geteuid() {
		err = fmt.Errorf("who is at the other end of the socket is uid %d, not uid %d", uid, os.Geteuid())
	}
	return err
}

// control calls f with the descriptor of a socket of this machine.
func control(c net.Conn, f func(fd int) error) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("this is no socket of this machine")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}
