//go:build unix

package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstFD is where the sockets begin, SD_LISTEN_FDS_START.
const firstFD = 3

// Listener returns the socket that this process was started with, and true; or false
// if it was started without. It must be the only one, and a Unix stream socket that
// listens; anything else is an error. getenv and unsetenv are
// os.Getenv and os.Unsetenv, or stand for them: whatever the result, the variables
// are removed, so that it can be called once.
//
// The socket stays where it is when the Listener is closed: it is the service
// manager's.
func Listener(getenv func(string) string, unsetenv func(string) error) (net.Listener, bool, error) {
	pid, count := getenv("LISTEN_PID"), getenv("LISTEN_FDS")
	if err := forget(unsetenv); err != nil {
		return nil, false, err
	}
	if pid != strconv.Itoa(os.Getpid()) { // not set, or left over from who has started us
		return nil, false, nil
	}
	if count != "1" {
		return nil, false, fmt.Errorf("the service manager hands %q sockets over, not one", count)
	}
	l, err := take(firstFD)
	if err != nil {
		return nil, false, fmt.Errorf("the socket of the service manager: %w", err)
	}
	return l, true, nil
}

// take makes a Listener of a descriptor, which is the Listener's afterwards.
func take(fd int) (net.Listener, error) {
	if err := check(fd); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close() // FileListener makes a copy, which what we start does not get
	return net.FileListener(file)
}

// check refuses what is not a Unix stream socket that listens.
func check(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM {
		return errors.New("it is not a stream socket")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if _, ok := name.(*unix.SockaddrUnix); !ok {
		return errors.New("it is not a Unix socket")
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if listens == 0 {
		return errors.New("it does not listen")
	}
	return nil
}
