//go:build unix

package browse

import (
	"os/exec"
	"syscall"
)

// detach gives the browser a session of its own: ^C is not for it, and one that
// wants a terminal fails rather than to take ours.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
