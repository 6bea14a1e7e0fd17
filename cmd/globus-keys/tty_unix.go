//go:build unix

package main

import (
	"io"
	"os"
)

// openTerminal opens the controlling terminal, wherever the standard streams lead.
func openTerminal() (*os.File, io.Writer, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return tty, tty, err
}
