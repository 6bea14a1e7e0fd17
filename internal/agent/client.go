package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// ErrNoAgent is the ErrLocked of a host on which the user has no agent.
var ErrNoAgent = fmt.Errorf("%w: no agent is running", keystore.ErrLocked)

// callTime is how long an agent may take for one request. It does next to no work:
// one that takes longer has been stopped.
const callTime = 3 * time.Second

// Client talks to the user's agent. Nothing is connected before the first call, and
// a connection that has ended is made anew, once for each call. Safe for concurrent
// use; requests of one Client go one after the other.
//
// Errors of all methods: ErrNoAgent; ErrLocked if the agent does not have the key;
// ErrUnavailable if it does not answer within 3 seconds, or not as an agent does;
// ErrTampered if what stands in its place is somebody else's; ctx's cause.
type Client struct {
	getenv func(string) string
	turn   chan struct{} // holds one token; its holder owns conn
	conn   net.Conn      // nil: none
	in     *lines        // of conn
}

// Open returns a client of the agent. getenv is os.Getenv or stands for it.
func Open(getenv func(string) string) *Client {
	c := &Client{getenv: getenv, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// Close ends the connection. A later call makes another.
func (c *Client) Close() error {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	c.hangUp()
	return nil
}

// Keys returns the keys of a store that the agent holds: none while the store is
// locked, and two for a moment when its key is changed.
func (c *Client) Keys(ctx context.Context, store keystore.StoreID) ([]seal.Public, error) {
	a, err := c.call(ctx, request{Op: opKeys, Store: store.String()})
	if err != nil {
		return nil, err
	}
	var keys []seal.Public
	for _, k := range a.Keys {
		id, err := seal.ParseKeyID(k.KeyID)
		if err != nil {
			return nil, err
		}
		keys = append(keys, seal.Public{Store: store, ID: id, Recipient: k.Recipient})
	}
	return keys, nil
}

// Holder returns who has the key that is known as of: the agent.
func (c *Client) Holder(of seal.Public) seal.Holder { return holder{c, of} }

type holder struct {
	*Client
	of seal.Public
}

// WrapKey implements seal.Holder.
func (h holder) WrapKey(ctx context.Context, k keystore.RecordKey, salt seal.Salt) (keystore.Secret, error) {
	r := h.request(opDerive, k)
	r.Salt = salt.String()
	a, err := h.call(ctx, r)
	if err != nil {
		return keystore.Secret{}, err
	}
	return wrapKey(a.Key)
}

// Fresh implements seal.Holder.
func (h holder) Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]seal.Fresh, error) {
	r := h.request(opNew, k)
	r.Count = n
	a, err := h.call(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(a.Seals) != n {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the agent has answered something else"}
	}
	fresh := make([]seal.Fresh, n)
	for i, s := range a.Seals {
		if fresh[i].Salt, err = seal.ParseSalt(s.Salt); err != nil {
			return nil, err
		}
		if fresh[i].Key, err = wrapKey(s.Key); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

func (h holder) request(op string, k keystore.RecordKey) request {
	return request{
		Op: op, Store: h.of.Store.String(), KeyID: h.of.ID.String(),
		Namespace: k.Namespace, Kind: string(k.Kind), Name: k.Name,
	}
}

func wrapKey(text string) (keystore.Secret, error) {
	b, err := decodeSecret(text)
	return keystore.NewSecret(string(b)), err
}

// Terms are for how long a store is unlocked.
type Terms struct {
	TTL  time.Duration // 1 second to MaxTTL
	Idle time.Duration // how long it may be unused; 0: for ever
}

// Unlock hands a key over. place is the name of the store for people, as Status
// returns it. Keys of the store that the agent has stay.
func (c *Client) Unlock(ctx context.Context, key seal.Key, place string, t Terms) error {
	r := unlocking(key)
	r.Place, r.TTL, r.Idle = place, seconds(t.TTL), seconds(t.Idle)
	_, err := c.call(ctx, r)
	return err
}

// Succeed hands over the next key of a store that is unlocked, on the terms of that
// before, which stays. ErrLocked: the store is not unlocked.
func (c *Client) Succeed(ctx context.Context, key seal.Key) error {
	r := unlocking(key)
	r.Successor = true
	_, err := c.call(ctx, r)
	return err
}

func unlocking(key seal.Key) request {
	return request{
		Op: opUnlock, Store: key.Store.String(), KeyID: key.ID.String(),
		Key: encodeSecret(key.Secret), Recipient: key.Recipient,
	}
}

// seconds rounds up: a limit of half a second is not none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Lock erases the keys of a store, or all if that is zero, and says how many.
func (c *Client) Lock(ctx context.Context, store keystore.StoreID) (int, error) {
	r := request{Op: opLock}
	if store != (keystore.StoreID{}) {
		r.Store = store.String()
	}
	a, err := c.call(ctx, r)
	return a.Changed, err
}

// Drop erases one key.
func (c *Client) Drop(ctx context.Context, key seal.Public) error {
	_, err := c.call(ctx, request{Op: opLock, Store: key.Store.String(), KeyID: key.ID.String()})
	return err
}

// Status is what can be told of an agent.
type Status struct {
	PID    int
	Socket string
	Keys   []KeyStatus
}

// KeyStatus is one key.
type KeyStatus struct {
	Store    string // its id
	KeyID    string
	Place    string // of the store, as who unlocked it said
	Left     time.Duration
	Idle     time.Duration // the limit; 0: none
	IdleLeft time.Duration
}

// Status asks for it. It is no use of the keys.
func (c *Client) Status(ctx context.Context) (Status, error) {
	a, err := c.call(ctx, request{Op: opStatus})
	if err != nil {
		return Status{}, err
	}
	st := Status{PID: a.PID, Socket: c.socket()}
	for _, k := range a.Keys {
		st.Keys = append(st.Keys, KeyStatus{
			Store: k.Store, KeyID: k.KeyID, Place: k.Place,
			Left: time.Duration(k.Left) * time.Second,
			Idle: time.Duration(k.Idle) * time.Second, IdleLeft: time.Duration(k.IdleLeft) * time.Second,
		})
	}
	return st, nil
}

// Stop ends the agent, and returns when its keys are erased.
func (c *Client) Stop(ctx context.Context) error {
	if _, err := c.call(ctx, request{Op: opStop}); err != nil {
		return err
	}
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	if c.conn != nil {
		c.in.next(callTime, callTime) // until the agent hangs up
		c.hangUp()
	}
	return nil
}

// call sends a request and waits for the answer. A request may be sent twice: all
// are the same the second time.
func (c *Client) call(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, errSilent)
	defer cancel()
	select {
	case <-c.turn:
	case <-ctx.Done():
		return answer{}, ended(ctx)
	}
	defer func() { c.turn <- struct{}{} }()
	r.V = Version
	line, err := encode(r)
	if err != nil {
		return answer{}, err
	}
	defer clear(line)
	used := c.conn != nil
	a, err := c.exchange(ctx, line)
	if used && errors.Is(err, errHungUp) {
		a, err = c.exchange(ctx, line)
	}
	if errors.Is(err, errHungUp) {
		err = &keystore.Error{Err: keystore.ErrLocked, Detail: "the agent has ended, or has no time for another client"}
	}
	if err != nil {
		return answer{}, err
	}
	return a, a.err()
}

var (
	errSilent = &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the agent does not answer"}
	errHungUp = errors.New("the connection to the agent has ended")
)

// ended is why ctx has: the agent's own time, or the caller's.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return keystore.Ended(ctx)
}

// exchange sends one line and reads one. After an error there is no connection.
func (c *Client) exchange(ctx context.Context, line []byte) (a answer, err error) {
	if c.conn == nil {
		if c.conn, err = dial(ctx, c.getenv); err != nil {
			return answer{}, err
		}
		c.in = newLines(c.conn)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	got, err := c.send(line)
	if err == nil {
		a, err = parseAnswer(got)
		c.in.erase()
	}
	if !stop() {
		err = ended(ctx)
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
	got, err := c.in.next(callTime, callTime)
	if err != nil && !errors.Is(err, errTooLong) {
		err = errHungUp
	}
	return got, err
}

func (c *Client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.in.erase()
	}
	c.conn, c.in = nil, nil
}

func (c *Client) socket() string {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	if c.conn == nil {
		return ""
	}
	return c.conn.RemoteAddr().String()
}
