package hook

import "os/exec"

// alone does nothing: when its time is over the program is killed, what it has
// started is not.
func alone(*exec.Cmd) {}
