package keystoretest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// A process of the suite is the test binary started again with a job in its
// environment. It runs the one test that called Run, whose Run then does the
// job in place of the suite. Parent and child speak in lines: the child says
// "ready", and goes on when it is told to.

// jobVariable holds a job as JSON.
const jobVariable = "GLOBUS_KEYS_KEYSTORETEST_JOB"

type job struct {
	Do  string
	Dir string // of the store
	N   int    // how often, or which key
}

func (s *store) needsProcesses() {
	s.Helper()
	if !s.Processes {
		s.Skip("the adapter lives in one process")
	}
}

// process is one that the suite has started.
type process struct {
	s      *store
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Scanner
	stderr bytes.Buffer
}

// start starts a process, which is ready for the job when start returns.
func (s *store) start(j job) *process {
	s.Helper()
	j.Dir = s.dir
	text, err := json.Marshal(j)
	s.ok("job", err)
	exe, err := os.Executable()
	s.ok("the test's executable", err)
	p := &process{s: s, cmd: exec.CommandContext(s.ctx, exe, "-test.run="+onlyTest(s.test))}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	p.cmd.Stderr = &p.stderr
	p.stdin, err = p.cmd.StdinPipe()
	s.ok("pipe", err)
	out, err := p.cmd.StdoutPipe()
	s.ok("pipe", err)
	p.stdout = bufio.NewScanner(out)
	s.ok("start", p.cmd.Start())
	s.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	p.says("ready")
	return p
}

// onlyTest is the pattern that go test matches against just this test's name.
func onlyTest(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// says waits for one line.
func (p *process) says(line string) {
	p.s.Helper()
	if p.stdout.Scan() && p.stdout.Text() == line {
		return
	}
	got := p.stdout.Text()
	p.kill()
	p.s.Fatalf("the process said %q, want %q; its errors:\n%s", got, line, &p.stderr)
}

func (p *process) goOn() {
	p.s.Helper()
	_, err := io.WriteString(p.stdin, "\n")
	p.s.ok("tell the process", err)
}

// ends waits for the process to end well.
func (p *process) ends() {
	p.s.Helper()
	p.says("done")
	if err := p.cmd.Wait(); err != nil {
		p.s.Fatalf("the process ended with %v; its errors:\n%s", err, &p.stderr)
	}
}

// kill ends the process as a crash would, and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// conversation is the child's end. The parent's death ends it.
type conversation struct {
	in  *bufio.Reader
	out io.Writer
}

func (c *conversation) say(line string) { fmt.Fprintln(c.out, line) }

func (c *conversation) wait() error {
	_, err := c.in.ReadString('\n')
	return err
}

// work does one job and ends the process.
func (s *suite) work(text string) {
	told := &conversation{bufio.NewReader(os.Stdin), os.Stdout}
	if err := s.workFor(told, text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	told.say("done")
	os.Exit(0)
}

func (s *suite) workFor(told *conversation, text string) (err error) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	var a keystore.StorageAdapter
	if a, err = s.open(j.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	told.say("ready")
	if err := told.wait(); err != nil {
		return err
	}
	return s.do(ctx, a, j, told)
}
