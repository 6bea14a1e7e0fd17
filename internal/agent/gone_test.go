package agent

import (
	"io"
	"net"
	"testing"
)

// TestStopOfWhoDoesNotWait for the answer is obeyed.
func TestStopOfWhoDoesNotWait(t *testing.T) {
	b := newBench(t)
	stopped := false
	b.stop = func() { stopped = true }
	ours, theirs := net.Pipe()
	go func() {
		io.WriteString(theirs, "{\"v\":1,\"op\":\"stop\"}\n")
		theirs.Close()
	}()
	b.serve(ours)
	if !stopped {
		t.Error("the agent goes on")
	}
}
