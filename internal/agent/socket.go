package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/lockfile"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

// SocketName and LockName are files in the user's runtime directory.
const (
	SocketName = "agent.sock"
	LockName   = "agent.lock"
)

// maxPath is how long the name of a socket may be: Linux takes 107 bytes, macOS 103.
const maxPath = 100

// ErrTaken: where the agent would be is something that is not this user's, or not what
// should be there. Somebody may have put it there, and it is not used. That is no
// ErrTampered: nothing is wrong with any store.
var ErrTaken = fmt.Errorf("%w: the agent's place is taken", keystore.ErrUnavailable)

// taken makes an ErrTaken of what says that a file or directory is not as it should be.
func taken(err error) error {
	about, ok := errors.AsType[*keystore.Error](err)
	if !ok || !errors.Is(err, keystore.ErrTampered) {
		return err
	}
	return &keystore.Error{Store: about.Store, Err: ErrTaken, Detail: about.Detail}
}

// dial connects to the agent, wherever the user's processes can have put it.
func dial(ctx context.Context, find func() ([]string, error)) (net.Conn, error) {
	dirs, err := find()
	if err != nil {
		return nil, taken(err)
	}
	for _, dir := range dirs {
		c, err := dialAt(ctx, filepath.Join(dir, SocketName))
		if !errors.Is(err, ErrNoAgent) {
			return c, err
		}
	}
	return nil, &keystore.Error{Err: ErrNoAgent}
}

// dialAt connects to the socket at path. What nobody listens at is no agent.
func dialAt(ctx context.Context, path string) (net.Conn, error) {
	err := atomicfile.CheckSocket(atomicfile.OS(), path)
	if errors.Is(err, fs.ErrNotExist) || len(path) > maxPath {
		return nil, ErrNoAgent
	}
	if err != nil {
		return nil, taken(err)
	}
	c, err := connect(ctx, path)
	if ctx.Err() != nil {
		return nil, ended(ctx, path)
	}
	if refused(err) {
		return nil, ErrNoAgent
	}
	if err != nil {
		return nil, &keystore.Error{Store: path, Err: fmt.Errorf("%w: %w", keystore.ErrUnavailable, err), Detail: "the agent cannot be reached"}
	}
	if err := checkPeer(c); err != nil {
		c.Close()
		return nil, &keystore.Error{Store: path, Err: ErrTaken, Detail: err.Error()}
	}
	return c, nil
}

// connect waits while others wait to be let in, and fill the queue: the kernel says
// EAGAIN then, and Go gives up.
func connect(ctx context.Context, path string) (c net.Conn, err error) {
	var d net.Dialer
	for {
		c, err = d.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// ErrRunning: the user has an agent on this host.
var ErrRunning = fmt.Errorf("%w: an agent is running", keystore.ErrBusy)

// Listen makes this process the user's agent on this host: it takes the lock that
// there is for that, and the socket. given, if not nil, is the socket that a service
// manager has made. release is called when the keys are erased: it removes the socket
// that Listen has made, and gives the lock back. ErrRunning: another process is the agent.
// ErrTaken: somebody else's is in its place.
func Listen(getenv func(string) string, given net.Listener) (l net.Listener, release func() error, err error) {
	dir, err := rundir.MakeWithin(getenv, maxPath-len("/"+SocketName))
	if err != nil {
		return nil, nil, taken(err)
	}
	unlock, err := takeLock(filepath.Join(dir, LockName))
	if err != nil {
		return nil, nil, taken(err)
	}
	if given != nil {
		return given, unlock, nil
	}
	if l, err = bind(filepath.Join(dir, SocketName)); err != nil {
		return nil, nil, errors.Join(taken(err), unlock())
	}
	made := spotOf(l)
	return l, func() error { return errors.Join(made.remove(), unlock()) }, nil
}

// lockTime is how long an agent that is just ending is waited for.
const lockTime = time.Second

func takeLock(path string) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockTime)
	defer cancel()
	unlock, err = lockfile.Lock(ctx, path)
	if errors.Is(err, keystore.ErrBusy) {
		err = &keystore.Error{Store: path, Err: ErrRunning}
	}
	return unlock, err
}

// bind makes the socket. Whoever has the lock may remove what an agent that was
// killed has left; what is no socket of the user's is not removed, nor is one at which
// somebody listens: a service manager, for the agent that it starts for its first client.
//
// Close does not remove it, as Go would: by then the name can be another agent's.
func bind(path string) (net.Listener, error) {
	err := atomicfile.CheckSocket(atomicfile.OS(), path)
	if err == nil && heardAt(path) {
		return nil, &keystore.Error{Store: path, Err: ErrRunning, Detail: "a service manager listens there, and starts one"}
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, atomicfile.About(path, err)
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		err = os.Chmod(path, 0o600) // the directory is the user's alone as it is
	}
	if err != nil {
		return nil, &keystore.Error{Store: path, Err: fmt.Errorf("%w: %w", keystore.ErrUnavailable, err), Detail: "the agent's socket cannot be made"}
	}
	return l, nil
}

func heardAt(path string) bool {
	c, err := net.DialTimeout("unix", path, callTime)
	if err == nil {
		c.Close()
	}
	return err == nil
}
