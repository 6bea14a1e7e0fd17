package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/globus-keys/globus-keys/internal/strictjson"
)

// A token's payload is what the issuer's SDKs write for it, untouched, inside
// what this package adds:
//
//	{"issuer": URL, "client_id": ID, …, "token": {"access_token": …, "scope": …, …}}
//
// so that no field of a foreign record can pass for one of ours.
type tokenRecord struct {
	Issuer             string          `json:"issuer,omitempty"`
	ClientID           string          `json:"client_id,omitempty"`
	TokenEndpoint      string          `json:"token_endpoint,omitempty"`
	RevocationEndpoint string          `json:"revocation_endpoint,omitempty"`
	Grant              string          `json:"grant,omitempty"`
	LoggedIn           int64           `json:"logged_in_at,omitempty"` // Unix time
	Used               int64           `json:"used_at,omitempty"`      // Unix time
	Token              json.RawMessage `json:"token"`
}

var tokenRecordNames = []string{"issuer", "client_id", "token_endpoint", "revocation_endpoint",
	"grant", "logged_in_at", "used_at", "token"}

type accountRecord struct {
	Subject  string `json:"subject,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Username string `json:"username,omitempty"`
}

// tokenFields are the fields of the Globus SDK's token record, version 1 and 2.
// Each reads or writes its place in a Token.
var tokenFields = map[string]struct {
	read  func(*Token, json.RawMessage) error
	write func(Token) any // nil: leave it out
}{
	"resource_server":    text(func(t *Token) *string { return &t.ResourceServer }),
	"scope":              text(func(t *Token) *string { return &t.Scope }),
	"token_type":         text(func(t *Token) *string { return &t.TokenType }),
	"identity_id":        text(func(t *Token) *string { return &t.IdentityID }),
	"access_token":       secret(func(t *Token) *Secret { return &t.AccessToken }),
	"refresh_token":      secret(func(t *Token) *Secret { return &t.RefreshToken }),
	"expires_at_seconds": {readExpiry, writeExpiry},
}

type field = struct {
	read  func(*Token, json.RawMessage) error
	write func(Token) any
}

func text(place func(*Token) *string) field {
	return field{
		func(t *Token, raw json.RawMessage) error { return json.Unmarshal(raw, place(t)) },
		func(t Token) any {
			if s := *place(&t); s != "" {
				return s
			}
			return nil
		},
	}
}

func secret(place func(*Token) *Secret) field {
	return field{
		func(t *Token, raw json.RawMessage) error {
			var s string
			err := json.Unmarshal(raw, &s)
			*place(t) = NewSecret(s)
			return err
		},
		func(t Token) any {
			if s := *place(&t); !s.IsZero() {
				return s.Reveal()
			}
			return nil
		},
	}
}

// maxExpiry keeps times within what every format and arithmetic here can hold:
// the end of the year 9999.
const maxExpiry = 253402300799

// readExpiry takes whole seconds, also written as 1.5e9: some JSON writers
// print integers so. What is not finite, negative or past the year 9999 is
// refused.
func readExpiry(t *Token, raw json.RawMessage) error {
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err != nil {
		return err
	}
	if seconds < 0 || seconds > maxExpiry {
		return fmt.Errorf("out of range")
	}
	if whole := int64(seconds); whole > 0 { // 0 and null: not known
		t.ExpiresAt = time.Unix(whole, 0).UTC()
	}
	return nil
}

func writeExpiry(t Token) any {
	if t.ExpiresAt.IsZero() {
		return nil
	}
	return t.ExpiresAt.Unix()
}

// ParseTokenRecord reads one record of the Globus SDK's token files: a JSON
// object whose unknown fields go to Extra. It does not read the answer of a
// token endpoint, which says expires_in. Null counts as absent. Duplicate
// and wrongly-cased keys are refused, as ErrCorrupt; no error quotes a value.
func ParseTokenRecord(data []byte) (Token, error) {
	fields, err := object(data)
	if err != nil {
		return Token{}, err
	}
	var t Token
	for name, raw := range fields {
		f, known := tokenFields[name]
		switch {
		case known && f.read(&t, raw) != nil:
			return Token{}, corrupt(fmt.Sprintf("field %q of the token record is not of its type", name))
		case known:
		case tokenFieldFolded(name):
			return Token{}, corrupt(fmt.Sprintf("field %q of the token record is wrongly cased", name))
		default:
			if t.Extra == nil {
				t.Extra = make(map[string]Secret)
			}
			t.Extra[name] = NewSecret(string(raw))
		}
	}
	return t, nil
}

func tokenFieldFolded(name string) bool {
	for known := range tokenFields {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// encodeToken makes a payload that decodeToken reads: what would not come back
// as it is, is refused before it is stored.
func encodeToken(key RecordKey, t Token) ([]byte, error) {
	for name := range t.Extra {
		if _, known := tokenFields[name]; known {
			return nil, &Error{Err: ErrInvalid, Detail: fmt.Sprintf("Extra holds the field %q, which has its own place", name)}
		}
	}
	fields := []string{t.Scope, t.TokenType, t.IdentityID, t.Issuer, t.ClientID,
		t.Endpoints.Token, t.Endpoints.Revocation, t.Grant,
		t.AccessToken.Reveal(), t.RefreshToken.Reveal()}
	if err := checkText("token", slices.AppendSeq(fields, maps.Keys(t.Extra))...); err != nil {
		return nil, err
	}
	record, err := FormatTokenRecord(t)
	if err != nil {
		return nil, err
	}
	around, err := encode(tokenRecord{ // token comes last in it, and is null
		t.Issuer, t.ClientID, t.Endpoints.Token, t.Endpoints.Revocation, t.Grant,
		seconds(t.LoggedIn), seconds(t.Used), nil,
	})
	if err != nil {
		return nil, err
	}
	payload := slices.Concat(bytes.TrimSuffix(around, []byte("null}")), record, []byte("}"))
	if _, err := decodeToken(key, payload); err != nil {
		return nil, &Error{Err: ErrInvalid, Detail: err.Error()}
	}
	return payload, nil
}

func decodeToken(key RecordKey, payload []byte) (Token, error) {
	var r tokenRecord
	if err := decodeKnown(payload, &r, tokenRecordNames...); err != nil {
		return Token{}, err
	}
	t, err := ParseTokenRecord(r.Token)
	if err != nil {
		return Token{}, err
	}
	if t.ResourceServer != key.Name {
		return Token{}, corrupt(fmt.Sprintf("the record is of resource server %q", t.ResourceServer))
	}
	if !inRange(r.LoggedIn) || !inRange(r.Used) {
		return Token{}, corrupt("a time of the record is out of range")
	}
	t.Issuer, t.ClientID, t.Grant = r.Issuer, r.ClientID, r.Grant
	t.Endpoints = Endpoints{r.TokenEndpoint, r.RevocationEndpoint}
	t.LoggedIn, t.Used = at(r.LoggedIn), at(r.Used)
	return t, nil
}

// seconds and at turn times into whole seconds and back; zero stays zero.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func at(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func inRange(seconds int64) bool { return seconds >= 0 && seconds <= maxExpiry }

func encodeAccount(a Account) ([]byte, error) {
	if err := checkText("account", a.Subject, a.Issuer, a.ClientID, a.Username); err != nil {
		return nil, err
	}
	return encode(accountRecord(a))
}

// checkText refuses what JSON cannot hold: encoding/json would replace it
// without a word.
func checkText(what string, texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return &Error{Err: ErrInvalid, Detail: "a field of the " + what + " is not valid UTF-8"}
		}
	}
	return nil
}

func decodeAccount(payload []byte) (Account, error) {
	var r accountRecord
	err := decodeKnown(payload, &r, "subject", "issuer", "client_id", "username")
	return Account(r), err
}

// encode is json.Marshal without HTML's escapes, which make texts longer.
func encode(v any) ([]byte, error) {
	var b taken
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, &Error{Err: ErrInvalid, Detail: "the value has no JSON form"}
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// taken takes what encoding/json has written out of its buffer, which goes back into
// a pool. A writer must not do so; this one is that encoder's only.
type taken struct{ bytes.Buffer }

func (t *taken) Write(p []byte) (int, error) {
	defer clear(p)
	return t.Buffer.Write(p)
}

// decodeKnown reads a payload of ours into v, which has just the fields named.
// Another field was written by a later version, and dropping it would lose what
// that version needs.
func decodeKnown(data []byte, v any, names ...string) error {
	fields, err := object(data)
	if err != nil {
		return err
	}
	for name := range fields {
		if !slices.Contains(names, name) {
			return corrupt(fmt.Sprintf("field %q is not known to this version", name))
		}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return corrupt("a field of the record is not of its type")
	}
	return nil
}

// object splits one JSON object; null and other values are refused.
func object(data []byte) (map[string]json.RawMessage, error) {
	if err := strictjson.Check(data); err != nil {
		return nil, corrupt(err.Error())
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		return nil, corrupt("the record is not a JSON object")
	}
	return fields, nil
}

func corrupt(detail string) error { return &Error{Err: ErrCorrupt, Detail: detail} }
