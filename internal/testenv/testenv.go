// Package testenv says what tests need of the machine. A missing component
// skips a test with the reason, but fails it in CI, where nothing is skipped.
package testenv

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Need returns the path of a program that the test runs.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, "the program "+program+" is not installed")
	}
	return path
}

// Python returns the interpreter that $GLOBUS_KEYS_PYTHON names, which has the
// Globus SDK.
func Python(t testing.TB) string {
	t.Helper()
	path := os.Getenv("GLOBUS_KEYS_PYTHON")
	if path == "" {
		Missing(t, "GLOBUS_KEYS_PYTHON names no Python with the Globus SDK")
	}
	return path
}

// NeedRoot is for tests that mount file systems or act as several users.
func NeedRoot(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" || os.Getuid() != 0 {
		Missing(t, "it must run as root")
	}
}

// ShortDir is t.TempDir with a name that leaves room for a socket's, of which the kernel
// takes some hundred bytes.
func ShortDir(t testing.TB) string {
	t.Helper()
	parent := "/tmp"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "gk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Missing skips the test for this reason, or fails it in CI.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI has to provide this: %s", reason)
	}
	t.Skip(reason)
}
