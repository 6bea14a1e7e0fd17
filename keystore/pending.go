package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// pending is the record of a refresh under way: the proof that the store can be
// written, and what to say if the process is gone when the next one finds it.
type pending struct {
	Began int64  `json:"began"` // Unix time
	PID   int    `json:"pid"`
	Host  string `json:"host,omitempty"`
	Spent string `json:"spent"` // SHA-256 of the refresh token, hexadecimal

	// Answer is the payload of the token that it was spent for, in the spool.
	Answer json.RawMessage `json:"answer,omitempty"`
}

func (p pending) String() string {
	return fmt.Sprintf("process %d on %s began to renew it at %s and has stored no answer",
		p.PID, p.Host, time.Unix(p.Began, 0).UTC().Format(time.RFC3339))
}

func newPending(t Token, now time.Time) pending {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return pending{Began: now.Unix(), PID: os.Getpid(), Host: host, Spent: fingerprint(t.RefreshToken)}
}

func fingerprint(refreshToken Secret) string {
	sum := sha256.Sum256([]byte(refreshToken.Reveal()))
	return hex.EncodeToString(sum[:])
}

func pendingKey(token RecordKey) RecordKey {
	return RecordKey{Namespace: token.Namespace, Kind: KindPending, Name: token.Name}
}

func encodePending(p pending) ([]byte, error) { return encode(p) }

func getPending(r Reader, key RecordKey) (p pending, err error) {
	payload, err := r.Get(key)
	if err == nil {
		p, err = decodePending(payload)
	}
	return p, err
}

func decodePending(payload []byte) (p pending, err error) {
	err = decodeKnown(payload, &p, "began", "pid", "host", "spent", "answer")
	return p, err
}
