package agent

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/internal/lockfile"
)

// silent is the ErrSilent of the agent at a socket.
type silent struct{ socket string }

func (silent) Error() string { return ErrSilent.Error() }
func (silent) Unwrap() error { return ErrSilent }

// lookTime is how long Process may take: a process that is stopped lets connect as well.
const lookTime = time.Second

// Process returns the id of the agent's process that err, an ErrSilent, is about: for
// people who want to end it. 0: it is not known. Two have to say the same: the kernel,
// which names the service manager of a socket that one has made, and the agent itself, in
// its lock, whose id can be of another namespace.
func Process(ctx context.Context, err error) (pid int) {
	about, ok := errors.AsType[silent](err)
	if !ok || about.socket == "" {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := dialAt(ctx, about.socket)
	if err != nil {
		return 0
	}
	defer c.Close()
	pid = peerPID(c)
	if pid != lockfile.HolderPID(filepath.Join(filepath.Dir(about.socket), LockName)) {
		return 0
	}
	return pid
}
