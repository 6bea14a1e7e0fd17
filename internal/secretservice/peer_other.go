//go:build unix && !darwin && !linux

package secretservice

import "net"

// checkPeer: nothing is known of the peer here. Sockets in $XDG_RUNTIME_DIR are
// safe all the same; those in /tmp are as safe as /tmp is.
func checkPeer(net.Conn) error { return nil }
