package hook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/hook"
	"github.com/globus-keys/globus-keys/keystore"
)

// hookVariable makes a process one of the hooks: what it does is its first
// argument.
const hookVariable = "GLOBUS_KEYS_TEST_HOOK"

func TestMain(m *testing.M) {
	if os.Getenv(hookVariable) != "" {
		hooks[os.Args[1]](os.Args[2:])
		os.Exit(0)
	}
	os.Setenv(hookVariable, "1") // for what the tests start
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// hooks are the programs. Those that stay are given an address to connect to: the
// test sees by the connection whether they live.
var hooks = map[string]func(args []string){
	"echo": func([]string) { io.Copy(os.Stdout, os.Stdin) },
	"args": func(args []string) { fmt.Printf("%q", args) },
	"ok":   func([]string) {},
	"exit 3": func([]string) {
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		os.Exit(3)
	},
	"inside": func([]string) { fmt.Println(hook.Inside(os.Getenv), os.Getenv("GLOBUS_KEYS_IN_HOOK")) },
	"controls": func([]string) {
		fmt.Print("a\x1b[31mb\x07\u009bc\u202e\td\r\n\xff")
	},
	"flood": func([]string) {
		page := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
		for range 100 {
			if _, err := os.Stdout.Write(page); err != nil {
				os.Exit(4)
			}
		}
	},
	"hang": func([]string) { time.Sleep(time.Hour) },
	"stay": func(args []string) { stay(args[0]) },
	"fork": func(args []string) {
		startStay(args[0])
		stay(args[0])
	},
	"leave": func(args []string) { startStay(args[0]) },
}

// stay answers on its connection until that ends.
func stay(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		os.Exit(5)
	}
	io.Copy(conn, conn)
}

// startStay starts a process that stays and holds all that this one has open.
func startStay(address string) {
	cmd := exec.Command(os.Args[0], "stay", address)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	apart(cmd)
	if err := cmd.Start(); err != nil {
		os.Exit(6)
	}
}

var token = keystore.Token{ResourceServer: "transfer.api.globus.org", Scope: "a b", ExpiresAt: time.Unix(2_000_000_000, 0),
	AccessToken: keystore.NewSecret("fake-access"), RefreshToken: keystore.NewSecret("fake-refresh")}

var event = hook.Refreshed("file:/s", "DEFAULT", token, []string{"c"}, time.Unix(1_900_000_000, 0))

func command(args ...string) hook.Command {
	return hook.Command{Args: append([]string{os.Args[0]}, args...), Timeout: hook.MaxTimeout}
}

func TestHooks(t *testing.T) {
	big := event
	big.Reason = strings.Repeat("x", 1<<20) // more than a pipe holds
	for name, c := range map[string]struct {
		command hook.Command
		event   hook.Event
		out     string
		err     string // "" is none
	}{
		"none":                  {hook.Command{}, event, "", ""},
		"arguments as they are": {command("args", "$HOME; *", "", "b c"), event, `["$HOME; *" "" "b c"]` + "\n", ""},
		"stdin is not read":     {command("ok"), big, "", ""},
		"it fails":              {command("exit 3"), event, "to stdout\nto stderr\n", "exit status 3"},
		"inside":                {command("inside"), event, "true refresh\n", ""},
		"control characters":    {command("controls"), event, "a\uFFFD[31mb\uFFFD\uFFFDc\uFFFD\td\n\uFFFD\n", ""},
		"there is none":         {hook.Command{Args: []string{filepath.Join(t.TempDir(), "no")}}, event, "", "cannot be started"},
		"a directory":           {hook.Command{Args: []string{t.TempDir()}}, event, "", "cannot be started"},
		"it hangs": {hook.Command{Args: []string{os.Args[0], "hang"}, Timeout: 100 * time.Millisecond}, event, "",
			"stopped, it has not ended within 100ms"},
		"it hangs with a pipe full": {hook.Command{Args: []string{os.Args[0], "hang"}, Timeout: 100 * time.Millisecond}, big, "",
			"stopped, it has not ended within 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := hook.Run(t.Context(), c.command, c.event, &out)
			if out.String() != c.out {
				t.Errorf("it says %q, want %q", out.String(), c.out)
			}
			if c.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), fmt.Sprintf("%q", c.command.Args[0])) {
				t.Errorf("%v, want %q and the program's name", err, c.err)
			}
		})
	}
}

// TestEventShowsWhatTokensNames: a secret reaches the hook that has named it, and
// nobody else, not even who prints the event.
func TestEventShowsWhatTokensNames(t *testing.T) {
	all := map[string]any{"schema": 1., "event": "refresh", "time": 1_900_000_000., "store": "file:/s", "namespace": "DEFAULT",
		"resource_server": "transfer.api.globus.org", "scope": "a b", "expires_at_seconds": 2_000_000_000., "narrowed": []any{"c"},
		"access_token": "fake-access", "refresh_token": "fake-refresh"}
	for _, tokens := range [][]string{nil, {"access_token"}, {"refresh_token"}, {"access_token", "refresh_token"}} {
		c := command("echo")
		c.Tokens = tokens
		want := without(all, "access_token", "refresh_token")
		for _, name := range tokens {
			want[name] = all[name]
		}
		told(t, c, event, want)
	}
	told(t, command("echo"), hook.LoginOver("file:/s", "DEFAULT", "rs", "too old\x1b", time.Unix(1_900_000_000, 0)),
		map[string]any{"schema": 1., "event": "login_required", "time": 1_900_000_000., "store": "file:/s",
			"namespace": "DEFAULT", "resource_server": "rs", "reason": "too old\x1b"})
	text, _ := json.Marshal(event)
	if shown := fmt.Sprintf("%v %+v %#v %s", event, event, event, text); strings.Contains(shown, "fake-") {
		t.Errorf("an event prints as %s", shown)
	}
}

func without(all map[string]any, names ...string) map[string]any {
	rest := make(map[string]any)
	for k, v := range all {
		rest[k] = v
	}
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

func told(t *testing.T, c hook.Command, e hook.Event, want map[string]any) {
	t.Helper()
	var out bytes.Buffer
	if err := hook.Run(t.Context(), c, e, &out); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("not one line of JSON: %q, %v", out.String(), err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tokens %q: told %v, want %v", c.Tokens, got, want)
	}
}

func TestFloodIsTakenAndCut(t *testing.T) {
	var out bytes.Buffer
	if err := hook.Run(t.Context(), command("flood"), event, &out); err != nil {
		t.Fatal(err)
	}
	if n := out.Len(); n < 64<<10 || n > 65<<10 || !strings.HasSuffix(out.String(), "not shown]\n") {
		t.Errorf("%d bytes were shown, ending in %q", n, out.String()[n-50:])
	}
}

func TestErrorsSayNothingOfTheEvent(t *testing.T) {
	for _, args := range [][]string{{os.Args[0], "exit 3"}, {os.Args[0], "hang"}, {filepath.Join(t.TempDir(), "no\x1b")}} {
		c := hook.Command{Args: args, Timeout: 50 * time.Millisecond, Tokens: []string{"access_token", "refresh_token"}}
		err := hook.Run(t.Context(), c, event, io.Discard)
		if err == nil || strings.Contains(err.Error(), "fake-") || strings.Contains(err.Error(), "transfer") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%v", err)
		}
	}
}

func TestProcessesOutsideOfAHookAreNotInside(t *testing.T) {
	if hook.Inside(func(string) string { return "" }) {
		t.Error("inside without the variable")
	}
}

// meeting is where processes that stay connect.
type meeting struct {
	*testing.T
	net.Listener
}

func newMeeting(t *testing.T) meeting {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return meeting{t, l}
}

// arrival is the connection of a process; closing it ends the process.
func (m meeting) arrival() net.Conn {
	conn, err := m.Accept()
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { conn.Close() })
	return conn
}

// lives reports whether the process at the other end answers.
func lives(conn net.Conn) bool {
	one := make([]byte, 1)
	if _, err := conn.Write(one); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, one)
	return err == nil
}

// start runs c until cancel is called.
func start(t *testing.T, c hook.Command) (cancel func(), done chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() { done <- hook.Run(ctx, c, event, io.Discard) }()
	return cancel, done
}

// TestWhatIsLeftRunningIsNotWaitedFor, though it holds the pipes open.
func TestWhatIsLeftRunningIsNotWaitedFor(t *testing.T) {
	m := newMeeting(t)
	cancel, done := start(t, command("leave", m.Addr().String()))
	defer cancel()
	left := m.arrival()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !lives(left) {
		t.Error("what the hook has left running was killed")
	}
}

func TestCancelledHookIsKilled(t *testing.T) {
	m := newMeeting(t)
	cancel, done := start(t, command("stay", m.Addr().String()))
	conn := m.arrival()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if lives(conn) {
		t.Error("the hook lives on")
	}
}
