package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

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
	if q.New {
		return a.newInWindow(ctx, string(store))
	}
	ask := dialog.Question{Label: "Passphrase:", Text: "The passphrase opens " + string(store)}
	if q.Wrong {
		ask.Error = "Wrong passphrase."
	}
	return dialog.Ask(ctx, a.getenv, ask)
}

// What is said of a new passphrase that cannot be it, and how often it is.
const (
	underLength = "That is too short."
	unequal     = "The two differ."
	tries       = 3
)

var (
	lengthWanted  = fmt.Sprintf("%d characters or more", local.MinPassphrase)
	errNoneChosen = errors.New("no passphrase was chosen: they were too short, or typed in two ways, three times")
)

func short(s keystore.Secret) bool {
	return utf8.RuneCountInString(s.Reveal()) < local.MinPassphrase
}

func (a *app) newInWindow(ctx context.Context, store string) (keystore.Secret, error) {
	ask := dialog.Question{
		Text:  "A passphrase of " + lengthWanted + " will protect " + store + "\nThere is no way back into it without the passphrase.",
		Label: "New passphrase:", Repeat: "The same again:",
	}
	for range tries {
		answer, err := dialog.Ask(ctx, a.getenv, ask)
		switch {
		case errors.Is(err, dialog.ErrDiffer):
			ask.Error = unequal
		case err == nil && short(answer):
			ask.Error = underLength
		default:
			return answer, err
		}
	}
	return keystore.Secret{}, errNoneChosen
}

func newPassphrase(ctx context.Context, t *terminal, q local.Question) (keystore.Secret, error) {
	about := fmt.Sprintf("A passphrase will protect %s.\nThere is no way back into it without the passphrase.\n", clean(q.Store))
	for range tries {
		first, err := t.secret(ctx, about, "New passphrase, "+lengthWanted+": ")
		if err != nil {
			return first, err
		}
		if short(first) {
			about = underLength + "\n"
			continue
		}
		again, err := t.secret(ctx, "", "The same again: ")
		if err != nil || first.Equal(again) {
			return first, err
		}
		about = unequal + "\n"
	}
	return keystore.Secret{}, errNoneChosen
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
