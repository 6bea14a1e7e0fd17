//go:build unix

package agent

import (
	"os/exec"
	"syscall"
)

// detach gives the process a session of its own: the end of this terminal is not its.
func detach(cmd *exec.Cmd) {
	keepFiles()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// maxKept is which descriptors are looked at: shells and their scripts use few.
const maxKept = 4096

// keepFiles sees to it that what is started gets none of the files that this process was
// started with: Go has its own ones closed, and those not. A lock of flock(1), a pipe
// whose end somebody waits for, and a file with a passphrase would stay open as long as
// an agent lives. /proc/self/fd cannot be asked: a process that is closed has none.
func keepFiles() {
	for fd := 3; fd < maxKept; fd++ {
		syscall.CloseOnExec(fd)
	}
}
