package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// startTime is how long a new agent may take until it serves.
const startTime = 5 * time.Second

// inherited is what an agent gets of the environment of who starts it: where it finds
// its directory and the system's bus, and what Windows needs. It lives longer than
// the session in which it begins.
var inherited = []string{"HOME", "XDG_RUNTIME_DIR", "TMPDIR", "LOCALAPPDATA", "SystemRoot", "DBUS_SYSTEM_BUS_ADDRESS"}

// Start starts an agent that goes on without this process and its terminal, and
// returns when it serves. command is the program with the arguments that make it call
// Ready, at the latest when it serves. That another agent is running is nil: of many
// who start one at once one does. ErrUnavailable: it could not be started, or did not
// serve within 5 seconds.
func Start(ctx context.Context, getenv func(string) string, command ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = string(os.PathSeparator) // it keeps no disk busy
	cmd.Env = []string{}               // nil would be all of ours
	for _, name := range inherited {
		if v := getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	detach(cmd)
	out, err := launch(cmd)
	if err != nil {
		return unstarted(err.Error())
	}
	defer out.Close()
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(out, maxLine)).ReadString('\n')
		said <- strings.TrimSuffix(line, "\n")
	}()
	select {
	case line := <-said:
		return heard(line)
	case <-ctx.Done():
		cmd.Process.Kill()
		return unstarted("it did not serve in time")
	}
}

// launch starts cmd and returns what it writes. It is no pipe of cmd's, which Wait
// would close before it is read.
func launch(cmd *exec.Cmd) (*os.File, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd.Stdout = in
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, err
	}
	go cmd.Wait() // takes the process in if it ends while this one lives
	return out, nil
}

// readyLine is what an agent says when it serves, or another does.
const readyLine = "ready"

// Ready tells who has started this process, through its standard output, that it
// serves, or that another agent does, if err is nil or ErrRunning; else why not. The
// output is closed then.
func Ready(err error) {
	line := readyLine
	if err != nil && !errors.Is(err, ErrRunning) {
		line = err.Error()
	}
	fmt.Fprintln(os.Stdout, strings.ReplaceAll(line, "\n", " "))
	os.Stdout.Close()
}

func heard(line string) error {
	switch line {
	case readyLine:
		return nil
	case "":
		return unstarted("it ended without a word")
	}
	return unstarted(line)
}

func unstarted(why string) error {
	return &keystore.Error{Op: "start the agent", Err: keystore.ErrUnavailable, Detail: why}
}
