package main

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/windows"
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

// mode is a console's.
type mode = uint32

func plain(m mode) mode {
	return m | windows.ENABLE_PROCESSED_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_ECHO_INPUT
}

func quiet(m mode) mode { return plain(m) &^ windows.ENABLE_ECHO_INPUT }

func echoes(m mode) bool { return m&windows.ENABLE_ECHO_INPUT != 0 }

func modeOf(f *os.File) (m mode, err error) {
	err = windows.GetConsoleMode(windows.Handle(f.Fd()), &m)
	return m, err
}

func setMode(f *os.File, m mode, discard bool) error {
	if discard {
		windows.FlushConsoleInputBuffer(windows.Handle(f.Fd()))
	}
	return windows.SetConsoleMode(windows.Handle(f.Fd()), m)
}

// Nothing is stopped or in the background on Windows.

func inBackground(*os.File) bool { return false }

func foreground(context.Context, *os.File, func(string)) error { return nil }

func (t *terminal) watch() {}
