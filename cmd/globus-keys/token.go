package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

var tokenFormats = []string{"raw", "header", "json", "env"}

func (a *app) tokenCommand() *cobra.Command {
	var format string
	var minTTL time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "token RESOURCE_SERVER",
		Short: "Print the access token of a login",
		Long: `Print the access token of one resource server, or of a service by its short
name: ` + strings.Join(oauth.Aliases(), ", ") + `.

An access token that has expired, or is about to, is renewed first: once, however
many processes ask. If that fails one that is good for a while yet is printed. Else
the exit code is 4 if only a new login helps, 6 if the issuer cannot be reached; it
is 8 if the token does not last for --min-ttl.`,
		Example: `  curl -H "$(globus-keys token transfer --format header)" https://transfer.api.globus.org/v0.10/endpoint_search`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "json"
			}
			if !slices.Contains(tokenFormats, format) {
				return usageError{fmt.Errorf("--format is one of %s", strings.Join(tokenFormats, ", "))}
			}
			return a.token(cmd.Context(), oauth.ResourceServer(args[0]), format, minTTL)
		},
		ValidArgsFunction: a.completeResourceServer,
	}
	cmd.Flags().StringVar(&format, "format", "raw", "`form` of the answer: raw, header, json or env")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as --format json")
	cmd.Flags().Var(period{to: &minTTL, flag: "min-ttl", such: "5m", max: forever}, "min-ttl", "how long it must be good at least, such as 5m (default: a minute, or half of its life)")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(tokenFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) token(ctx context.Context, resourceServer, format string, minTTL time.Duration) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	var notRenewed error
	t, err := o.source(resourceServer, minTTL, func(err error) { notRenewed = err }).Get(ctx)
	if errors.Is(err, keystore.ErrNotFound) {
		return o.elsewhere(ctx, resourceServer, err)
	}
	if err != nil {
		return o.loginHint(ctx, resourceServer, err)
	}
	if notRenewed != nil {
		o.tellOld(ctx, t, notRenewed)
	}
	left := t.ExpiresAt.Sub(o.store.Now())
	if left < minTTL && errors.Is(notRenewed, keystore.ErrLoginRequired) {
		return o.loginHint(ctx, resourceServer, notRenewed)
	}
	if left < minTTL {
		return tooShort(resourceServer, left, notRenewed)
	}
	return a.printToken(t, format)
}

// tooShort is the error of a token that is not good for long enough.
func tooShort(resourceServer string, left time.Duration, notRenewed error) error {
	hint := "ask for less with --min-ttl"
	if notRenewed != nil {
		hint = "try again, or " + hint
	}
	return hinted{fmt.Errorf("the access token of %q is good for %s only: %w", resourceServer, roughly(left), errTooSoon), hint}
}

// tellOld says that a token is the old one, and why.
func (o opened) tellOld(ctx context.Context, t keystore.Token, why error) {
	o.warn("the access token of %q, %s, was not renewed: %v", t.ResourceServer, validFor(t, o.store.Now()), why)
	var h hinted
	if errors.As(o.loginHint(ctx, t.ResourceServer, why), &h) {
		o.advise(h.hint)
	}
}

// elsewhere adds to "not found" where the resource server's login is, or how one
// logs in there.
func (o opened) elsewhere(ctx context.Context, resourceServer string, notFound error) error {
	namespaces, err := o.store.Namespaces(ctx)
	if err != nil {
		return notFound
	}
	for _, ns := range namespaces {
		if _, err := o.store.In(ns).Get(ctx, resourceServer); err == nil {
			return hinted{notFound, fmt.Sprintf("{} --namespace %s token %s", shellQuoted(ns), shellQuoted(resourceServer))}
		}
	}
	line := o.loginLine(ctx)
	for _, s := range oauth.Services() {
		if s.ResourceServer == resourceServer {
			line += " --service " + s.Alias
		}
	}
	if len(namespaces) == 0 {
		return hinted{notFound, line + " logs in; {} import globus-cli, or {} import FILE, brings a login in"}
	}
	return hinted{notFound, "{} status shows what is stored; " + line + " logs in"}
}

func (a *app) printToken(t keystore.Token, format string) error {
	if err := checkToken(t); err != nil {
		return err
	}
	access := t.AccessToken.Reveal()
	switch format {
	case "header":
		return a.printf("Authorization: Bearer %s\n", access)
	case "env":
		return a.printf("export GLOBUS_ACCESS_TOKEN=%s\nexport GLOBUS_RESOURCE_SERVER=%s\nexport GLOBUS_ACCESS_TOKEN_EXPIRES_AT=%d\n",
			shellQuoted(access), shellQuoted(t.ResourceServer), t.ExpiresAt.Unix())
	case "json":
		return a.printJSON(struct {
			Schema         int    `json:"schema"`
			ResourceServer string `json:"resource_server"`
			AccessToken    string `json:"access_token"`
			TokenType      string `json:"token_type"`
			Scope          string `json:"scope"`
			ExpiresAt      int64  `json:"expires_at_seconds"`
		}{1, t.ResourceServer, access, t.TokenType, t.Scope, t.ExpiresAt.Unix()})
	}
	return a.printf("%s\n", access)
}

// checkToken refuses an access token that could end a header line or a shell
// word: RFC 6750 section 2.1 allows visible ASCII only.
func checkToken(t keystore.Token) error {
	visible := func(r rune) bool { return r > ' ' && r < 0x7f }
	if strings.IndexFunc(t.AccessToken.Reveal(), func(r rune) bool { return !visible(r) }) >= 0 {
		err := fmt.Errorf("the access token of %q has characters that no token has: %w", t.ResourceServer, keystore.ErrCorrupt)
		return hinted{err, "log in again with the program that it comes from"}
	}
	return nil
}

// completeResourceServer offers the names in the store, without asking for a key.
func (a *app) completeResourceServer(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeResourceServers(cmd, args, toComplete)
}

// completeResourceServers is the same for commands that take several.
func (a *app) completeResourceServers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	a.noPrompt = true // where names are hidden they need the key
	p, err := a.place()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	p.Adapter().View(cmd.Context(), func(r keystore.Reader) error {
		for key, err := range r.Keys(keystore.KindToken, p.Store().Namespace()) {
			if err != nil {
				return err
			}
			if clean(key.Name) == key.Name && !slices.Contains(args, key.Name) { // the shell prints them as they are
				names = append(names, key.Name)
			}
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
