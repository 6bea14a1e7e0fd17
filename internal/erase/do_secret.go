//go:build goexperiment.runtimesecret

package erase

import "runtime/secret"

// Enabled reports whether this build erases anything.
const Enabled = true

// Do calls f, and then erases the registers and the stack that it has used; what
// it has allocated, as soon as nobody uses it. It may be called inside of itself.
// A panic of f goes on.
func Do(f func()) { secret.Do(f) }
