// Package activation takes over a socket on which a service manager listens already:
// https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
package activation

import "os"

// variables are what a service manager says about the sockets that it hands over.
var variables = []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}

// forget removes the variables: what this process starts has no part in the socket.
func forget(unsetenv func(string) error) error {
	for _, name := range variables {
		if err := unsetenv(name); err != nil {
			return os.NewSyscallError("unsetenv", err)
		}
	}
	return nil
}
