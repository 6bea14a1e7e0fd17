package dialog

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/globus-keys/globus-keys/keystore"
)

// The protocol is Assuan's: https://www.gnupg.org/documentation/manuals/assuan.pdf.
// A line has 1,000 bytes; %, line feed and carriage return are escaped.

// maxText is how many bytes of a text are sent: a pinentry refuses longer lines.
const maxText = 900

// escape makes a text a part of a line.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		part := string(r)
		switch {
		case r == '\n':
			part = "%0A"
		case r == '%':
			part = "%25"
		case !unicode.IsPrint(r):
			part = "\ufffd"
		}
		if b.Len()+len(part) > maxText {
			return b.String() + "…"
		}
		b.WriteString(part)
	}
	return b.String()
}

// unescape appends what a data line says. A % that escapes nothing stands for itself:
// pinentry-mac has sent such.
func unescape(to, data []byte) []byte {
	for i := 0; i < len(data); i++ {
		if data[i] == '%' && i+2 < len(data) {
			if n, err := strconv.ParseUint(string(data[i+1:i+3]), 16, 8); err == nil {
				to = append(to, byte(n))
				i += 2
				continue
			}
		}
		to = append(to, data[i])
	}
	return to
}

// reply is what comes before OK.
type reply struct {
	data     []byte
	repeated bool // what was typed was typed twice
}

// reply reads one. A refusal is an error with its number: the text is the program's.
func (p *process) reply() (r reply, err error) {
	for {
		line, err := p.line()
		if err != nil {
			return r, err
		}
		word, rest, _ := bytes.Cut(line, []byte(" "))
		switch string(word) {
		case "OK":
			return r, nil
		case "ERR":
			return r, refusal(string(rest))
		case "D":
			r.data = unescape(r.data, rest) // a long answer has several
		case "S": // the state of things; others than this one are of no use here
			r.repeated = r.repeated || string(rest) == "PIN_REPEATED"
		case "":
		default:
			if word[0] != '#' {
				return r, errGarbage
			}
		}
	}
}

// Codes of libgpg-error, without the number of the program that they come from.
const (
	codeTimeout        = 62
	codeCancelled      = 99
	codeFullyCancelled = 198
)

func refusal(text string) error {
	number, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case err != nil:
		return errGarbage
	case n&0xffff == codeCancelled || n&0xffff == codeFullyCancelled:
		return fmt.Errorf("the dialog was cancelled: %w", keystore.ErrDeclined)
	case n&0xffff == codeTimeout:
		return errSilence
	}
	return refused(n)
}

// refused is the number of an error.
type refused uint32

func (r refused) Error() string { return fmt.Sprintf("it fails with error %d", uint32(r)) }
