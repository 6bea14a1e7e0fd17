package hook

import (
	"bytes"
	"io"
	"strings"
	"unicode"
)

// maxOutput is how much of a program's output is kept, in bytes.
const maxOutput = 64 << 10

// output keeps the beginning of what is written to it, and takes the rest: a
// program that writes much is not to be stopped by that.
type output struct {
	kept bytes.Buffer
	more bool
}

func (o *output) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-o.kept.Len())
	o.kept.Write(p[:n])
	o.more = o.more || n < len(p)
	return len(p), nil
}

// show writes what was kept to w, as whole lines.
func (o *output) show(w io.Writer) {
	text := strings.Map(printable, o.kept.String())
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if o.more {
		text += "[there is more, which is not shown]\n"
	}
	if text != "" {
		io.WriteString(w, text)
	}
}

// printable replaces what a terminal would act upon.
func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\t' || unicode.IsPrint(r):
		return r
	case r == '\r': // of a line end, on Windows
		return -1
	}
	return unicode.ReplacementChar
}
