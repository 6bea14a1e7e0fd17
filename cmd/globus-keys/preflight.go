package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/settings"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// errTooSoon: a login or token is good, and will not be for long enough.
var errTooSoon = errors.New("expires too soon")

func (a *app) preflightCommand() *cobra.Command {
	var needed time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "preflight --for DURATION [RESOURCE_SERVER...]",
		Short: "Check that logins will last for a job",
		Long: `Check that the logins named, or all of the namespace, will last for so long, and
say which will not, and why: exit code 8, or 4 if one is over already.

What is known without asking anybody: when an access token expires that cannot be
renewed, or whose refresh token the issuer has refused; when the issuer forgets
one that nobody uses (Globus Auth: six months); and how long a session policy lets a
login last, if config.toml says so under [sessions]. An administrator, or a policy that nobody has written
down, can end a login sooner.`,
		Example: "  globus-keys preflight --for 72h transfer && sbatch job.sh",
		RunE: func(cmd *cobra.Command, args []string) error {
			if needed == 0 {
				return usageError{fmt.Errorf("--for says how long the logins are needed, such as 72h")}
			}
			return a.preflight(cmd.Context(), args, needed, asJSON)
		},
		ValidArgsFunction: a.completeResourceServers,
	}
	cmd.Flags().Var(period{to: &needed, flag: "for", such: "72h or 3d", min: 1, max: forever}, "for", "how long the logins are needed, such as 72h or 3d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// outlook says how long a login will last, as far as is known.
type outlook struct {
	ResourceServer string `json:"resource_server"`
	Lasts          bool   `json:"lasts"`
	Until          int64  `json:"until_seconds,omitempty"` // Unix time; missing: nothing ends it that is known
	Reason         string `json:"reason,omitempty"`        // what ends it

	err error
}

func (a *app) preflight(ctx context.Context, args []string, needed time.Duration, asJSON bool) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	s, err := a.settings()
	if err != nil {
		return err
	}
	servers, err := o.servers(ctx, args)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		return o.nobody(ctx)
	}
	looks := []outlook{}
	failed := o.each(ctx, servers, func(rs string) error {
		look := o.look(ctx, s, rs, needed)
		if look.err == nil || look.Reason != "" {
			looks = append(looks, look)
		}
		return look.err
	})
	if asJSON {
		return errors.Join(failed, o.printJSON(struct {
			Schema int       `json:"schema"`
			Logins []outlook `json:"logins"`
		}{1, looks}))
	}
	return errors.Join(failed, o.printOutlooks(looks))
}

func (o opened) look(ctx context.Context, s *settings.Settings, rs string, needed time.Duration) outlook {
	t, refused, err := o.store.Look(ctx, rs)
	if err != nil {
		return outlook{ResourceServer: rs, err: err}
	}
	now := o.store.Now()
	until, reason := end(t, sessionLimit(s, rs), refused)
	look := outlook{ResourceServer: rs, Lasts: until.IsZero() || !until.Before(now.Add(needed)), Reason: reason}
	if !until.IsZero() {
		look.Until = until.Unix()
	}
	switch {
	case look.Lasts:
	case !until.After(now):
		look.err = o.loginHint(ctx, rs, fmt.Errorf("the login at %q is over (%s): %w", rs, reason, keystore.ErrLoginRequired))
	default:
		look.err = hinted{
			fmt.Errorf("the login at %q lasts for %s only (%s): %w", rs, roughly(until.Sub(now)), reason, errTooSoon),
			o.loginLine(ctx) + " makes a new one",
		}
	}
	return look
}

// sessionLimit is how long a policy lets a login at rs last, 0 if nobody has said
// so. Of a name and its alias the shorter one counts.
func sessionLimit(s *settings.Settings, rs string) (shortest time.Duration) {
	for name, limit := range s.Sessions {
		if oauth.ResourceServer(name) == rs && (shortest == 0 || limit < shortest) {
			shortest = limit
		}
	}
	return shortest
}

// end is when the login is over as far as is known, zero if nothing is, and what
// ends it. refused is when the issuer said that its refresh token is dead.
func end(t keystore.Token, session time.Duration, refused time.Time) (until time.Time, reason string) {
	sooner := func(at time.Time, why string) {
		if until.IsZero() || at.Before(until) {
			until, reason = at, why
		}
	}
	if !t.Renewable() {
		sooner(cmp.Or(t.ExpiresAt, time.Unix(0, 0)), "its access token cannot be renewed") // of unknown end: it is over
	}
	if !refused.IsZero() {
		sooner(cmp.Or(t.ExpiresAt, time.Unix(0, 0)), "the issuer has refused its refresh token")
	}
	if at, idle := forgotten(t); !at.IsZero() {
		sooner(at, "the issuer forgets what is not used for "+roughly(idle))
	}
	if session > 0 && !t.LoggedIn.IsZero() {
		sooner(t.LoggedIn.Add(session), "a session policy")
	}
	return until, reason
}

func (a *app) printOutlooks(looks []outlook) error {
	for _, l := range looks {
		at, text := time.Unix(l.Until, 0).UTC().Format(time.RFC3339), "lasts; nothing is known that ends it"
		switch {
		case l.Lasts && l.Until > 0:
			text = "lasts until " + at + ": then " + l.Reason
		case errors.Is(l.err, keystore.ErrLoginRequired):
			text = "ended " + at + ": " + l.Reason
		case !l.Lasts:
			text = "ends " + at + ": " + l.Reason
		}
		if err := a.printf("%-40s %s\n", clean(l.ResourceServer), clean(text)); err != nil {
			return err
		}
	}
	return nil
}
