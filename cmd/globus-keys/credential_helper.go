package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/helper"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

func (a *app) credentialHelperCommand() *cobra.Command {
	var issuer string
	cmd := &cobra.Command{
		Use:   "credential-helper sdk",
		Short: "Serve the store to a program in another language",
		Long: `Answer requests of the program that has started this one: a JSON object in one line
of standard input, the answer in one line of standard output (docs/helper-protocol.md).
It ends when standard input does.

The program gets access tokens, renewed once for all processes, and handles in place
of refresh tokens, which stay here. "sdk" is the protocol for the Globus SDK's token
storage; the Python package in examples/python speaks it.

New logins that the program stores are of --issuer: those that are there go to the
issuer that they came from, whatever it says.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"sdk"},
		RunE:      func(cmd *cobra.Command, _ []string) error { return a.serveHelper(cmd, issuer) },
	}
	cmd.Flags().StringVar(&issuer, "issuer", "", "`URL` of the issuer of new logins (default Globus Auth)")
	return cmd
}

func (a *app) serveHelper(cmd *cobra.Command, issuer string) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	h := &helping{opened: o, cmd: cmd, issuer: cmp.Or(issuer, globusAuth())}
	if err := (oauth.Provider{Issuer: h.issuer, TokenEndpoint: h.issuer}).Check(); err != nil {
		return usageError{fmt.Errorf("--issuer: %w", err)}
	}
	if h.issuer != globusAuth() {
		a.say("the issuer of new logins is %s", h.issuer)
	}
	return helper.Serve(cmd.Context(), a.in, a.out, h)
}

// helping answers the requests of one program.
type helping struct {
	opened
	cmd      *cobra.Command // another root would reset what its flags have set
	issuer   string
	provider oauth.Provider // the issuer's; zero: not asked yet
}

// operations are what can be asked, of the store in the namespace of the request.
var operations = map[string]func(*helping, context.Context, opened, helper.Request) (helper.Answer, error){
	"hello":         (*helping).hello,
	"get":           (*helping).get,
	"list":          (*helping).list,
	"put":           (*helping).put,
	"remove":        (*helping).removeLogin,
	"refresh":       (*helping).renew,
	"logout":        (*helping).logout,
	"namespaces":    (*helping).namespaces,
	"config-get":    (*helping).getConfig,
	"config-put":    (*helping).putConfig,
	"config-remove": (*helping).removeConfig,
	"config-list":   (*helping).configs,
}

// Do implements helper.Handler.
func (h *helping) Do(ctx context.Context, r helper.Request) (helper.Answer, error) {
	o := h.opened
	o.store = h.store.In(r.Namespace)
	return operations[r.Op](h, ctx, o, r)
}

// Explain implements helper.Handler.
func (h *helping) Explain(err error) helper.Failure {
	_, hint := h.outcomeOf(h.cmd, err)
	var said []string
	for _, e := range apart(err) {
		said = append(said, e.Error())
	}
	hint = inEnvironment.Replace(h.spelled(hint))
	return helper.Failure{Code: helper.Code(err), Message: clean(strings.Join(said, "; ")), Hint: clean(hint)}
}

// inEnvironment turns what a hint says of options into what can be set for a program that
// starts this one: it has no command line of ours.
var inEnvironment = strings.NewReplacer(
	"--passphrase-file FILE", "$GLOBUS_KEYS_PASSPHRASE_FILE",
	"--identity-file FILE", "$GLOBUS_KEYS_IDENTITY_FILE",
)

func (h *helping) hello(context.Context, opened, helper.Request) (helper.Answer, error) {
	return helper.Answer{Program: programVersion(), Store: h.place.String()}, nil
}

func (h *helping) namespaces(ctx context.Context, _ opened, r helper.Request) (helper.Answer, error) {
	kinds := []keystore.Kind{keystore.KindToken}
	if r.Config {
		kinds = append(kinds, keystore.KindConfig)
	}
	names, err := h.store.Namespaces(ctx, kinds...)
	return helper.Answer{Names: names}, err
}

func (h *helping) getConfig(ctx context.Context, o opened, r helper.Request) (a helper.Answer, err error) {
	var value json.RawMessage
	if err = o.store.GetConfig(ctx, r.Name, &value); errors.Is(err, keystore.ErrNotFound) {
		return a, nil
	}
	return helper.Answer{Value: value}, err
}

func (h *helping) putConfig(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	return helper.Answer{}, o.store.PutConfig(ctx, r.Name, r.Value)
}

func (h *helping) removeConfig(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	return changed(o.store.DeleteConfig(ctx, r.Name))
}

func (h *helping) configs(ctx context.Context, o opened, _ helper.Request) (helper.Answer, error) {
	names, err := o.store.Configs(ctx)
	return helper.Answer{Names: names}, err
}
