package agent

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// Keys returns the keys of a store that the agent holds: none while the store is
// locked, and two for a moment when its key is changed, the newer first.
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

// Terms are for how long a store is unlocked.
type Terms struct {
	TTL  time.Duration // 1 second to MaxTTL
	Idle time.Duration // how long it may be unused; 0: for ever
}

// Unlock hands a key over. place is the name of the store for people, as Status
// returns it: the end of one that is longer than 160 bytes, with "?" for what cannot
// be printed. Keys of the store that the agent has stay, the newest four of them.
// ErrFull: it has as many keys as it can hold.
func (c *Client) Unlock(ctx context.Context, key seal.Key, place string, t Terms) error {
	return c.hand(ctx, key, request{Place: placeFor(place), TTL: seconds(t.TTL), Idle: seconds(t.Idle)})
}

// Succeed hands over the next key of a store that is unlocked, on the terms of that
// before, which stays. ErrLocked: the store is not unlocked.
func (c *Client) Succeed(ctx context.Context, key seal.Key) error {
	return c.hand(ctx, key, request{Successor: true})
}

func (c *Client) hand(ctx context.Context, key seal.Key, r request) (err error) {
	r.Op, r.Store, r.KeyID, r.Recipient = opUnlock, key.Store.String(), key.ID.String(), key.Recipient
	// What is allocated meanwhile is erased as soon as it is collected.
	erase.Do(func() {
		r.Key = encodeSecret(key.Secret)
		_, err = c.call(ctx, r)
	})
	return err
}

// seconds rounds up: a limit of half a second is not none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Lock erases the keys of a store, or all if that is zero, and says how many: those of
// every agent that the user has.
func (c *Client) Lock(ctx context.Context, store keystore.StoreID) (int, error) {
	r := request{Op: opLock}
	if store != (keystore.StoreID{}) {
		r.Store = store.String()
	}
	a, err := c.call(ctx, r)
	if err != nil {
		return 0, err
	}
	n, err := c.lockElsewhere(ctx, r)
	return a.Changed + n, err
}

// lockElsewhere sends the request to the agents in the other directories: a job that ran
// while the user was not logged in can have started one in /tmp, which nobody sees since
// there is another in his runtime directory.
func (c *Client) lockElsewhere(ctx context.Context, r request) (n int, err error) {
	here := filepath.Dir(c.socket())
	dirs, err := c.find()
	for _, dir := range dirs {
		if dir == here {
			continue
		}
		other := newClient(func() ([]string, error) { return []string{dir}, nil })
		a, failed := other.call(ctx, r)
		if !errors.Is(failed, ErrNoAgent) {
			n, err = n+a.Changed, errors.Join(err, failed)
		}
		other.Close()
	}
	return n, err
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
	Keys   []KeyStatus // of all stores, the newest first
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

// IsOf reports whether the key is of the store of this name: that is known also when the
// store can no longer be read. Names that end in the same 157 bytes are not told apart.
func (k KeyStatus) IsOf(name string) bool { return k.Place == placeFor(name) }

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

// Stop ends the agent, and returns when its keys are erased; so are those of other agents
// that the user has.
func (c *Client) Stop(ctx context.Context) error {
	if _, err := c.call(ctx, request{Op: opStop}); err != nil {
		return err
	}
	_, err := c.lockElsewhere(ctx, request{Op: opLock})
	<-c.turn
	defer c.give()
	if c.conn != nil {
		c.conn.SetReadDeadline(time.Now().Add(callTime))
		c.in.next() // until the agent hangs up
		c.hangUp()
	}
	return err
}

func (c *Client) socket() string {
	<-c.turn
	defer c.give()
	if c.conn == nil {
		return ""
	}
	return c.conn.RemoteAddr().String()
}
