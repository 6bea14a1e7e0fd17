package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestBehindAStoppedCommand: who needs what it renews is told after 30 seconds whom
// they have waited for, and the issuer is not asked in its place. Logins that are good
// are given at once. The stopped one takes its answer in when it goes on, though its
// time was over before; several of them, since that was a matter of luck once.
func TestBehindAStoppedCommand(t *testing.T) {
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel() // it waits for most of its time
			behindAStoppedCommand(t)
		})
	}
}

func behindAStoppedCommand(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	_, store := h.store()
	if err := store.Put(t.Context(), longAgo(t, h.issuer, 0, groupsScope)); err != nil {
		t.Fatal(err)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	stopped := h.start("refresh", "transfer")
	<-asked
	stopped.signal(syscall.SIGSTOP)
	close(answer)
	before := h.issuer.Counts()
	var behind []*running
	for _, args := range [][]string{{"token", "transfer"}, {"refresh", "transfer"}, {"logout", "transfer"}} {
		behind = append(behind, h.start(args...))
	}
	if got := strings.TrimSpace(h.must("token", "groups")); !h.issuer.Active(got) {
		t.Errorf("the other login is %q", got)
	}
	for _, cmd := range behind {
		code := cmd.end()
		for _, words := range []string{"busy", fmt.Sprint("pid ", stopped.cmd.Process.Pid), "hint: "} {
			if said := cmd.said.String(); code != 6 || !strings.Contains(said, words) {
				t.Errorf("%v: exit code %d, want 6 and %q:\n%s", cmd.cmd.Args[1:], code, words, said)
			}
		}
	}
	if after := h.issuer.Counts(); after != before {
		t.Errorf("the issuer was asked: %+v, before %+v", after, before)
	}
	stopped.signal(syscall.SIGCONT)
	if code := stopped.end(); code != 0 {
		t.Errorf("the one that was stopped: exit code %d:\n%s", code, stopped.said.String())
	}
	if got := strings.TrimSpace(h.must("token", "transfer")); !h.issuer.Active(got) {
		t.Errorf("afterwards the token is %q", got)
	}
	if c := h.issuer.Counts(); c.Refreshes != 1 || c.Reuse != 0 || c.Denied != 0 {
		t.Errorf("%+v, want one refresh", c)
	}
}
