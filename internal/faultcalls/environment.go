package faultcalls

import "os"

// Environment is what keeps a Go program to one thread, as far as can be.
func Environment() []string {
	return append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0")
}
