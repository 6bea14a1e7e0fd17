package lockfile

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

// noteSize is how many bytes of a lock file are written, and read. All notes
// have the same size, so that each covers the one before.
const noteSize = 200

// sign writes into the file who holds its lock, for people who wait. It is not
// part of the lock: it is not synced, stays when the holder is gone, and a disk
// that is full does not keep anybody from locking.
func sign(f io.Writer) {
	f.Write(note(time.Now()))
}

// note is "pid 123 on HOST since 2026-01-02T15:04:05Z", spaces, and a newline.
func note(now time.Time) []byte {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	if len(host) > 100 {
		host = host[:100]
	}
	text := fmt.Sprintf("pid %d on %s since %s", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	return []byte(text + strings.Repeat(" ", noteSize-1-len(text)) + "\n")
}

// holder returns what the file at path says of its holder. Anybody who may write
// the file can have written that.
func holder(path string) string {
	f, _, err := atomicfile.Open(atomicfile.OS(), path, os.O_RDONLY, 0)
	if err != nil {
		return "another process"
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, noteSize))
	said := strings.TrimSpace(string(text))
	if said == "" {
		return "another process"
	}
	if quoted := strconv.Quote(said); quoted != `"`+said+`"` {
		return quoted
	}
	return said
}

// HolderPID returns the process that the file at path names: who holds its lock, or held
// it last; 0: none. Anybody who may write the file can have written that, and the id can
// be of another host or namespace.
func HolderPID(path string) (pid int) {
	fmt.Sscanf(holder(path), "pid %d on ", &pid)
	return pid
}
