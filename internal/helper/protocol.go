// Package helper is the wire of `globus-keys credential-helper`: one JSON request
// per line, one answer per line, as docs/helper-protocol.md has it. It knows what a
// request looks like and serves them one by one; what they do is its caller's.
package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// Version of the protocol.
const Version = 1

// MaxLine is how long a request or an answer may be, in bytes with its LF.
const MaxLine = 1 << 20

// Request is what a client asks. Fields that its operation does not have are zero.
type Request struct {
	ID             int64             `json:"id"` // comes back in the answer
	Op             string            `json:"op"`
	Namespace      string            `json:"namespace"`
	ResourceServer string            `json:"resource_server"`
	Had            string            `json:"had"` // the handle that the client has
	ClientID       string            `json:"client_id"`
	Records        []json.RawMessage `json:"records"`
	After          string            `json:"after"`
	Name           string            `json:"name"`
	Value          json.RawMessage   `json:"value"`
	Config         bool              `json:"include_config"`
}

// fields are what a request of each operation has, beside v, id and op.
var fields = map[string][]string{
	"hello":         {},
	"get":           {"namespace", "resource_server"},
	"list":          {"namespace", "after"},
	"put":           {"namespace", "client_id", "records"},
	"remove":        {"namespace", "resource_server"},
	"refresh":       {"namespace", "resource_server", "had"},
	"logout":        {"namespace", "resource_server", "had"},
	"namespaces":    {"include_config"},
	"config-get":    {"namespace", "name"},
	"config-put":    {"namespace", "name", "value"},
	"config-remove": {"namespace", "name"},
	"config-list":   {"namespace"},
}

// decode reads one line. Every field of the operation has to be there, once and in
// its own case, and no other. If there is an id it is returned with the error too,
// so that the client knows what was refused. No error quotes a value.
func decode(line []byte) (r Request, err error) {
	if err := strictjson.Check(line); err != nil {
		return r, invalid(err.Error())
	}
	var found map[string]json.RawMessage
	if json.Unmarshal(line, &found) != nil || found == nil {
		return r, invalid("it is not a JSON object")
	}
	if json.Unmarshal(found["id"], &r.ID) != nil {
		return r, invalid("it has no id that is a whole number")
	}
	var version int
	if json.Unmarshal(found["v"], &version) != nil || version != Version {
		return r, invalid(fmt.Sprintf("it is not of version %d of the protocol", Version))
	}
	json.Unmarshal(found["op"], &r.Op)
	wanted, known := fields[r.Op]
	if !known {
		return r, invalid("the operation is not known")
	}
	if err := exactly(found, append([]string{"v", "id", "op"}, wanted...)); err != nil {
		return r, err
	}
	if json.Unmarshal(line, &r) != nil {
		return r, invalid("a field is not of its type")
	}
	return r, nil
}

// exactly reports an error unless found has these fields, none of them null, and no
// others.
func exactly(found map[string]json.RawMessage, names []string) error {
	for _, name := range names {
		if raw, ok := found[name]; !ok || string(raw) == "null" && name != "value" {
			return invalid(fmt.Sprintf("the field %q is missing", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(names, name) {
			return invalid("it has a field that is not known")
		}
	}
	return nil
}

func invalid(detail string) error {
	return &keystore.Error{Op: "read the request", Err: keystore.ErrInvalid, Detail: detail}
}

// Answer is what a request has come to. Fields that are zero are left out.
type Answer struct {
	Version int      `json:"v"`
	ID      int64    `json:"id"`
	Error   *Failure `json:"error,omitempty"`

	Program string `json:"program,omitempty"` // hello: its version
	Store   string `json:"store,omitempty"`   // hello: its name

	Record     json.RawMessage   `json:"record,omitempty"`
	Records    []json.RawMessage `json:"records,omitempty"`
	Unreadable []Unreadable      `json:"unreadable,omitempty"`
	More       string            `json:"more,omitempty"` // ask again, after this one
	Changed    bool              `json:"changed,omitempty"`
	Names      []string          `json:"names,omitempty"`
	Value      json.RawMessage   `json:"value,omitempty"`
}

// Failure is an error for programs and people. It holds no secret.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

// Unreadable is a record that a list leaves out.
type Unreadable struct {
	ResourceServer string `json:"resource_server"`
	Failure
}

// codes are the names of errors; the first match counts.
var codes = []struct {
	is   error
	code string
}{
	{keystore.ErrLoginRequired, "login_required"},
	{keystore.ErrTampered, "tampered"},
	{keystore.ErrNoSeal, "tampered"},
	{keystore.ErrCorrupt, "damaged"},
	{keystore.ErrSubjectMismatch, "other_account"},
	{keystore.ErrDeclined, "declined"},
	{keystore.ErrLocked, "locked"},
	{keystore.ErrBusy, "busy"},
	{keystore.ErrReadOnly, "read_only"},
	{keystore.ErrTooLarge, "too_large"},
	{keystore.ErrInvalid, "invalid"},
	{keystore.ErrNotFound, "not_found"},
	{context.Canceled, "cancelled"},
	{keystore.ErrUnavailable, "unavailable"},
}

// Code names err for programs.
func Code(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return "failed"
}
