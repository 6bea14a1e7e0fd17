//go:build unix && !darwin

// Package secretservice is a client of the Secret Service, the D-Bus interface
// of gnome-keyring, KWallet and KeePassXC:
// https://specifications.freedesktop.org/secret-service-spec/latest/
//
// Every call ends when its context does, also with a bus or a service that
// accepts and never answers. Nothing is started but the service itself, by the
// bus. Secrets cross the bus encrypted or not at all. Who answers is another
// program: whatever it says, there is an error and no panic.
package secretservice

import (
	"context"
	"errors"
	"sync/atomic"
)

// Client has at most one connection to the session's bus, opened at first use
// and again when it was lost. Safe for concurrent use.
type Client struct {
	getenv func(string) string

	turn    chan struct{} // a seat: whoever fills it may use what follows
	conn    *conn         // nil: not connected
	service *Service      // nil: not known

	closes atomic.Int64 // how often Close was called
}

// New returns a client of the session that the environment describes. It
// connects at first use.
func New(getenv func(string) string) *Client {
	return &Client{getenv: getenv, turn: make(chan struct{}, 1)}
}

// Do calls fn with the service, which is started if need be. If the service or
// the connection ends under it, as when either was restarted since the last
// call, fn is called once more with the new one: it must only do what may be
// done twice.
func (c *Client) Do(ctx context.Context, fn func(*Service) error) error {
	before := c.closes.Load()
	err := c.try(ctx, fn)
	if errors.Is(err, ErrGone) && c.closes.Load() == before {
		err = c.try(ctx, fn)
	}
	return err
}

func (c *Client) try(ctx context.Context, fn func(*Service) error) error {
	s, err := c.current(ctx)
	if err != nil {
		return err
	}
	err = fn(s)
	if errors.Is(err, ErrGone) || errors.Is(err, ErrVanished) {
		c.drop(ctx, s)
	}
	return err
}

// current returns the service, on the connection that there is or a new one.
func (c *Client) current(ctx context.Context) (*Service, error) {
	select {
	case c.turn <- struct{}{}:
		defer c.leave()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.conn != nil && !c.conn.bus.Connected() {
		c.conn, c.service = nil, nil
	}
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
	}
	if c.service != nil {
		return c.service, nil
	}
	s, err := find(ctx, c.conn)
	if err == nil {
		c.service = s
	}
	return s, err
}

func (c *Client) leave() { <-c.turn }

func (c *Client) connect(ctx context.Context) error {
	addresses, err := Address(c.getenv)
	if err != nil {
		return err
	}
	c.conn, err = dial(ctx, addresses)
	return err
}

// drop forgets a service that has ended. If ctx ends first, the next call finds
// out for itself.
func (c *Client) drop(ctx context.Context, s *Service) {
	select {
	case c.turn <- struct{}{}:
		defer c.leave()
	case <-ctx.Done():
		return
	}
	if c.service == s {
		c.service = nil
	}
}

// Close ends the connection, if there is one. Calls under way fail; a later one
// connects again.
func (c *Client) Close() error {
	c.closes.Add(1)
	c.turn <- struct{}{}
	defer c.leave()
	if c.conn == nil {
		return nil
	}
	if c.service != nil {
		c.service.end()
	}
	err := c.conn.bus.Close()
	c.conn, c.service = nil, nil
	return err
}
