//go:build unix && !linux

package secretmem

// Protect keeps this process from leaving a core file. On Linux it does more.
func Protect() error { return noCore() }

// leaveOut keeps pages out of core files, on Linux only.
func leaveOut([]byte) error { return nil }
