package keystore

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// Secret is a string that must not be seen: a token, a client secret, a
// passphrase. fmt, log/slog and encoding/json print it as "[redacted]"; Reveal
// is the only way out. The zero Secret holds the empty string.
//
// It holds a pointer because fmt calls no methods on unexported fields: a
// Secret deep in somebody's struct prints as an address, never as its text.
// It cannot be compared with ==, which would compare those addresses.
type Secret struct {
	_    [0]func()
	text *string
}

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{text: &s}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the text is empty.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal reports whether both hold the same text. The time it takes does not
// depend on where two texts of one length differ.
func (s Secret) Equal(other Secret) bool {
	a, b := s.Reveal(), other.Reveal() // as []byte they would be copies, which nobody erases
	if len(a) != len(b) {
		return false
	}
	var differ byte
	for i := range len(a) {
		differ |= a[i] ^ b[i]
	}
	return subtle.ConstantTimeByteEq(differ, 0) == 1
}

// Format writes "[redacted]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", also for encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText fails: nothing reads back what MarshalText has written.
func (s *Secret) UnmarshalText([]byte) error {
	return errors.New("a Secret cannot be decoded")
}
