package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// pending is the record of a refresh under way: the proof that the store can be
// written, and what to say if the process is gone when the next one finds it.
type pending struct {
	try
	Spent string `json:"spent"` // SHA-256 of the refresh token, hexadecimal

	// First is the first try with this refresh token of which nothing more was
	// heard: it may have spent it.
	First *try `json:"first,omitempty"`

	// Refused is when the issuer said that the refresh token is dead, Unix time.
	Refused int64 `json:"refused,omitempty"`

	// Answer is the payload of the token that it was spent for, in the spool.
	Answer json.RawMessage `json:"answer,omitempty"`
}

// try is one process's.
type try struct {
	Began int64  `json:"began"` // Unix time
	PID   int    `json:"pid"`
	Host  string `json:"host,omitempty"`
}

func (t try) String() string {
	return fmt.Sprintf("process %d on %s began to renew it at %s and has stored no answer",
		t.PID, t.Host, time.Unix(t.Began, 0).UTC().Format(time.RFC3339))
}

func newPending(t Token, now time.Time) pending {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return pending{try: try{now.Unix(), os.Getpid(), host}, Spent: fingerprint(t.RefreshToken)}
}

// after returns p with what found, the record before it, tells of its refresh token.
func (p pending) after(found pending) pending {
	switch {
	case found.Spent != p.Spent:
	case found.First != nil:
		p.First = found.First
	case found.Refused == 0:
		p.First = &found.try
	}
	return p
}

// Look is Get, and says when the issuer said that the login's refresh token is dead,
// which only a new login mends. Zero: it has not said so.
func (s *Store) Look(ctx context.Context, resourceServer string) (t Token, refused time.Time, err error) {
	key := s.token(resourceServer)
	err = s.view(ctx, "get", key, func(r Reader) error {
		var p pending
		var err error
		t, p, err = readLogin(r, key)
		refused = time.Time{}
		if err == nil && p.Spent == fingerprint(t.RefreshToken) {
			refused = at(p.Refused)
		}
		return err
	})
	return t, refused, err
}

// readLogin returns a token, and the record of a refresh that was begun and not
// finished, if there is one that can be read.
func readLogin(r Reader, key RecordKey) (t Token, p pending, err error) {
	if t, err = getToken(r, key); err != nil {
		return Token{}, pending{}, err
	}
	p, err = getPending(r, pendingKey(key))
	if errors.Is(err, ErrNotFound) || unreadable(err) {
		return t, pending{}, nil
	}
	return t, p, err
}

func fingerprint(refreshToken Secret) string {
	var sum [sha256.Size]byte
	erase.Do(func() { sum = sha256.Sum256([]byte(refreshToken.Reveal())) })
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
	return p.Refused == 0 && p.Spent != fingerprint(Secret{}) && age >= 0 && age < renewalTime
}

func decodePending(payload []byte) (p pending, err error) {
	err = decodeKnown(payload, &p, "began", "pid", "host", "spent", "first", "refused", "answer")
	if err == nil && !inRange(p.Refused) {
		err = corrupt("a time of the record is out of range")
	}
	return p, err
}
