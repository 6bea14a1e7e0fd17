package settings

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/globus-keys/globus-keys/internal/hook"
)

const (
	maxText = 4096 // bytes of a string
	maxList = 100  // entries of a list or table
)

// settings checks what f says, key by key.
func (f file) settings() (*Settings, error) {
	s := &Settings{ClientID: f.ClientID, Issuer: f.Issuer, Scopes: f.Scopes}
	err := cmp.Or(
		checkText("client_id", s.ClientID),
		checkText("issuer", s.Issuer),
		checkList("scopes", s.Scopes))
	if err != nil {
		return nil, err
	}
	if s.Sessions, err = sessions(f.Sessions); err != nil {
		return nil, err
	}
	if h := f.Hooks.OnRefresh; h != nil {
		if s.OnRefresh, err = h.hook("hooks.on_refresh", h.Tokens); err != nil {
			return nil, err
		}
	}
	if h := f.Hooks.OnLoginRequired; h != nil {
		if s.OnLoginRequired, err = h.hook("hooks.on_login_required", nil); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func sessions(texts map[string]string) (map[string]time.Duration, error) {
	if len(texts) > maxList {
		return nil, invalid("sessions has more than %d entries", maxList)
	}
	all := make(map[string]time.Duration, len(texts))
	for name, text := range texts {
		key := dotted([]string{"sessions", name})
		if name == "" {
			return nil, invalid("sessions has an entry without a name")
		}
		if err := checkText("a name in sessions", name); err != nil {
			return nil, err
		}
		d, err := duration(key, text)
		if err != nil {
			return nil, err
		}
		all[name] = d
	}
	return all, nil
}

// hook is the program that the table at key names.
func (p program) hook(key string, tokens []string) (c hook.Command, err error) {
	c = hook.Command{Args: p.Command, Timeout: hook.DefaultTimeout, Tokens: tokens}
	if p.Timeout != "" {
		if c.Timeout, err = duration(key+".timeout", p.Timeout); err != nil {
			return c, err
		}
	}
	if c.Timeout > hook.MaxTimeout {
		return c, invalid("%s.timeout is more than %v", key, hook.MaxTimeout)
	}
	return c, cmp.Or(checkCommand(key+".command", c.Args), checkTokens(key+".tokens", tokens))
}

func checkCommand(key string, args []string) error {
	switch {
	case len(args) == 0:
		return invalid("%s is missing: a list of the program's absolute path and its arguments", key)
	case !filepath.IsAbs(args[0]):
		return invalid("%s does not begin with an absolute path: programs are not looked for", key)
	case len(args) > maxList:
		return invalid("%s has more than %d entries", key, maxList)
	}
	for _, arg := range args { // which may be empty
		if err := checkText(key, arg); err != nil {
			return err
		}
	}
	return nil
}

func checkTokens(key string, tokens []string) error {
	for i, name := range tokens {
		if name != hook.AccessToken && name != hook.RefreshToken || slices.Contains(tokens[:i], name) {
			return invalid("%s takes %s and %s, each once", key, hook.AccessToken, hook.RefreshToken)
		}
	}
	return nil
}

func duration(key, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, invalid(`%s is not a duration like "90s", "15m" or "11h"`, key)
	}
	if d <= 0 {
		return 0, invalid("%s is not more than 0", key)
	}
	return d, nil
}

func checkList(key string, list []string) error {
	if len(list) > maxList {
		return invalid("%s has more than %d entries", key, maxList)
	}
	for _, text := range list {
		if text == "" {
			return invalid("%s has an empty entry", key)
		}
		if err := checkText(key, text); err != nil {
			return err
		}
	}
	return nil
}

// checkText checks a string that key holds. It may be empty.
func checkText(key, text string) error {
	switch {
	case len(text) > maxText:
		return invalid("%s has a text of more than %d bytes", key, maxText)
	case strings.ContainsFunc(text, unicode.IsControl):
		return invalid("%s has a control character", key)
	}
	return nil
}
