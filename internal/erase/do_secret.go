//go:build goexperiment.runtimesecret

package erase

import "runtime/secret"

// Enabled reports whether this build erases anything.
const Enabled = true

// Do calls f, and then erases the registers and the stack that it has used; what
// it has allocated, as soon as nobody uses it. It may be called inside of itself.
// A panic of f goes on.
func Do(f func()) { secret.Do(f) }

// Outside calls f outside of any Do: what calls C has to. In one it crashes: registers
// are erased on the way that hold its arguments (Go 1.26).
func Outside(f func()) {
	if !secret.Enabled() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
