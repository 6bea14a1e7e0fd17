package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

func (a *app) logoutCommand() *cobra.Command {
	l := &loggingOut{app: a}
	cmd := &cobra.Command{
		Use:   "logout RESOURCE_SERVER...|--all",
		Short: "Revoke logins at their issuer, and remove them",
		Long: `End the logins named, or all of the namespace: their tokens are revoked at the
issuer, so that no copy of them is of use to anybody, and then removed.

A login that cannot be revoked now, because the issuer cannot be reached, stays
where it is, so that this can be said again; the others are ended all the same.
With --no-revoke logins are removed without asking the issuer: copies of their
tokens stay good until they expire.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.all == (len(args) > 0) {
				return usageError{fmt.Errorf("name resource servers, or say --all")}
			}
			return l.run(cmd.Context(), args)
		},
		ValidArgsFunction: a.completeResourceServers,
	}
	f := cmd.Flags()
	f.BoolVar(&l.all, "all", false, "end every login of the namespace")
	f.BoolVar(&l.noRevoke, "no-revoke", false, "remove them here only")
	f.BoolVar(&l.json, "json", false, "answer in JSON")
	return cmd
}

type loggingOut struct {
	*app
	all, noRevoke, json bool
}

type logoutAnswer struct {
	Schema    int          `json:"schema"`
	LoggedOut []string     `json:"logged_out"`
	Left      []leftBehind `json:"left"`
}

type leftBehind struct {
	ResourceServer string `json:"resource_server"`
	Reason         string `json:"reason"`
}

func (l *loggingOut) run(ctx context.Context, args []string) error {
	o, err := l.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	servers, err := o.servers(ctx, args)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		o.say("namespace %q holds no logins", o.store.Namespace())
	}
	answer := logoutAnswer{Schema: 1, LoggedOut: []string{}, Left: []leftBehind{}}
	failed := l.each(ctx, servers, func(rs string) error {
		err := l.end(ctx, o, rs)
		if err != nil {
			answer.Left = append(answer.Left, leftBehind{rs, err.Error()})
			return o.remedy(err, rs)
		}
		answer.LoggedOut = append(answer.LoggedOut, rs)
		return nil
	})
	if n := len(answer.Left); n > 0 && n < len(servers) {
		l.say("%d of %d logins are still there", n, len(servers))
	}
	if l.json {
		failed = errors.Join(failed, l.printJSON(answer))
	}
	return failed
}

func (l *loggingOut) end(ctx context.Context, o opened, rs string) error {
	if l.noRevoke {
		if err := o.store.Logout(ctx, rs, nil); err != nil {
			return err
		}
		o.say("removed %q from namespace %q; copies of its tokens stay good until they expire", rs, o.store.Namespace())
		return nil
	}
	if err := oauth.Logout(ctx, o.store, rs, nil); err != nil {
		return err
	}
	o.say("logged out of %q in namespace %q", rs, o.store.Namespace())
	return nil
}

// remedy says what can be done about a login that stays.
func (o opened) remedy(err error, rs string) error {
	var refused *oauth.Error
	switch {
	case integrity(err):
		return hinted{err, o.line("remove", rs) + " removes it here: what cannot be read cannot be revoked"}
	case errors.As(err, &refused) && errors.Is(err, context.DeadlineExceeded):
		return hinted{err, "whether it was revoked is not known; it is still here: try again; " + o.line("logout", "--no-revoke", rs) + " removes it here only"}
	case errors.As(err, &refused), errors.Is(err, keystore.ErrUnavailable):
		return hinted{err, "the login is as it was: try again; " + o.line("logout", "--no-revoke", rs) + " removes it here only"}
	}
	return err
}
