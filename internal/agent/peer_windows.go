package agent

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ioctlPeerPID is SIO_AF_UNIX_GETPEERPID of afunix.h: Windows knows the process at
// the other end of a socket, and not its user.
const ioctlPeerPID = 0x58000100

// checkPeer refuses another user: the process at the other end must have the SID of
// this one. It may have ended and its id be another's, who would have to be this user
// for anything to be lost.
func checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("this is no socket of this machine")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var pid, size uint32
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = windows.WSAIoctl(windows.Handle(fd), ioctlPeerPID, nil, 0, (*byte)(unsafe.Pointer(&pid)), 4, &size, nil, 0)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("who is at the other end of the socket cannot be told: %w", err)
	}
	theirs, err := userOf(pid)
	if err != nil {
		return fmt.Errorf("whose process %d is cannot be told: %w", pid, err)
	}
	ours, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err == nil && !theirs.Equals(ours.User.Sid) {
		err = fmt.Errorf("process %d at the other end of the socket is another user's", pid)
	}
	return err
}

func userOf(pid uint32) (*windows.SID, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(process)
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return nil, err
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, err
	}
	return user.User.Sid.Copy()
}

// peerPID is not known here.
func peerPID(net.Conn) int { return 0 }
