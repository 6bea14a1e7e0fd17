package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Aliases: []string{"list", "ls"},
		Short:   "Show where the store and its key are, and which logins it holds",
		Long: `Show where the store and its key are, and which logins it holds.

Nobody is asked for a passphrase: of a locked store only the names are shown, or how
many records there are if it hides their names. Of a store that unlock has opened it
is shown until when; looking is no use of it.
--namespace shows the logins of that one only ($GLOBUS_KEYS_NAMESPACE does not); where
names are hidden from who looks, the counts are those of all.
The exit code is 7 if a login is damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// storeStatus is the answer, as programs get it.
type storeStatus struct {
	Schema int         `json:"schema"`
	Store  string      `json:"store"`
	Exists bool        `json:"exists"`
	ID     string      `json:"store_id,omitempty"`
	Keys   []keyStatus `json:"keys"`

	Unlocked *unlockedFor `json:"unlocked,omitempty"` // by the agent

	Recovery []string `json:"recovery_recipients,omitempty"` // known if the store is open
	Locked   bool     `json:"locked"`
	Because  string   `json:"locked_because,omitempty"`
	why      error    // the same
	lost     bool     // nothing will open it

	Notes []string `json:"notes,omitempty"` // what the adapter says of its store

	Logins []loginStatus `json:"logins"`
	Counts *recordCounts `json:"counts,omitempty"` // in place of Logins, if their names are hidden
	only   string        // the namespace that was asked for
	values int           // configuration values, counted if there are no logins
}

// recordCounts is how many records there are of each kind.
type recordCounts struct {
	Logins  int `json:"logins"`
	Configs int `json:"configs"`
}

type keyStatus struct {
	Kind string `json:"kind"`           // keychain, passphrase, identity-file, none
	Name string `json:"name,omitempty"` // the item or file
	In   string `json:"in,omitempty"`   // which keychain
}

type loginStatus struct {
	Namespace      string `json:"namespace"`
	ResourceServer string `json:"resource_server"`
	State          string `json:"state"` // valid, expired, locked, damaged
	ExpiresAt      int64  `json:"expires_at_seconds,omitempty"`
	Refreshable    bool   `json:"refreshable"`
	UsedAt         int64  `json:"used_at_seconds,omitempty"` // when its issuer last saw its refresh token
	Note           string `json:"note,omitempty"`
}

func (a *app) status(ctx context.Context, asJSON bool) error {
	a.noPrompt = true
	unlocked := a.unlockedStores(ctx)
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	st, err := survey(agent.Look(ctx), p, store, a.namespace)
	if err != nil {
		return err
	}
	st.Unlocked = unlocked[st.ID]
	if asJSON {
		err = a.printJSON(st)
	} else {
		err = a.printStatus(st, store.Now())
	}
	if err != nil {
		return err
	}
	if st.lost {
		return st.why
	}
	for _, l := range st.Logins {
		if l.State == "damaged" {
			return fmt.Errorf("the login of %q in namespace %q cannot be read: %w", l.ResourceServer, l.Namespace, keystore.ErrTampered)
		}
	}
	return nil
}

func (a *app) printStatus(st storeStatus, now time.Time) error {
	if !st.Exists {
		return a.printf("Store:  %s (not made yet)\n", st.Store)
	}
	for _, line := range a.statusLines(st, now) {
		if err := a.printf("%s\n", clean(line)); err != nil {
			return err
		}
	}
	if st.Counts != nil {
		return a.printf("\n%s\n", st.Counts)
	}
	return a.printLogins(st, now)
}

// statusLines are about the store as a whole.
func (a *app) statusLines(st storeStatus, now time.Time) []string {
	lines := []string{"Store:  " + st.Store}
	for _, k := range st.Keys {
		lines = append(lines, "Key:    "+k.line())
	}
	for _, r := range st.Recovery {
		lines = append(lines, "Reader: "+r+" (recovery recipient)")
	}
	if st.Unlocked != nil {
		lines = append(lines, "State:  "+st.Unlocked.line(now))
	}
	if st.Locked {
		shown := "names"
		if st.Counts != nil {
			shown = "counts"
		}
		lines = append(lines, "State:  locked: "+shown+" only"+a.lockedLine(st.why))
	}
	for _, n := range st.Notes {
		lines = append(lines, "Note:   "+n)
	}
	return lines
}

func (st storeStatus) noLogins() string {
	if st.only == "" {
		return "no logins"
	}
	return fmt.Sprintf("no logins in namespace %q", st.only)
}

func (n recordCounts) String() string {
	return fmt.Sprintf("  logins: %d, configuration values: %d", n.Logins, n.Configs)
}

func (a *app) printLogins(st storeStatus, now time.Time) error {
	if len(st.Logins) == 0 {
		return a.printf("\n  %s; configuration values: %d\n", clean(st.noLogins()), st.values)
	}
	namespace := ""
	for _, l := range st.Logins {
		if l.Namespace != namespace {
			namespace = l.Namespace
			if err := a.printf("\n%s\n", clean(namespace)); err != nil {
				return err
			}
		}
		if err := a.printf("  %-40s %s\n", clean(l.ResourceServer), clean(l.line(now))); err != nil {
			return err
		}
	}
	return nil
}

// lockedLine says what opens the store, or why it is locked if that is not clear.
func (a *app) lockedLine(why error) string {
	switch {
	case errors.Is(why, local.ErrNobody):
		return "; " + a.selfFor([2]string{"--store", a.store}) + " unlock opens it"
	case errors.Is(why, local.ErrNoIdentity) && a.identityFile == "" && a.getenv("GLOBUS_KEYS_IDENTITY_FILE") == "":
		return "; the file with the identity opens it: --identity-file FILE"
	}
	return ": " + why.Error()
}

func (k keyStatus) line() string {
	switch k.Kind {
	case "none":
		return "none: each login is an item in the " + k.In
	case "identity-file":
		return "an identity file that every run names"
	}
	line := k.Kind + " " + k.Name
	if k.In != "" {
		line += " in the " + k.In
	}
	return line
}

func (l loginStatus) line(now time.Time) string {
	line := l.State
	switch {
	case l.State == "valid" && l.ExpiresAt > 0:
		line = "valid for " + roughly(time.Unix(l.ExpiresAt, 0).Sub(now))
	case l.State == "expired" && l.ExpiresAt > 0:
		line = "expired " + roughly(now.Sub(time.Unix(l.ExpiresAt, 0))) + " ago"
	}
	if l.Note != "" {
		line += "; " + l.Note
	}
	return line
}

// roughly says a duration as people do.
func roughly(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{365 * 24 * time.Hour, "years"}, {24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.of {
			return fmt.Sprintf("%d %s", int(d/unit.of), unit.name)
		}
	}
	if d/time.Second == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", int(d/time.Second))
}
