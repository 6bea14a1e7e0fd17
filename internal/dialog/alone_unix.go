//go:build unix

package dialog

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// alone gives cmd a session of its own: it is killed together with what it has started,
// and has no terminal.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
