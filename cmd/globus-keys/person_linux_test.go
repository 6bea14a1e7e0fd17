package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/keystore/local"
)

// atTerminal starts cmd with a terminal of its own, and returns where its keys are.
func atTerminal(cmd *exec.Cmd, _ string) (keys io.Writer, err error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	slave, err := openOtherEnd(master)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go io.Copy(os.Stdout, master)
	return master, cmd.Start()
}

// openOtherEnd opens the end of a terminal at which the programs are.
func openOtherEnd(master *os.File) (*os.File, error) {
	var n int
	err := control(master, func(fd int) (err error) {
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
}

// panics is a command that breaks down while somebody is asked: at SIGUSR1.
func panics() {
	ctx := panicking{Context: context.Background(), heard: make(chan os.Signal, 1)}
	signal.Notify(ctx.heard, syscall.SIGUSR1)
	a := &app{ui: newUI(os.Stdin, os.Stdout, os.Stderr), getenv: os.Getenv}
	a.passphrase(ctx, local.Question{Store: "a store"})
}

type panicking struct {
	context.Context
	heard chan os.Signal
}

func (p panicking) Done() <-chan struct{} {
	<-p.heard
	panic("at the prompt")
}
