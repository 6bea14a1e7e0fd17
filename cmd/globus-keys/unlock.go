package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// unlocking is one run of the unlock command.
type unlocking struct {
	*app
	ttl, idle  time.Duration
	descriptor string // with the passphrase, as fd:N; "": none
}

func (a *app) unlockCommand() *cobra.Command {
	u := &unlocking{app: a, ttl: local.DefaultTTL, idle: time.Hour}
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "Open the store for hours: its passphrase is typed once",
		Long: `Open the store for hours: its passphrase is asked for once, or read from a file,
and the commands and programs that you run on this machine use the store until it is
locked again: when --ttl is over, when nobody has used it for --idle, by "lock", when
the machine sleeps or its screen is locked, and with the machine. Unlocking again
begins a new time.

An agent in the background has the key meanwhile, in memory that is not written to
any disk, and never the passphrase. Other users cannot use it; root can, and so can
every program of yours on this machine, as you can: lock when you leave. "status"
shows until when, "lock" ends it. verify, rekey and passphrase ask for the passphrase
all the same: the agent does not have what they need. docs/unlock.md says more.

Of a store whose key is in the OS keychain that is what is unlocked: its dialog is
shown, and the store is tried. The times are the keychain's own then.`,
		Example: "  globus-keys unlock\n  globus-keys unlock --ttl 30m --idle 0\n  pass show globus | globus-keys unlock --passphrase-fd 0",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	const most = agent.MaxTTL
	f.Var(period{to: &u.ttl, flag: "ttl", such: "8h or 30m, 1s to 30d", min: time.Second, max: most},
		"ttl", "how long the store stays unlocked at most: 1s to 30d")
	f.Var(period{to: &u.idle, flag: "idle", such: "1h, 1s to 30d, or 0 for no limit", min: time.Second, max: most, zero: true},
		"idle", "how long it stays unlocked while nobody uses it: 1s to 30d; 0: no limit")
	f.Var(descriptor{&u.descriptor, "passphrase-fd"}, "passphrase-fd", "read the passphrase from this open descriptor `N`, as --passphrase-file fd:N does")
	return cmd
}

func (u *unlocking) run(ctx context.Context) error {
	if err := u.checkFlags(); err != nil {
		return err
	}
	p, store, err := u.open()
	if err != nil {
		return err
	}
	defer store.Close()
	got, err := p.Unlock(ctx, local.UnlockOptions{TTL: u.ttl, Idle: u.idle, Start: u.startAgent})
	if errors.Is(err, keystore.ErrLocked) || errors.Is(err, keystore.ErrDeclined) {
		u.unchanged(ctx, p)
	}
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return hinted{err, "{} login or {} import makes a store"}
	case err != nil:
		return needsPassphrase(err)
	case !got.Agent:
		u.say("%s opens: its key is in the %s, which says how long it is unlocked", p, p.Keychain().Traits().Name)
		return nil
	}
	u.say("%s is unlocked for %s%s", p, roughly(u.ttl), u.unlessUsed())
	return nil
}

// unchanged says that a store is unlocked all the same, if it was.
func (u *unlocking) unchanged(ctx context.Context, p *local.Place) {
	c := agent.Open(u.getenv)
	defer c.Close()
	st, _ := c.Status(ctx) // no agent, no key
	isIt := func(k agent.KeyStatus) bool { return k.IsOf(p.String()) }
	if i, now := slices.IndexFunc(st.Keys, isIt), time.Now(); i >= 0 {
		u.say("%s stays as it was: %s", p, unlocked(st.Keys[i], now).line(now))
	}
}

func (u *unlocking) unlessUsed() string {
	if u.idle == 0 || u.idle >= u.ttl {
		return ""
	}
	return ", or until nobody has used it for " + roughly(u.idle)
}

// checkFlags makes one of the two ways to name a descriptor.
func (u *unlocking) checkFlags() error {
	switch {
	case u.descriptor != "" && u.passphraseFile != "":
		return usageError{fmt.Errorf("--passphrase-fd and --passphrase-file name two passphrases: say one")}
	case u.descriptor != "":
		u.passphraseFile = u.descriptor
	}
	return nil
}

// needsPassphrase is for what no agent helps with.
func needsPassphrase(err error) error {
	if !unasked(err) {
		return err
	}
	return hinted{err, passphraseHint}
}

// unasked reports whether the store is locked because nobody could be asked for the
// passphrase.
func unasked(err error) bool {
	var problem *keychain.Problem
	return errors.Is(err, keystore.ErrLocked) && !errors.Is(err, local.ErrNoIdentity) &&
		!errors.Is(err, local.ErrPassphrase) && !errors.As(err, &problem)
}

const passphraseHint = "run it in a terminal to be asked for the passphrase, or name a file that holds it: --passphrase-file FILE"
