//go:build unix

// Package alone runs programs that end with what they have started.
package alone

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// Make gives cmd a session of its own. So it is killed together with what it
// has started, and ^C is ours to obey; and a program that asks for a passphrase
// fails at once: in a mere process group, without the terminal's foreground, it
// would be stopped until its time is over.
func Make(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
