package fileadapter

import (
	"fmt"
	"os"
	"testing"
)

// TestMain is also the second process of the tests that need one.
func TestMain(m *testing.M) {
	if name := os.Getenv("FILEADAPTER_CHILD"); name != "" {
		if err := child(name, os.Getenv("FILEADAPTER_PATH"), os.Getenv("FILEADAPTER_KEYS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
