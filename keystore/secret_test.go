package keystore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/globus-keys/globus-keys/keystore"
)

const text = "AgS3cr3tT0k3nValue"

// holder has Secrets where fmt calls no methods: it does so for exported
// fields and elements only.
type holder struct {
	Public  keystore.Secret
	private keystore.Secret
	pointer *keystore.Secret
	deep    struct{ list []keystore.Secret }
	byName  map[string]keystore.Secret
	any     any
}

// places are the values in which a Secret may be printed.
func places() map[string]any {
	s := keystore.NewSecret(text)
	h := holder{Public: s, private: s, pointer: &s, byName: map[string]keystore.Secret{"x": s}, any: s}
	h.deep.list = []keystore.Secret{s}
	token := fullToken(transfer)
	token.AccessToken, token.RefreshToken, token.Extra["x"] = s, s, keystore.NewSecret(`"`+text+`"`)
	return map[string]any{
		"itself": s, "a pointer": &s, "a slice": []keystore.Secret{s}, "an array": [1]keystore.Secret{s},
		"a map": map[string]keystore.Secret{"x": s}, "a struct": h, "a pointer to a struct": &h,
		"a Token": token, "a TokenResponse": response(token),
		"a Content": keystore.Content{Tokens: []keystore.Token{token}, Configs: token.Extra},
		"an any":    any(s), "a reflect.Value": reflect.ValueOf(h), "a channel": make(chan keystore.Secret),
	}
}

// shows reports how out gives text away.
func shows(out string) string {
	bytesOfText := strings.Trim(fmt.Sprint([]byte(text)), "[]")
	for form, encoded := range map[string]string{
		"plain": text, "hexadecimal": hex.EncodeToString([]byte(text)), "base64": base64.StdEncoding.EncodeToString([]byte(text))[:16],
		"bytes": bytesOfText, "hexadecimal with spaces": fmt.Sprintf("% x", text),
	} {
		if strings.Contains(strings.ToLower(out), strings.ToLower(encoded)) {
			return form
		}
	}
	return ""
}

// TestNoVerbShowsASecret tries every verb that could be and every flag.
func TestNoVerbShowsASecret(t *testing.T) {
	for name, value := range places() {
		for verb := rune('!'); verb < 0x7f; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "20", ".3", "-20.5", "[1]", "*"} {
				format := "%" + flags + string(verb)
				args := []any{value}
				if flags == "*" {
					args = []any{7, value}
				}
				if form := shows(fmt.Sprintf(format, args...)); form != "" {
					t.Errorf("%s shows %s in %s", format, name, form)
				}
			}
		}
	}
}

func TestSecretPrintsAsRedacted(t *testing.T) {
	s := keystore.NewSecret(text)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%U"} {
		if got := fmt.Sprintf(format, s); got != "[redacted]" {
			t.Errorf("%s prints %q", format, got)
		}
	}
	if got := fmt.Sprintln(s, &s, s.String(), keystore.Secret{}); got != "[redacted] [redacted] [redacted] [redacted]\n" {
		t.Errorf("Sprintln prints %q", got)
	}
}

func TestLogsShowNoSecret(t *testing.T) {
	for name, value := range places() {
		var out bytes.Buffer
		for _, logger := range []*slog.Logger{
			slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil)),
		} {
			logger.With("with", value).WithGroup("g").Info("message", "value", value, slog.Group("group", "value", value))
			logger.Error("message", "error", fmt.Errorf("wrapped: %v", value))
		}
		log.New(&out, "", 0).Println("message", value)
		if form := shows(out.String()); form != "" {
			t.Errorf("a log shows %s in %s: %s", name, form, &out)
		}
		if !strings.Contains(out.String(), "message") {
			t.Error("nothing was logged")
		}
	}
}

func TestEncodersShowNoSecret(t *testing.T) {
	for name, value := range places() {
		for encoder, encode := range map[string]func(any) ([]byte, error){
			"json": json.Marshal,
			"xml":  xml.Marshal,
			"gob": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := gob.NewEncoder(&b).Encode(v)
				return b.Bytes(), err
			},
			"template": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := template.Must(template.New("").Parse("{{.}} {{printf \"%#v\" .}}")).Execute(&b, v)
				return b.Bytes(), err
			},
		} {
			out, err := encode(value)
			if form := shows(string(out) + fmt.Sprint(err)); form != "" {
				t.Errorf("%s shows %s in %s", encoder, name, form)
			}
		}
	}
	out, err := json.Marshal(struct{ A, B keystore.Secret }{keystore.NewSecret(text), keystore.Secret{}})
	if err != nil || string(out) != `{"A":"[redacted]","B":"[redacted]"}` {
		t.Errorf("json.Marshal: %s, %v", out, err)
	}
}

func TestPanicsShowNoSecret(t *testing.T) {
	defer func() {
		if form := shows(fmt.Sprint(recover())); form != "" {
			t.Errorf("a panic shows the Secret in %s", form)
		}
	}()
	panic(keystore.NewSecret(text))
}

// TestErrorsOfTheStoreShowNoSecret spoils one thing after the other around a
// secret and reads the errors.
func TestErrorsOfTheStoreShowNoSecret(t *testing.T) {
	secret := keystore.NewSecret(text)
	token := func(change func(*keystore.Token)) error {
		tok := fullToken(transfer)
		tok.AccessToken, tok.RefreshToken = secret, secret
		change(&tok)
		return newWorld(t).Put(t.Context(), response(tok))
	}
	parse := func(record string) error {
		_, err := keystore.ParseTokenRecord([]byte(strings.ReplaceAll(record, "SECRET", text)))
		return err
	}
	importOf := func(config string) error {
		_, err := newWorld(t).Import(t.Context(), []keystore.Content{{Namespace: "x",
			Configs: map[string]keystore.Secret{"x": keystore.NewSecret(config)}}}, false)
		return err
	}
	for name, err := range map[string]error{
		"broken UTF-8":         token(func(t *keystore.Token) { t.AccessToken = keystore.NewSecret(text + "\xff") }),
		"too large":            token(func(t *keystore.Token) { t.AccessToken = keystore.NewSecret(strings.Repeat(text, 10_000)) }),
		"bad extra":            token(func(t *keystore.Token) { t.Extra["x"] = keystore.NewSecret(text) }),
		"half a string":        token(func(t *keystore.Token) { t.Extra["x"] = keystore.NewSecret(`"` + text) }),
		"a key twice in extra": token(func(t *keystore.Token) { t.Extra["x"] = keystore.NewSecret(`{"a":"` + text + `","a":1}`) }),
		"a bad end":            token(func(t *keystore.Token) { t.ExpiresAt = start.AddDate(9000, 0, 0) }),
		"an end that is text":  parse(`{"expires_at_seconds":"SECRET"}`),
		"a token in a list":    parse(`{"access_token":["SECRET"]}`),
		"a token as number":    parse(`{"access_token":1,"x":"SECRET"}`),
		"bad JSON":             parse(`{"access_token":"SECRET`),
		"more than one value":  parse(`{"access_token":"SECRET"}SECRET`),
		"no JSON":              parse(`SECRET`),
		"a key twice":          parse(`{"access_token":"SECRET","access_token":"SECRET"}`),
		"a wrongly-cased key":  parse(`{"Access_Token":"SECRET"}`),
		"a string":             parse(`"SECRET"`),
		"a config not JSON":    importOf(text),
		"half a config":        importOf(`{"a":"` + text),
	} {
		if err == nil {
			t.Errorf("%s is no error", name)
			continue
		}
		var whole strings.Builder
		for e := err; e != nil; e = errors.Unwrap(e) {
			fmt.Fprintf(&whole, "%v\n%+v\n%#v\n", e, e, e)
		}
		if form := shows(whole.String()); form != "" {
			t.Errorf("the error of %s shows the secret in %s: %v", name, form, err)
		}
	}
}

func TestSecretComparesByText(t *testing.T) {
	a, b := keystore.NewSecret(text), keystore.NewSecret(strings.Clone(text))
	if !a.Equal(b) || a.Equal(keystore.NewSecret(text+"x")) || a.Equal(keystore.Secret{}) {
		t.Error("Equal does not compare texts")
	}
	if !keystore.NewSecret("").IsZero() || !keystore.NewSecret("").Equal(keystore.Secret{}) || a.IsZero() {
		t.Error("only the empty text is zero")
	}
	if a.Reveal() != text || (keystore.Secret{}).Reveal() != "" {
		t.Error("Reveal does not return the text")
	}
	if reflect.TypeFor[keystore.Secret]().Comparable() {
		t.Error("== on Secrets compiles, and compares addresses")
	}
}

func TestNothingDecodesIntoASecret(t *testing.T) {
	for _, in := range []string{`"x"`, `{}`, `1`, `[]`} {
		var s keystore.Secret
		if err := json.Unmarshal([]byte(in), &s); err == nil {
			t.Errorf("%s was decoded into a Secret, which then held %q", in, s.Reveal())
		}
	}
}
