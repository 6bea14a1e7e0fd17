// Package alone runs programs that end with what they have started, where the system
// has a way to that.
package alone

import "os/exec"

// Make does nothing: when its time is over the program is killed, what it has
// started is not.
func Make(*exec.Cmd) {}
