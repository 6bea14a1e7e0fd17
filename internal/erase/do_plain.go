//go:build !goexperiment.runtimesecret

package erase

// Enabled reports whether this build erases anything.
const Enabled = false

// Do calls f. This build erases nothing.
func Do(f func()) { f() }

// Outside calls f.
func Outside(f func()) { f() }
