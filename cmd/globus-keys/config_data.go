package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

func (a *app) configDataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config-data",
		Short: "Keep values of a program's own beside its logins",
		Long: `Keep values of a program's own beside its logins: settings, a profile, a client and
its secret. A value is JSON, has a name in a namespace, and is sealed as logins are.

What the Globus SDK's SQLiteAdapter has under store_config is one, by the same name:
import brings those of a file in (auth_client_data of the Globus CLI, say).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configList(), a.configGet(), a.configSet(), a.configRemove())
	return cmd
}

func (a *app) configList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the names of the values in the namespace",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withConfigs(func(o opened) error { return o.listConfigs(cmd.Context(), asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

func (a *app) configGet() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a value",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withConfigs(func(o opened) error { return o.printConfig(cmd.Context(), args[0], raw) })
		},
		ValidArgsFunction: a.completeConfig,
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print a string as it is, without quotes and escapes")
	return cmd
}

func (a *app) configSet() *cobra.Command {
	var file string
	var raw bool
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Store a value, in place of the one of this name",
		Long: `Store a value, in place of the one of this name. It is read from standard input or a
file, never from the command line, which every user of the machine can see.

It has 61,440 bytes at most. JSON that programs do not read alike is refused: with a
key that stands twice in an object, or half of a surrogate pair (\ud800).`,
		Example: "  globus-keys config-data set limits <limits.json\n  pass show proxy | globus-keys config-data set proxy --raw",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.readValue(file, raw)
			if err != nil {
				return err
			}
			return a.withConfigs(func(o opened) error { return o.setConfig(cmd.Context(), args[0], value) })
		},
		ValidArgsFunction: a.completeConfig,
	}
	cmd.Flags().StringVar(&file, "file", "", "read the value from this `file` (default standard input)")
	cmd.Flags().BoolVar(&raw, "raw", false, "the value is text, and is stored as a JSON string; a line break at its end is left out")
	return cmd
}

func (a *app) configRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a value",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withConfigs(func(o opened) error { return o.removeConfig(cmd.Context(), args[0]) })
		},
		ValidArgsFunction: a.completeConfig,
	}
}

func (a *app) withConfigs(do func(opened) error) error {
	o, err := a.openStore()
	if err != nil {
		return err
	}
	defer o.close()
	err = do(o)
	if errors.Is(err, keystore.ErrNotFound) {
		return hinted{err, o.line("config-data", "list") + " shows which there are; {} namespaces --include-config shows where"}
	}
	return err
}

func (o opened) listConfigs(ctx context.Context, asJSON bool) error {
	names, err := o.store.Configs(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return o.printJSON(struct {
			Schema    int      `json:"schema"`
			Namespace string   `json:"namespace"`
			Names     []string `json:"names"`
		}{1, o.store.Namespace(), names})
	}
	for _, name := range names {
		if err := o.printf("%s\n", clean(name)); err != nil {
			return err
		}
	}
	return nil
}

func (o opened) printConfig(ctx context.Context, name string, raw bool) error {
	if !raw {
		var value json.RawMessage
		if err := o.store.GetConfig(ctx, name, &value); err != nil {
			return err
		}
		return o.printf("%s\n", value)
	}
	var text *string // null is no string
	err := o.store.GetConfig(ctx, name, &text)
	switch {
	case errors.Is(err, keystore.ErrInvalid) || err == nil && text == nil:
		return usageError{fmt.Errorf("the value of %q is no string: leave --raw out", name)}
	case err != nil:
		return err
	case isTerminal(o.out):
		return o.printf("%s\n", *text)
	}
	_, err = fmt.Fprintln(o.out, *text) // as it is: it may be a key, or anything else
	return err
}

func (o opened) setConfig(ctx context.Context, name string, value any) error {
	if err := o.store.PutConfig(ctx, name, value); err != nil {
		return err
	}
	o.say("stored configuration value %q in namespace %q", name, o.store.Namespace())
	o.nextUnlock()
	return nil
}

func (o opened) removeConfig(ctx context.Context, name string) error {
	if err := o.store.DeleteConfig(ctx, name); err != nil {
		return err
	}
	o.say("removed configuration value %q from namespace %q", name, o.store.Namespace())
	return nil
}

// readValue reads JSON, or a text, of which an error shows no more than a key that stands twice: it may be a secret.
func (a *app) readValue(file string, raw bool) (any, error) {
	text, err := a.readText(file)
	switch {
	case err != nil:
		return nil, err
	case len(text) > keystore.MaxPayload:
		return nil, &keystore.Error{Err: keystore.ErrTooLarge, Detail: fmt.Sprintf("the value has more than %d bytes", keystore.MaxPayload)}
	case !utf8.Valid(text):
		return nil, usageError{errors.New("the value is not UTF-8")}
	case raw:
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	}
	if err := strictjson.Check(text); err != nil { // other programs, and import, refuse or misread it
		return nil, hinted{usageError{fmt.Errorf("the value is not one JSON value that all programs read alike: %w", err)}, "a text is stored as it is with --raw"}
	}
	return json.RawMessage(text), nil
}

func (a *app) readText(file string) ([]byte, error) {
	from := a.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, foreign{err}
		}
		defer f.Close()
		from = f
	} else if term.IsTerminal(int(a.in.Fd())) { // where it would be shown as it is typed
		return nil, usageError{errors.New("the value is read from standard input, which is the terminal: name a file with --file, or use a pipe")}
	}
	text, err := io.ReadAll(io.LimitReader(from, keystore.MaxPayload+1))
	if err != nil {
		return nil, foreign{fmt.Errorf("read the value: %w", err)}
	}
	return text, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// completeConfig offers the names of the values, without asking for a key.
func (a *app) completeConfig(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.noPrompt = true
	_, store, err := a.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer store.Close()
	names, _ := store.Configs(cmd.Context()) // none, if that needs the key
	shown := func(name string) bool { return clean(name) == name }
	return slices.DeleteFunc(names, func(name string) bool { return !shown(name) }), cobra.ShellCompDirectiveNoFileComp
}
