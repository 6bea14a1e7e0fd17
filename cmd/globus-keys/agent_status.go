package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) agentStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the agent, and which stores are unlocked for how long",
		Long: `Show the agent, and which stores are unlocked for how long. That is no use of
them: they are locked when they would have been.

The exit code is 0 if an agent is running, with or without a store, and 3 if none
is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.agentStatus(cmd.Context(), asJSON) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// agentAnswer is the answer, as programs get it.
type agentAnswer struct {
	Schema  int             `json:"schema"`
	Running bool            `json:"running"`
	PID     int             `json:"pid,omitempty"`
	Socket  string          `json:"socket,omitempty"`
	Stores  []unlockedStore `json:"stores"`
	Looked  []string        `json:"looked_in,omitempty"` // if none is running: directories
}

type unlockedStore struct {
	Store   string `json:"store"` // as --store has it
	StoreID string `json:"store_id"`
	unlockedFor
}

// unlockedFor says when the agent will lock a store.
type unlockedFor struct {
	Until     int64 `json:"until_seconds"`                // Unix time
	Idle      int64 `json:"idle_seconds,omitempty"`       // how long it may be unused; missing: for ever
	IdleUntil int64 `json:"idle_until_seconds,omitempty"` // Unix time, if it is not used before
}

func unlocked(k agent.KeyStatus, now time.Time) unlockedFor {
	u := unlockedFor{Until: now.Add(k.Left).Unix(), Idle: int64(k.Idle / time.Second)}
	if k.Idle > 0 {
		u.IdleUntil = now.Add(k.IdleLeft).Unix()
	}
	return u
}

func (u unlockedFor) line(now time.Time) string {
	line := "unlocked " + till(time.Unix(u.Until, 0), now)
	if u.Idle > 0 && u.IdleUntil < u.Until {
		line += ", or " + till(time.Unix(u.IdleUntil, 0), now) + " if nobody uses it before"
	}
	return line
}

// till says when something ends, or how soon.
func till(t, now time.Time) string {
	if left := t.Sub(now); left < 2*time.Minute {
		return "for " + roughly(max(left, 0))
	}
	return "until " + clock(t, now)
}

// clock says a time as people do who know what day it is.
func clock(t, now time.Time) string {
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// noAgent is an ErrNotFound.
type noAgent struct{}

func (noAgent) Error() string { return "no agent is running" }
func (noAgent) Unwrap() error { return keystore.ErrNotFound }

func (a *app) agentStatus(ctx context.Context, asJSON bool) error {
	answer, err := a.askAgent(ctx, time.Now())
	none := errors.Is(err, agent.ErrNoAgent)
	if err != nil && !none {
		return err
	}
	if none {
		answer.Looked, _ = rundir.Places(a.getenv) // agent.Open has them
	}
	switch {
	case asJSON:
		err = a.printJSON(answer)
	case none:
		err = nil
	default:
		err = a.printAgent(answer, time.Now())
	}
	if err == nil && none {
		err = hinted{noAgent{}, "globus-keys unlock starts one; it was looked for in " + strings.Join(answer.Looked, ", ")}
	}
	return err
}

// askAgent asks the agent for all that can be told. It is no use of the stores.
func (a *app) askAgent(ctx context.Context, now time.Time) (agentAnswer, error) {
	answer := agentAnswer{Schema: 1, Stores: byStore(nil, now)}
	c := agent.Open(a.getenv)
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		return answer, err
	}
	answer.Running, answer.PID, answer.Socket = true, st.PID, st.Socket
	answer.Stores = byStore(st.Keys, now)
	return answer, nil
}

// byStore tells of each store once, by its newest key, which is the first: the one before
// stays for a moment in a rekey, and for its time if that is killed.
func byStore(keys []agent.KeyStatus, now time.Time) []unlockedStore {
	stores := []unlockedStore{} // in JSON never null
	for _, k := range keys {
		if !slices.ContainsFunc(stores, func(s unlockedStore) bool { return s.StoreID == k.Store }) {
			stores = append(stores, unlockedStore{k.Place, k.Store, unlocked(k, now)})
		}
	}
	slices.SortFunc(stores, func(a, b unlockedStore) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.StoreID, b.StoreID))
	})
	return stores
}

// unlockedStores says, by the ids of the stores, for how long the agent keeps them open.
// An agent that does not answer as one is not asked again.
func (a *app) unlockedStores(ctx context.Context) map[string]*unlockedFor {
	answer, err := a.askAgent(ctx, time.Now())
	if err != nil && !errors.Is(err, agent.ErrNoAgent) {
		a.warn("the agent cannot say what is unlocked: %v", err)
		if hint := a.agentHint(err); hint != "" {
			a.advise(hint)
		}
		a.noAgent = true
	}
	stores := make(map[string]*unlockedFor)
	for _, s := range answer.Stores {
		stores[s.StoreID] = &s.unlockedFor
	}
	return stores
}

func (a *app) printAgent(answer agentAnswer, now time.Time) error {
	if err := a.printf("Agent:  running, pid %d\nSocket: %s\n", answer.PID, clean(answer.Socket)); err != nil {
		return err
	}
	if len(answer.Stores) == 0 {
		return a.printf("Stores: none is unlocked\n")
	}
	for _, s := range answer.Stores {
		if err := a.printf("Store:  %s: %s\n", clean(s.Store), s.line(now)); err != nil {
			return err
		}
	}
	return nil
}
