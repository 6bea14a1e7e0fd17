package legacy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// section is one section of an INI file: key -> value.
type section map[string]string

// parseINI reads the file of fair-research-login: one section per client id,
// with keys <resource server, dots as underscores>__<field>.
func parseINI(data []byte) (*File, error) {
	sections, err := sections(data)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(sections)), section.hasToken) {
		return nil, foreign("it is an INI file, but not a token file; " + expected)
	}
	maps.DeleteFunc(sections, func(_ string, s section) bool { return len(s) == 0 }) // logged out
	var contents []keystore.Content
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		s := sections[name]
		c := keystore.Content{Namespace: name}
		if len(sections) == 1 {
			c.Namespace = keystore.DefaultNamespace
		}
		if c.Tokens, err = s.tokens(c.Namespace); err != nil {
			return nil, err
		}
		c.Account.Issuer, _ = oauth.GlobusIssuer("production")
		if isUUID(name) {
			c.Account.ClientID = name
		} else {
			notes = append(notes, fmt.Sprintf("section %q is not named after a client id: its logins last until they expire", name))
		}
		contents = append(contents, c)
	}
	return newFile("fair-research-login", contents, notes), nil
}

// sections reads what Python's configparser writes, and no more of the many
// things that it reads: "[name]", "key = value", and empty lines. Errors name
// the line, not its text.
func sections(data []byte) (map[string]section, error) {
	if !utf8.Valid(data) {
		return nil, corrupt("not valid UTF-8")
	}
	all := make(map[string]section)
	var current section
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		name, isHeader := header(line)
		key, value, isKey := strings.Cut(line+" ", " = ") // an editor may have cut the space of an empty value
		switch {
		case strings.ContainsFunc(line, unicode.IsControl):
			return nil, corruptf("line %d has a control character", number)
		case isHeader && (name == "DEFAULT" || all[name] != nil):
			return nil, corruptf("line %d: section %q stands twice, or is configparser's own", number, name)
		case isHeader:
			current = make(section)
			all[name] = current
		case !isKey || !isName(key) || current == nil:
			return nil, corruptf("line %d is not a section or key as configparser writes them", number)
		default:
			if err := current.add(key, value); err != nil {
				return nil, corruptf("line %d: %v", number, err)
			}
		}
	}
	return all, nil
}

func header(line string) (name string, ok bool) {
	rest, opened := strings.CutPrefix(line, "[")
	name, closed := strings.CutSuffix(rest, "]")
	return name, opened && closed && name != "" && !strings.Contains(name, "]")
}

// isName reports whether key can be one: configparser folds keys to lower case,
// and a line that begins with white space goes on with the value before it.
func isName(key string) bool {
	return key != "" && key == strings.ToLower(strings.TrimSpace(key)) && !strings.ContainsAny(key, "=:[]#;")
}

func (s section) add(key, value string) error {
	if _, ok := s[key]; ok {
		return fmt.Errorf("key %q stands twice", key)
	}
	// configparser's interpolation: a percent sign is written twice.
	if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") {
		return fmt.Errorf("the value of key %q refers to another", key)
	}
	s[key] = strings.TrimSpace(strings.ReplaceAll(value, "%%", "%"))
	return nil
}

func (s section) hasToken() bool {
	for key := range s {
		if strings.HasSuffix(key, "__access_token") {
			return true
		}
	}
	return false
}

// tokens makes records of the keys that begin alike.
func (s section) tokens(namespace string) ([]keystore.Token, error) {
	grouped := make(map[string]members) // prefix -> its record
	for _, key := range slices.Sorted(maps.Keys(s)) {
		value := s[key]
		prefix, field, ok := strings.Cut(key, "__")
		if !ok || prefix == "" || field == "" || strings.Contains(field, "__") {
			return nil, corruptf("namespace %q: key %q is not one of a token", namespace, key)
		}
		if grouped[prefix] == nil {
			grouped[prefix] = make(members)
		}
		if value != "" { // an empty value is how None is written
			grouped[prefix][field] = iniValue(field, value)
		}
	}
	var tokens []keystore.Token
	for _, prefix := range slices.Sorted(maps.Keys(grouped)) {
		t, err := iniToken(namespace, prefix, grouped[prefix])
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	sortTokens(tokens)
	return tokens, twice(namespace, tokens)
}

// iniToken reads the record under prefix, which must tell its real name: the
// prefix does not, since dots became underscores.
func iniToken(namespace, prefix string, fields members) (keystore.Token, error) {
	name, _ := text(fields["resource_server"])
	if flat := strings.ToLower(strings.ReplaceAll(name, ".", "_")); flat != prefix {
		return keystore.Token{}, corruptf("namespace %q: the keys %s__… are of resource server %q", namespace, prefix, name)
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return keystore.Token{}, corrupt("it has a value without JSON form")
	}
	return record(namespace, name, data)
}

// iniValue is the JSON form of a value: all are strings but the time.
func iniValue(field, value string) json.RawMessage {
	if _, err := strconv.ParseUint(value, 10, 63); err == nil && field == "expires_at_seconds" {
		return json.RawMessage(strings.TrimLeft(value[:len(value)-1], "0") + value[len(value)-1:])
	}
	quoted, _ := json.Marshal(value)
	return quoted
}

func twice(namespace string, tokens []keystore.Token) error {
	for i := 1; i < len(tokens); i++ {
		if tokens[i].ResourceServer == tokens[i-1].ResourceServer {
			return corruptf("namespace %q: resource server %q stands twice", namespace, tokens[i].ResourceServer)
		}
	}
	return nil
}
