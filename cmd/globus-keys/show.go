package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

func (a *app) showCommand() *cobra.Command {
	var reveal, asJSON bool
	cmd := &cobra.Command{
		Use:   "show [RESOURCE_SERVER...]",
		Short: "Show what is stored of the logins of a namespace",
		Long: `Show what is stored of the logins of a namespace: of those named, or of all.

Tokens are left out unless --reveal is given; then they are printed as they are
stored, expired or not.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.show(cmd.Context(), args, reveal, asJSON)
		},
		ValidArgsFunction: a.completeResourceServer,
	}
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the tokens too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// shownLogin is one login, as programs get it. Record is the Globus SDK's form
// of it, with the tokens only if they are to be revealed.
type shownLogin struct {
	Namespace string          `json:"namespace"`
	Issuer    string          `json:"issuer,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	Record    json.RawMessage `json:"record"`
}

func (a *app) show(ctx context.Context, args []string, reveal, asJSON bool) error {
	_, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	tokens, failed := pick(ctx, store, args)
	shown := []shownLogin{}
	for _, t := range tokens {
		if !asJSON {
			if err := a.printLogin(t, reveal); err != nil {
				return err
			}
			continue
		}
		record, err := keystore.FormatTokenRecord(hidden(t, reveal))
		if err != nil {
			return err
		}
		shown = append(shown, shownLogin{store.Namespace(), t.Issuer, t.ClientID, record})
	}
	if asJSON {
		if err := a.printJSON(struct {
			Schema int          `json:"schema"`
			Logins []shownLogin `json:"logins"`
		}{1, shown}); err != nil {
			return err
		}
	}
	return failed
}

// pick reads the named logins, or all. A record that cannot be read does not
// hide the others.
func pick(ctx context.Context, store *keystore.Store, args []string) (tokens []keystore.Token, failed error) {
	if len(args) == 0 {
		for t, err := range store.All(ctx) {
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			tokens = append(tokens, t)
		}
		return tokens, failed
	}
	for _, arg := range args {
		t, err := store.Get(ctx, oauth.ResourceServer(arg))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		tokens = append(tokens, t)
	}
	return tokens, failed
}

// hidden is t as it may be shown.
func hidden(t keystore.Token, reveal bool) keystore.Token {
	if reveal {
		return t
	}
	if !t.AccessToken.IsZero() {
		t.AccessToken = keystore.NewSecret(t.AccessToken.String())
	}
	if !t.RefreshToken.IsZero() {
		t.RefreshToken = keystore.NewSecret(t.RefreshToken.String())
	}
	extra := make(map[string]keystore.Secret, len(t.Extra))
	for name := range t.Extra {
		extra[name] = keystore.NewSecret(`"[redacted]"`)
	}
	t.Extra = extra
	return t
}

func (a *app) printLogin(t keystore.Token, reveal bool) error {
	shown := hidden(t, reveal)
	text := fmt.Sprintf("%s\n", clean(t.ResourceServer))
	for _, line := range []struct{ name, value string }{
		{"scope", t.Scope},
		{"identity", t.IdentityID},
		{"issuer", t.Issuer},
		{"client id", t.ClientID},
		{"expires", expiry(t)},
		{"token type", t.TokenType},
		{"access token", shown.AccessToken.Reveal()},
		{"refresh token", shown.RefreshToken.Reveal()},
	} {
		if line.value != "" {
			text += fmt.Sprintf("  %-14s %s\n", line.name, clean(line.value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shown.Extra)) {
		text += fmt.Sprintf("  %-14s %s\n", clean(name), clean(shown.Extra[name].Reveal()))
	}
	return a.printf("%s", text)
}

func expiry(t keystore.Token) string {
	if t.ExpiresAt.IsZero() {
		return "not known"
	}
	return t.ExpiresAt.UTC().Format(time.RFC3339)
}
