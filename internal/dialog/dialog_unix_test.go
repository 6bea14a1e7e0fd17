//go:build unix

package dialog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// A pinentry of the tests is this program, which says what its script says for each
// word that it hears. As long as it lives it holds a connection to the test.
const (
	scriptVariable  = "GLOBUS_KEYS_TEST_PINENTRY"
	meetingVariable = "GLOBUS_KEYS_TEST_MEETING"
)

const (
	cancelled = "ERR 83886179 Operation cancelled <Pinentry>"
	secret    = "FakePassphrase"
)

// scripts: what is said for a word; else it is OK. "HELLO" is what it says first.
// <hang> says nothing any more, <die> ends it, <stay> is for the end of the input.
var scripts = map[string]map[string]string{
	"answers":        {"GETPIN": "D Fake%25Pass%0aphrase\nOK"},
	"in pieces":      {"GETPIN": "# a remark\n\nS PASSWORD_FROM_CACHE\nD FakePass\nD phrase\nOK"},
	"bare percent":   {"GETPIN": "D 100%\nOK"},
	"nothing typed":  {"GETPIN": "OK"},
	"knows little":   {"OPTION": "ERR 83886254 Unknown option", "SETTIMEOUT": "ERR 536871187 Unknown IPC command", "GETPIN": "D " + secret + "\nOK"},
	"stays":          {"GETPIN": "D " + secret + "\nOK", "END": "<hang>"},
	"cancelled":      {"GETPIN": cancelled},
	"closed":         {"GETPIN": "S BUTTON_INFO close\n" + cancelled},
	"fully":          {"GETPIN": "ERR 83886278 fully cancelled"},
	"time is over":   {"GETPIN": "ERR 83886142 Timeout <Pinentry>"},
	"needs terminal": {"GETPIN": "S ERROR curses.isatty 83918950\nERR 83918950 Inappropriate ioctl " + secret},
	"says nothing":   {"HELLO": "<hang>"},
	"stops knowing":  {"SETDESC": "<hang>"},
	"nobody answers": {"GETPIN": "<hang>"},
	"garbage first":  {"HELLO": secret},
	"garbage":        {"GETPIN": secret},
	"bad number":     {"GETPIN": "ERR " + secret},
	"long line":      {"GETPIN": "D " + secret + strings.Repeat("x", 5000) + "\nOK"},
	"flood":          {"GETPIN": strings.Repeat("# "+secret+strings.Repeat("x", 900)+"\n", 100)},
	"dies at once":   {"HELLO": "<die>"},
	"dies":           {"GETPIN": "D " + secret + "\n<die>"},
	"twice in one":   {"GETPIN": "D " + secret + "\nS PIN_REPEATED\nOK", "GETPIN 2": "<die>"},
	"twice":          {"GETPIN": "D " + secret + "\nOK", "SETREPEAT": "ERR 536871187 Unknown IPC command"},
	"differs":        {"GETPIN": "D " + secret + "\nOK", "GETPIN 2": "D another\nOK"},
}

func TestMain(m *testing.M) {
	if name := os.Getenv(scriptVariable); name != "" {
		pinentry(scripts[name])
		return
	}
	os.Exit(m.Run())
}

func pinentry(script map[string]string) {
	conn, err := net.Dial("unix", os.Getenv(meetingVariable))
	if err != nil {
		log.Fatal(err)
	}
	say := func(word, usual string) {
		text, ok := script[word]
		if !ok {
			text = usual
		}
		before, dies := strings.CutSuffix(text, "<die>")
		if text == "<hang>" {
			select {}
		}
		if before != "" {
			fmt.Println(before)
		}
		if dies {
			os.Exit(1)
		}
	}
	say("HELLO", "OK Pleased to meet you")
	asked := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Fprintln(conn, lines.Text())
		word, _, _ := strings.Cut(lines.Text(), " ")
		usual := "OK"
		if word == "GETPIN" {
			if asked++; asked > 1 {
				word, usual = fmt.Sprint(word, " ", asked), script["GETPIN"]
			}
		}
		say(word, usual)
	}
	say("END", "")
}

// pinentries are programs that can be asked, and what they heard.
type pinentries struct {
	*testing.T
	meeting net.Listener
}

func newPinentries(t *testing.T) *pinentries {
	t.Helper()
	path := filepath.Join(t.TempDir(), "meeting")
	meeting, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { meeting.Close() })
	t.Setenv(meetingVariable, path)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else every program takes a second more
	return &pinentries{t, meeting}
}

// program is one that follows a script. how is the command line of a shell: $0 is this
// program.
func (p *pinentries) program(script, how string) string {
	p.Helper()
	self, err := os.Executable()
	if err != nil {
		p.Fatal(err)
	}
	if _, ok := scripts[script]; !ok {
		p.Fatalf("no script %q", script)
	}
	path := filepath.Join(p.TempDir(), "pinentry")
	text := fmt.Sprintf("#!/bin/sh\nexport %s='%s'\n%s\n", scriptVariable, script, strings.ReplaceAll(how, "$0", "'"+self+"'"))
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		p.Fatal(err)
	}
	return path
}

// heard waits until the next program that was started is no more, and returns what it
// was told.
func (p *pinentries) heard() []string {
	p.Helper()
	conn := p.arrival()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	text, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.Error("it lives on")
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func (p *pinentries) arrival() net.Conn {
	p.Helper()
	conn, err := p.meeting.Accept()
	if err != nil {
		p.Fatal(err)
	}
	return conn
}

// TestAnswers of all kinds. None that is an error shows what the program has said, and
// no program is left.
func TestAnswers(t *testing.T) {
	once := Question{Text: "a text", Label: "Passphrase:"}
	twice := Question{Text: "a text", Label: "Passphrase:", Repeat: "Again:"}
	quick := limits{person: time.Second, program: time.Minute}
	for script, c := range map[string]struct {
		limits limits
		q      Question
		want   string
		err    error
		say    string
	}{
		"answers":       {defaults, once, "Fake%Pass\nphrase", nil, ""},
		"in pieces":     {defaults, once, secret, nil, ""},
		"bare percent":  {defaults, once, "100%", nil, ""},
		"nothing typed": {defaults, once, "", nil, ""},
		"knows little":  {defaults, once, secret, nil, ""},
		"stays":         {defaults, once, secret, nil, ""},
		"twice in one":  {defaults, twice, secret, nil, ""},
		"twice":         {defaults, twice, secret, nil, ""},

		"cancelled": {defaults, once, "", keystore.ErrDeclined, "cancelled"},
		"closed":    {defaults, once, "", keystore.ErrDeclined, "cancelled"},
		"fully":     {defaults, once, "", keystore.ErrDeclined, "cancelled"},
		"differs":   {defaults, twice, "", ErrDiffer, "differ"},

		"time is over":   {defaults, once, "", keystore.ErrLocked, "nobody has answered the dialog within 2m0s"},
		"nobody answers": {quick, once, "", keystore.ErrLocked, "nobody has answered the dialog within 1s"},
		"says nothing":   {limits{time.Minute, time.Second}, once, "", keystore.ErrLocked, "it does not come up"},
		"stops knowing":  {limits{time.Minute, time.Second}, once, "", keystore.ErrLocked, "it does not come up"},
		"needs terminal": {defaults, once, "", keystore.ErrLocked, "error 83918950"},
		"garbage first":  {defaults, once, "", keystore.ErrLocked, "it does not answer as a pinentry does"},
		"garbage":        {defaults, once, "", keystore.ErrLocked, "it does not answer as a pinentry does"},
		"bad number":     {defaults, once, "", keystore.ErrLocked, "it does not answer as a pinentry does"},
		"long line":      {defaults, once, "", keystore.ErrLocked, "it does not answer as a pinentry does"},
		"flood":          {defaults, once, "", keystore.ErrLocked, "it has ended"},
		"dies at once":   {defaults, once, "", keystore.ErrLocked, "it has ended"},
		"dies":           {defaults, once, "", keystore.ErrLocked, "it has ended"},
	} {
		t.Run(script, func(t *testing.T) {
			p := newPinentries(t)
			got, err := c.limits.ask(t.Context(), []string{p.program(script, "exec $0")}, c.q)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), secret)) {
				t.Errorf("%q, want %q and nothing of what the program says", err, c.say)
			}
			if err == nil && got.Reveal() != c.want {
				t.Errorf("%q, want %q", got.Reveal(), c.want)
			}
			p.heard()
		})
	}
}

// TestDialogIsGoneWithItsCaller, and what it has started, too.
func TestDialogIsGoneWithItsCaller(t *testing.T) {
	for name, how := range map[string]string{"alone": "exec $0", "in a script": "exec 3<&0\n$0 <&3 &\nwait"} {
		t.Run(name, func(t *testing.T) {
			p := newPinentries(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := defaults.ask(ctx, []string{p.program("nobody answers", how)}, Question{})
				ended <- err
			}()
			conn := p.arrival()
			lines := bufio.NewScanner(conn)
			for lines.Scan() && lines.Text() != "GETPIN" {
			}
			if lines.Text() != "GETPIN" {
				t.Fatal("it was not asked")
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it lives on")
			}
		})
	}
}

// TestNextProgram is asked if one cannot show a window, and not if somebody has seen one.
func TestNextProgram(t *testing.T) {
	for first, want := range map[string]string{"needs terminal": secret, "dies": secret, "cancelled": "", "time is over": ""} {
		t.Run(first, func(t *testing.T) {
			p := newPinentries(t)
			programs := []string{filepath.Join(t.TempDir(), "none"), p.program(first, "exec $0"), p.program("in pieces", "exec $0")}
			got, err := defaults.ask(t.Context(), programs, Question{})
			if (err == nil) != (want != "") || got.Reveal() != want {
				t.Errorf("%q, %v, want %q", got.Reveal(), err, want)
			}
		})
	}
}

// TestWhatAProgramHears: lines that it can read, whatever the texts are, and no
// arguments.
func TestWhatAProgramHears(t *testing.T) {
	p := newPinentries(t)
	q := Question{Text: "a 100% store\nGETPIN\r\x1b[2J\u202e", Label: strings.Repeat("%ü", 2000), Error: "wrong"}
	if _, err := defaults.ask(t.Context(), []string{p.program("answers", `[ $# = 0 ] && exec $0`)}, q); err != nil {
		t.Fatal(err)
	}
	heard := p.heard()
	all := strings.Join(heard, "\n")
	for _, want := range []string{"SETDESC a 100%25 store%0AGETPIN\ufffd\ufffd[2J\ufffd\n", "SETERROR wrong\n", "SETTIMEOUT 120\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("it does not hear %q:\n%s", want, all)
		}
	}
	if strings.Count(all, "\nGETPIN") != 1 {
		t.Errorf("it was asked more than once:\n%s", all)
	}
	for _, line := range heard {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}
