package main

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
)

// TestAgentIsToldByLogind that the machine goes to sleep, or that a session is locked:
// then the store is locked, and can be unlocked again.
func TestAgentIsToldByLogind(t *testing.T) {
	const logind = "org.freedesktop.login1"
	bus := desktoptest.StartBus(t)
	h := unlockable(t)
	h.env = append(h.env, "DBUS_SYSTEM_BUS_ADDRESS="+bus.Address)
	conn := bus.Dial()
	if reply, err := conn.RequestName(logind, 0); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	for signal, says := range map[string]func() error{
		"PrepareForSleep": func() error {
			return conn.Emit("/org/freedesktop/login1", logind+".Manager.PrepareForSleep", true)
		},
		"Lock": func() error { return conn.Emit("/org/freedesktop/login1/session/_31", logind+".Session.Lock") },
	} {
		h.unlock()
		h.waitFor("an agent that listens", func() bool { return len(bus.Matches()) == 3 })
		h.must("token", "transfer")
		if err := says(); err != nil {
			t.Fatal(err)
		}
		h.waitFor("the lock by "+signal, func() bool { return len(h.agent().Stores) == 0 })
		h.exitsWith(5, "token", "transfer")
	}
}
