package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestAgentThatNobodyFinds ends: its user could not lock what it has.
func TestAgentThatNobodyFinds(t *testing.T) {
	for what, happens := range map[string]func(socket string) error{
		"removed":  os.Remove,
		"replaced": func(socket string) error { return errors.Join(os.Remove(socket), os.Rename(socket+".next", socket)) },
	} {
		t.Run(what, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), SocketName)
			if err := errors.Join(os.WriteFile(socket, nil, 0o600), os.WriteFile(socket+".next", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				s, err := NewServer(nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- s.Serve(ctx, &waiter{at: socket, closed: make(chan struct{})}) }()
				(&bench{Server: s, t: t}).unlock(`"ttl_seconds":36000`)
				time.Sleep(10 * time.Minute)
				if s.keys.retire() {
					t.Error("it has ended before")
				}
				if err := happens(socket); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * sweepEvery)
				if !s.keys.retire() {
					t.Error("it goes on")
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
