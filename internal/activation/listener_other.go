//go:build !unix

package activation

import "net"

// Listener returns false: no service manager hands sockets over here.
func Listener(_ func(string) string, unsetenv func(string) error) (net.Listener, bool, error) {
	return nil, false, forget(unsetenv)
}
