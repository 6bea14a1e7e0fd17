package dialog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/globus-keys/globus-keys/internal/alone"
	"github.com/globus-keys/globus-keys/keystore"
)

var (
	errGarbage = errors.New("it does not answer as a pinentry does")
	errEnded   = errors.New("it has ended")
)

// maxReplies is how much is read of a program in all.
const maxReplies = 64 << 10

// farewell is how long a program may take to end once it has answered.
const farewell = time.Second

// process is a pinentry.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	kill context.CancelFunc // with what it has started; its reads end

	greeted bool
}

func start(ctx context.Context, program string) (*process, error) {
	ctx, kill := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, program), kill: kill}
	alone.Make(p.cmd)
	in, inErr := p.cmd.StdinPipe()
	out, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, p.cmd.Start()); err != nil {
		kill()
		return nil, fmt.Errorf("it cannot be started: %w", cause(err))
	}
	context.AfterFunc(ctx, func() { // whoever else has its end of the pipes
		in.Close()
		out.Close()
	})
	p.in, p.out = in, bufio.NewReader(io.LimitReader(out, maxReplies))
	return p, nil
}

// cause is err without the program's name, which is said already.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// end lets a program go that has answered, and kills every other one.
func (p *process) end() {
	p.in.Close()
	late := time.AfterFunc(farewell, p.kill)
	p.cmd.Wait()
	late.Stop()
	p.kill()
}

// prepare waits for the program to come up, and says what it is to know. What it does
// not know of that does no harm.
func (p *process) prepare(words ...string) error {
	if !p.greeted {
		if _, err := p.reply(); err != nil {
			return err
		}
		p.greeted = true
	}
	for _, line := range words {
		var unknown refused
		if _, err := p.say(line); err != nil && !errors.As(err, &unknown) {
			return err
		}
	}
	return nil
}

// get asks.
func (p *process) get() (_ keystore.Secret, repeated bool, _ error) {
	r, err := p.say("GETPIN")
	defer clear(r.data)
	if err != nil {
		return keystore.Secret{}, false, err
	}
	return keystore.NewSecret(string(r.data)), r.repeated, nil
}

func (p *process) say(line string) (reply, error) {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return reply{}, errEnded
	}
	return p.reply()
}

// line reads one. Longer ones than an Assuan line are not believed.
func (p *process) line() ([]byte, error) {
	line, err := p.out.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errGarbage
	case err != nil:
		return nil, errEnded
	}
	return line[:len(line)-1], nil
}
