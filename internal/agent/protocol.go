package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// Version is that of the protocol. An agent refuses others.
const Version = 1

// Limits of the protocol.
const (
	maxLine  = 16 << 10            // bytes of a request or an answer, with its end
	maxFresh = 16                  // new seals of one request
	maxPlace = 160                 // bytes of the name of a store, for people
	MaxTTL   = 30 * 24 * time.Hour // that somebody can ask for
)

// The operations.
const (
	opKeys   = "keys"   // which keys of a store are there
	opDerive = "derive" // the key of a seal that exists
	opNew    = "new"    // salts and keys of new seals
	opUnlock = "unlock" // takes a key
	opLock   = "lock"   // erases keys
	opStatus = "status"
	opStop   = "stop"
)

// request is one line from a client. Which fields an operation has is in
// docs/agent-protocol.md; others are ignored.
type request struct {
	V         int    `json:"v"`
	Op        string `json:"op"`
	Store     string `json:"store,omitempty"`
	KeyID     string `json:"key_id,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Name      string `json:"name,omitempty"`
	Salt      string `json:"salt,omitempty"`
	Count     int    `json:"count,omitempty"`
	Look      bool   `json:"look,omitempty"` // derive: no use of the key

	Key       string `json:"key,omitempty"` // secret
	Recipient string `json:"recipient,omitempty"`
	Place     string `json:"place,omitempty"`
	TTL       int64  `json:"ttl_seconds,omitempty"`
	Idle      int64  `json:"idle_seconds,omitempty"`
	Successor bool   `json:"successor,omitempty"`
}

var requestFields = []string{"v", "op", "store", "key_id", "namespace", "kind", "name", "salt", "count", "look",
	"key", "recipient", "place", "ttl_seconds", "idle_seconds", "successor"}

// answer is one line to a client.
type answer struct {
	V      int    `json:"v"`
	Error  string `json:"error,omitempty"` // one of the codes
	Detail string `json:"detail,omitempty"`

	Key     string        `json:"key,omitempty"` // derive: secret
	Seals   []freshAnswer `json:"seals,omitempty"`
	Keys    []keyAnswer   `json:"keys,omitempty"`
	Changed int           `json:"changed,omitempty"` // lock: how many keys were erased
	PID     int           `json:"pid,omitempty"`
}

type freshAnswer struct {
	Salt string `json:"salt"`
	Key  string `json:"key"` // secret
}

type keyAnswer struct {
	Store     string `json:"store"`
	KeyID     string `json:"key_id"`
	Recipient string `json:"recipient,omitempty"` // not in the answer to status
	Place     string `json:"place,omitempty"`
	Left      int64  `json:"left_seconds"`           // until it is erased, unused or not
	Idle      int64  `json:"idle_seconds,omitempty"` // the limit; 0: none
	IdleLeft  int64  `json:"idle_left_seconds,omitempty"`
}

var answerFields = []string{"v", "error", "detail", "key", "seals", "keys", "changed", "pid", "salt", "store", "key_id",
	"recipient", "place", "left_seconds", "idle_seconds", "idle_left_seconds"}

// The codes of errors.
const (
	codeLocked  = "locked"  // the agent does not have this key
	codeInvalid = "invalid" // no request of this version
	codeBusy    = "busy"    // too many keys
)

// ErrFull is the ErrBusy of an agent that has as many keys as it can hold.
var ErrFull = fmt.Errorf("%w", keystore.ErrBusy)

// codes are what errors become on the wire, and what becomes of them there.
var codes = map[string]error{codeLocked: keystore.ErrLocked, codeInvalid: keystore.ErrInvalid, codeBusy: ErrFull}

func refusal(err error) answer {
	code, detail := codeInvalid, err.Error()
	for c, is := range codes {
		if errors.Is(err, is) {
			code = c
		}
	}
	var e *keystore.Error
	if errors.As(err, &e) && e.Detail != "" {
		detail = e.Detail
	}
	return answer{V: Version, Error: code, Detail: detail}
}

func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	is, known := codes[a.Error]
	if !known {
		is = keystore.ErrUnavailable
	}
	return &keystore.Error{Err: is, Detail: "the agent says: " + a.Detail}
}

func invalid(format string, args ...any) error {
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf(format, args...)}
}

// parseRequest reads one line. No error quotes it: it may hold a key.
func parseRequest(line []byte) (r request, err error) {
	if err := decode(line, &r, requestFields); err != nil {
		return request{}, invalid("this is no request: it is not one JSON object with the fields of version %d", Version)
	}
	if r.V != Version {
		return request{}, invalid("this agent speaks version %d of its protocol, the request is of version %d", Version, r.V)
	}
	return r, nil
}

func parseAnswer(line []byte) (a answer, err error) {
	if err := decode(line, &a, answerFields); err != nil || a.V != Version {
		return answer{}, &keystore.Error{Err: keystore.ErrUnavailable, Detail: fmt.Sprintf("this is no answer of version %d of the protocol", Version)}
	}
	return a, nil
}
