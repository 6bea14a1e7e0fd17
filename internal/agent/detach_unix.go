//go:build unix

package agent

import (
	"os/exec"
	"syscall"
)

// detach gives the process a session of its own: the end of this terminal is not its.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
