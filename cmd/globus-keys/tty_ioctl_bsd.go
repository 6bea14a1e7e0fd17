//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import "golang.org/x/sys/unix"

const (
	getMode         = unix.TIOCGETA
	setModeNow      = unix.TIOCSETA
	setModeAndFlush = unix.TIOCSETAF
)
