// Package agent holds the keys of unlocked stores in a process of its own, so that
// a passphrase is typed once and not for every command.
//
// One agent serves one user on one host, on a Unix socket at a path that does not
// depend on the session (package rundir). At unlock a client opens the store itself
// and hands over the key of its seals, never the identity, the passphrase or a
// token. From then on clients ask for the keys of single seals and open and make
// these themselves. docs/agent-protocol.md has every byte.
//
//	c := agent.Open(os.Getenv)                 // connects when it is needed
//	keys, err := c.Keys(ctx, store)            // ErrNoAgent, or none: the store is locked
//	sealer, err := seal.LoadHeld(ctx, c.Holder(keys[0]), keys[0], meta)
//
// A store is locked again by its time to live, by its idle limit, by lock, and with
// the agent. Both sides check that the other is the same user. The agent knows
// nothing of stores but ids; it reads no file of theirs.
package agent
