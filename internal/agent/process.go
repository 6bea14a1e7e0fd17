package agent

import (
	"context"
	"net"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/internal/lockfile"
	"github.com/globus-keys/globus-keys/internal/rundir"
)

// lookTime is how long Process may take: a process that is stopped lets connect as well.
const lookTime = time.Second

// Process returns the id of the agent's process, without asking it: for people who want
// to end one that does not answer. 0: it is not known. Two have to say the same: the
// kernel, which names the service manager of a socket that one has made, and the agent
// itself, in its lock, whose id can be of another namespace.
func Process(ctx context.Context, getenv func(string) string) (pid int) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := dial(ctx, func() ([]string, error) { return rundir.Find(getenv) })
	if err != nil {
		return 0
	}
	defer c.Close()
	pid = peerPID(c)
	if pid != lockfile.HolderPID(lockOf(c)) {
		return 0
	}
	return pid
}

// lockOf is the lock beside the socket that c has connected to.
func lockOf(c net.Conn) string {
	return filepath.Join(filepath.Dir(c.RemoteAddr().String()), LockName)
}
