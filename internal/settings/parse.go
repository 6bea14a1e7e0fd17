package settings

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/globus-keys/globus-keys/keystore"
)

// file is the text of the file, as it is.
type file struct {
	ClientID string            `toml:"client_id"`
	Issuer   string            `toml:"issuer"`
	Scopes   []string          `toml:"scopes"`
	Sessions map[string]string `toml:"sessions"`
	Hooks    struct {
		OnRefresh *struct {
			program
			Tokens []string `toml:"tokens"`
		} `toml:"on_refresh"`
		OnLoginRequired *program `toml:"on_login_required"`
	} `toml:"hooks"`
}

type program struct {
	Command []string `toml:"command"`
	Timeout string   `toml:"timeout"`
}

// parse reads the text twice: as any TOML, and then as ours.
func parse(data []byte) (*Settings, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write it
	var all map[string]any
	if err := toml.Unmarshal(data, &all); err != nil {
		return nil, notTOML(err)
	}
	if err := exactKeys(all); err != nil {
		return nil, err
	}
	var f file
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, notOurs(err)
	}
	return f.settings()
}

// notTOML leaves out what the parser says, which may quote a value.
func notTOML(err error) error {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return invalid("it is not TOML")
	}
	line, column := at.Position()
	if key := at.Key(); len(key) > 0 {
		return invalid("line %d: %s is given twice", line, dotted(key))
	}
	return invalid("line %d, column %d: this is not TOML", line, column)
}

func notOurs(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		line, _ := unknown.Errors[0].Position()
		return invalid("line %d: there is no key %s", line, dotted(unknown.Errors[0].Key()))
	}
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return invalid("it does not have the form of settings")
	}
	line, _ := at.Position()
	return invalid("line %d: %s takes %s", line, dotted(at.Key()), kind(at.Key()))
}

// kind says what a key takes.
func kind(key toml.Key) string {
	switch name := key[len(key)-1]; {
	case key[0] == "sessions" && len(key) > 1:
		return `a duration like "11h", and a name with dots is written in quotes`
	case name == "scopes" || name == "command" || name == "tokens":
		return "a list of strings"
	case name == "client_id" || name == "issuer" || name == "timeout":
		return "a string"
	}
	return "keys of its own: it is a table"
}

// exactKeys refuses keys that the decoder would take without regard to case:
// for TOML they are others, and may stand beside the right ones.
func exactKeys(table map[string]any) error {
	for key, value := range table {
		if key != strings.ToLower(key) {
			return invalid("there is no key %s: keys are in lower case", dotted(toml.Key{key}))
		}
		if inner, ok := value.(map[string]any); ok && key != "sessions" {
			if err := exactKeys(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// dotted is key as it is shown, cut if it is long.
func dotted(key toml.Key) string {
	const most = 100
	text := strings.Join(key, ".")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

func invalid(format string, args ...any) error {
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf(format, args...)}
}
