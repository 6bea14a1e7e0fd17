package browse

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// system does without "cmd /c start", for which & ends a command.
var system = []string{"rundll32 url.dll,FileProtocolHandler"}

// atScreen: a window opens on the machine's own screen.
func atScreen(_ func(string) string, ssh bool) bool { return !ssh }

// detach keeps ^C and the console from the browser.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}
