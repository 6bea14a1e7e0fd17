// Package erase keeps secrets out of the memory that a process is done with.
//
//	erase.Do(func() { payload, err = open(key, sealed) })
//
// Whoever reads the memory of a process, a core file or a swapped page later
// finds of this what is still in use, and no copies that were made on the way.
// That is so in builds with GOEXPERIMENT=runtimesecret, for linux/amd64 and
// linux/arm64: the release build is one. In others Do only calls its function.
//
// What runtime/secret does not reach has to be kept free of secrets by who
// writes the function: goroutines that it starts (each needs a Do of its own),
// global variables, pools of buffers such as those of fmt and encoding/json
// among them, memory that was allocated before, and what the kernel copies.
// Memory that Do's function has allocated is erased when the garbage collector
// finds that nobody uses it any more: Now is for who does not want to wait.
package erase

import "runtime"

// Now has the garbage collector erase what was allocated in Do and is used no
// more. The first collection lets go of what pools keep in reserve, the second of
// what they had put aside. It stops the caller for as long as both take: some
// tenths of a millisecond in a small program.
func Now() {
	runtime.GC()
	runtime.GC()
}
