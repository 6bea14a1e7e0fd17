package main

import (
	"io"
	"os"
)

// openTerminal opens the console, wherever the standard streams lead.
func openTerminal() (*os.File, io.Writer, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}
