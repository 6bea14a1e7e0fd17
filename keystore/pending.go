package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
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

// renewalTime is how long after its announcement a refresh has stored or spooled its
// answer, with some time to spare. A later one is left by who was killed.
const renewalTime = renewTime + storeTime + 10*time.Second

// Renewing returns the record of a refresh that may be under way at now, by the
// store's clock: the issuer may have been asked, and its answer be stored nowhere yet.
// Until it is, the store's key must not end. What is older than 40 seconds, from the
// future, spends no refresh token or cannot be read does not count.
func Renewing(r Reader, now time.Time) (k RecordKey, underWay bool, err error) {
	for key, err := range r.Keys(KindPending) {
		if err != nil {
			return RecordKey{}, false, err
		}
		p, err := getPending(r, key)
		switch {
		case unreadable(err) || errors.Is(err, ErrNotFound):
		case err != nil:
			return RecordKey{}, false, err
		case p.underWay(now):
			return key, true, nil
		}
	}
	return RecordKey{}, false, nil
}

func (p pending) underWay(now time.Time) bool {
	age := now.Sub(time.Unix(p.Began, 0))
	return p.Spent != fingerprint(Secret{}) && age >= 0 && age < renewalTime
}

func decodePending(payload []byte) (p pending, err error) {
	err = decodeKnown(payload, &p, "began", "pid", "host", "spent", "answer")
	return p, err
}
