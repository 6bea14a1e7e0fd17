package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

var (
	// ErrNoAgent is the ErrLocked of a host on which the user has no agent.
	ErrNoAgent = fmt.Errorf("%w: no agent is running", keystore.ErrLocked)
	// ErrSilent is the ErrUnavailable of an agent that is there and does not answer.
	ErrSilent = fmt.Errorf("%w: the agent does not answer", keystore.ErrUnavailable)
)

// callTime is how long an agent may take for one request. It does next to no work:
// one that takes longer has been stopped.
const callTime = 3 * time.Second

// Client talks to the user's agent. Nothing is connected before the first call, and
// a connection that has ended is made anew, once for each call. Safe for concurrent
// use; requests of one Client go one after the other.
//
// Errors of all methods: ErrNoAgent; ErrLocked if the agent does not have the key;
// ErrSilent if it does not answer within 3 seconds; ErrTaken if what stands in its place
// is somebody else's; ErrUnavailable if it does not answer as an agent does; ctx's cause.
type Client struct {
	find func() ([]string, error) // the directories where an agent can be
	turn chan struct{}            // holds one token; its holder owns conn
	conn net.Conn                 // nil: none
	in   *lines                   // of conn
}

// Open returns a client of the agent. getenv is os.Getenv or stands for it.
func Open(getenv func(string) string) *Client {
	return newClient(func() ([]string, error) { return rundir.Find(getenv) })
}

func newClient(find func() ([]string, error)) *Client {
	c := &Client{find: find, turn: make(chan struct{}, 1)}
	c.give()
	return c
}

// give is what who has taken the token of turn does at the end.
func (c *Client) give() { c.turn <- struct{}{} }

// Close ends the connection. A later call makes another.
func (c *Client) Close() error {
	<-c.turn
	defer c.give()
	c.hangUp()
	return nil
}

// call sends a request and waits for the answer. A request may be sent twice: all
// are the same the second time.
func (c *Client) call(ctx context.Context, r request) (a answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, errSilent)
	defer cancel()
	select {
	case <-c.turn:
	case <-ctx.Done():
		return answer{}, ended(ctx, "")
	}
	defer c.give()
	r.V = Version
	if a, err = c.ask(ctx, r); err != nil {
		return answer{}, err
	}
	return a, a.err()
}

// maxTries is how often a request is sent, because an agent that serves as many
// clients as it can hangs up on one that has not been heard.
const maxTries = 4

func (c *Client) ask(ctx context.Context, r request) (a answer, err error) {
	line, err := r.encode()
	if err != nil {
		return answer{}, err
	}
	defer clear(line)
	for range maxTries {
		if a, err = c.exchange(ctx, line); !errors.Is(err, errHungUp) {
			return a, err
		}
	}
	return answer{}, &keystore.Error{Err: keystore.ErrLocked, Detail: "the agent has no time for another client"}
}

var (
	errSilent = &keystore.Error{Err: silent{}}
	errHungUp = errors.New("the connection to the agent has ended")
)

// ended is why ctx has: the time of the agent at socket, or the caller's. socket is "" as
// long as nobody knows it.
func ended(ctx context.Context, socket string) error {
	if errors.Is(context.Cause(ctx), ErrSilent) {
		return &keystore.Error{Store: socket, Err: silent{socket}}
	}
	return keystore.Ended(ctx)
}

// exchange sends one line and reads one. After an error there is no connection.
func (c *Client) exchange(ctx context.Context, line []byte) (a answer, err error) {
	if c.conn == nil {
		if c.conn, err = dial(ctx, c.find); err != nil {
			return answer{}, err
		}
		c.in = newLines(c.conn, 0, 0) // ctx ends
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	got, err := c.send(line)
	if err == nil {
		erase.Do(func() { a, err = parseAnswer(got) })
		c.in.erase()
	}
	if !stop() {
		err = ended(ctx, conn.RemoteAddr().String())
	}
	if err != nil {
		c.hangUp()
	}
	return a, err
}

func (c *Client) send(line []byte) ([]byte, error) {
	if _, err := c.conn.Write(line); err != nil {
		return nil, errHungUp
	}
	got, err := c.in.next()
	if errors.Is(err, errTooLong) {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the agent's answer is longer than the protocol allows"}
	}
	if err != nil {
		return nil, errHungUp
	}
	return got, nil
}

func (c *Client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.in.erase()
	}
	c.conn, c.in = nil, nil
}
