//go:build !linux

package main

import (
	"errors"
	"io"
	"os/exec"
)

// atTerminal has no terminal to give: whoever types nothing needs none.
func atTerminal(cmd *exec.Cmd, what string) (keys io.Writer, err error) {
	if what != "visit" {
		return nil, errors.New("there is no terminal to type at in tests on this system")
	}
	return nil, cmd.Start()
}

func panics() {}
