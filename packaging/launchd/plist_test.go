// Package launchd has the launchd agent; here it is checked, without launchd.
package launchd

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const file = "org.globus-keys.agent.plist"

func TestPlist(t *testing.T) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"Label":              strings.TrimSuffix(file, ".plist"),
		"ProgramArguments":   []any{"/usr/local/bin/globus-keys", "agent", "run", "--linger", "0"},
		"RunAtLoad":          true,
		"ProcessType":        "Background",
		"Umask":              0o077,
		"HardResourceLimits": map[string]any{"Core": 0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it says %v, want %v", got, want)
	}
}

// TestParserNotices what launchd would not read, or not as it is meant.
func TestParserNotices(t *testing.T) {
	plist := func(inside string) string { return `<plist version="1.0">` + inside + `</plist>` }
	if _, err := parse(plist(`<dict><key>a</key><true/></dict>`)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"", `<dict/>`, `<plist><dict/></plist>`, plist(``), plist(`<dict/><dict/>`), plist(`<dict>`),
		plist(`<dict><key>a</key></dict>`), plist(`<dict><string>a</string><true/></dict>`),
		plist(`<dict><key>a</key><true/><key>a</key><true/></dict>`),
		plist(`<dict><key>a</key>x<true/></dict>`), plist(`<dict><key>a</key><true>x</true></dict>`),
		plist(`<dict><key>a</key><integer>x</integer></dict>`), plist(`<dict><key>a</key><number>1</number></dict>`),
		plist(`<dict><!-- a -- b --></dict>`), plist(`<dict/>`) + "x", plist(`<dict/>`) + plist(`<dict/>`),
	} {
		if value, err := parse(text); err == nil {
			t.Errorf("%s: %v, want an error", text, value)
		}
	}
}

// element is any element of XML.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

// parse reads a property list.
func parse(text string) (any, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	var list element
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	if rest, err := d.Token(); !errors.Is(err, io.EOF) && !blank(rest) {
		return nil, fmt.Errorf("something follows: %v, %w", rest, err)
	}
	if list.XMLName.Local != "plist" || len(list.Attrs) != 1 || list.Attrs[0].Value != "1.0" || len(list.Children) != 1 {
		return nil, errors.New("it is not a property list with one value")
	}
	return list.Children[0].value()
}

func blank(t xml.Token) bool {
	text, ok := t.(xml.CharData)
	return ok && strings.TrimSpace(string(text)) == ""
}

func (e element) value() (any, error) {
	name := e.XMLName.Local
	if name != "string" && name != "integer" && strings.TrimSpace(e.Text) != "" {
		return nil, fmt.Errorf("there is text in a %s: %q", name, e.Text)
	}
	switch name {
	case "string":
		return e.Text, nil
	case "integer":
		return strconv.Atoi(e.Text)
	case "true", "false":
		return name == "true", nil
	case "array":
		return e.array()
	case "dict":
		return e.dict()
	}
	return nil, fmt.Errorf("there is no type %s", name)
}

func (e element) array() (any, error) {
	var values []any
	for _, child := range e.Children {
		value, err := child.value()
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

func (e element) dict() (any, error) {
	if len(e.Children)%2 != 0 {
		return nil, errors.New("a key has no value")
	}
	values := make(map[string]any)
	for i := 0; i < len(e.Children); i += 2 {
		key := e.Children[i]
		if _, twice := values[key.Text]; twice || key.XMLName.Local != "key" {
			return nil, fmt.Errorf("%s %q is there twice, or is no key", key.XMLName.Local, key.Text)
		}
		value, err := e.Children[i+1].value()
		if err != nil {
			return nil, err
		}
		values[key.Text] = value
	}
	return values, nil
}
