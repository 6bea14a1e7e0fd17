package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/globus-keys/globus-keys/internal/dialog"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// passphrase asks for a passphrase, a local.Prompt: on the terminal, or, where there is
// none, in a window.
func (a *app) passphrase(ctx context.Context, q local.Question) (keystore.Secret, error) {
	t, err := a.terminal()
	if err != nil && dialog.Possible(a.getenv) {
		return a.inWindow(ctx, q)
	}
	if err != nil {
		return keystore.Secret{}, err
	}
	if q.New {
		return newPassphrase(ctx, t, q)
	}
	question := fmt.Sprintf("Passphrase for %s: ", clean(q.Store))
	if q.Wrong {
		return t.secret(ctx, "Wrong passphrase.\n", question)
	}
	return t.secret(ctx, "", question)
}

// inWindow is told on standard error, too: windows hide behind others.
func (a *app) inWindow(ctx context.Context, q local.Question) (keystore.Secret, error) {
	a.say("answer the dialog that asks for the passphrase")
	const most = 300 // characters, so that what is said beside them is shown
	store := []rune(q.Store)
	if len(store) > most {
		store = append([]rune("…"), store[len(store)-most:]...)
	}
	ask := dialog.Question{Label: "Passphrase:", Text: "The passphrase opens " + string(store)}
	if q.Wrong {
		ask.Error = "Wrong passphrase."
	}
	if q.New {
		ask.Text = "A passphrase of 8 characters or more will protect " + string(store) +
			"\nThere is no way back into it without the passphrase."
		ask.Label, ask.Repeat = "New passphrase:", "The same again:"
	}
	return dialog.Ask(ctx, a.getenv, ask)
}

func newPassphrase(ctx context.Context, t *terminal, q local.Question) (keystore.Secret, error) {
	about := fmt.Sprintf("A passphrase will protect %s.\nThere is no way back into it without the passphrase.\n", clean(q.Store))
	first, err := t.secret(ctx, about, "New passphrase, 8 characters or more: ")
	if err != nil {
		return first, err
	}
	again, err := t.secret(ctx, "", "The same again: ")
	if err == nil && !first.Equal(again) {
		err = fmt.Errorf("the two passphrases differ: %w", keystore.ErrDeclined)
	}
	return first, err
}

// confirm asks a question whose answer must be yes.
func (u ui) confirm(ctx context.Context, question string) error {
	t, err := u.terminal()
	if err != nil {
		return usageError{errors.New("nobody can be asked to confirm: say --yes")}
	}
	answer, err := t.line(ctx, clean(question)+" [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errCancelled
	}
	return nil
}

// terminal is where questions are asked. The error wraps keystore.ErrLocked.
func (u ui) terminal() (*terminal, error) {
	if u.tty == nil || u.tty.open() != nil {
		return nil, fmt.Errorf("there is no terminal to ask for the passphrase: %w", keystore.ErrLocked)
	}
	return u.tty, nil
}
