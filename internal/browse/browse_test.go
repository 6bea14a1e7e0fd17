package browse

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// browserVariable makes a process a browser: it is the file in which it puts
	// its arguments.
	browserVariable = "GLOBUS_KEYS_TEST_BROWSER"
	// openerVariable makes a process one that opens a page and ends: it is the
	// list of browsers.
	openerVariable = "GLOBUS_KEYS_TEST_OPENER"
	// addressVariable is where a browser that stays connects to.
	addressVariable = "GLOBUS_KEYS_TEST_ADDRESS"
)

func TestMain(m *testing.M) {
	if list := os.Getenv(openerVariable); list != "" {
		os.Unsetenv(openerVariable) // in the browser
		if err := Open(context.Background(), page, func(string) string { return list }); err != nil {
			log.Fatal(err)
		}
		os.Exit(0)
	}
	if name := os.Getenv(browserVariable); name != "" {
		browser(name, os.Args[1:])
	}
	os.Exit(m.Run())
}

func browser(name string, args []string) {
	if args[0] == "fail" {
		os.Exit(3)
	}
	os.Stdout.WriteString("a browser talks\n")
	if err := os.WriteFile(name, []byte(strings.Join(args, " ")), 0o600); err != nil {
		os.Exit(4)
	}
	if args[0] == "stay" {
		conn, err := net.Dial("tcp", os.Getenv(addressVariable))
		if err != nil {
			os.Exit(5)
		}
		io.Copy(conn, conn)
	}
	os.Exit(0)
}

const page = "https://issuer.example/authorize?a=b&c=%2Fd;e"

// with returns an environment in which BROWSER is a list of lines; "@" in them is
// a browser that keeps its arguments, and opened what these were.
func with(t *testing.T, lines ...string) (getenv func(string) string, opened func() string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "opened")
	t.Setenv(browserVariable, name)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	list := strings.ReplaceAll(strings.Join(lines, string(os.PathListSeparator)), "@", os.Args[0])
	getenv = func(variable string) string {
		if variable == "BROWSER" {
			return list
		}
		return ""
	}
	return getenv, func() string {
		data, _ := os.ReadFile(name)
		return string(data)
	}
}

func TestBROWSER(t *testing.T) {
	for name, c := range map[string]struct {
		lines  []string
		opened string
		failed string // part of the error
	}{
		"the URL is added":      {[]string{"@ one  two"}, "one two " + page, ""},
		"it has a place":        {[]string{"@ --url=%s x"}, "--url=" + page + " x", ""},
		"in the background":     {[]string{"@ x %s &"}, "x " + page, ""},
		"no shell":              {[]string{"@ $HOME * | y"}, "$HOME * | y " + page, ""},
		"the first that starts": {[]string{"", "/no/such/browser", "@ fail", "@ x", "@ y"}, "x " + page, ""},
		"all fail":              {[]string{"/no/such/browser", "@ fail"}, "", `"/no/such/browser": `},
		"it fails":              {[]string{"@ fail %s"}, "", "exit status 3"},
		"a directory":           {[]string{os.TempDir()}, "", "no browser has opened"},
		"blank":                 {[]string{" ", " & "}, "", "BROWSER names no browser"},
	} {
		t.Run(name, func(t *testing.T) {
			getenv, opened := with(t, c.lines...)
			err := Open(t.Context(), page, getenv)
			if (err == nil) != (c.failed == "") || err != nil && !strings.Contains(err.Error(), c.failed) {
				t.Errorf("%v, want %q", err, c.failed)
			}
			if err != nil && strings.Contains(err.Error(), "issuer.example") {
				t.Errorf("the error has the URL: %v", err)
			}
			if got := opened(); got != c.opened {
				t.Errorf("opened %q, want %q", got, c.opened)
			}
		})
	}
}

// TestBrowserThatStays lives on when the process that has started it ends, and
// writes nothing on its standard output.
func TestBrowserThatStays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	getenv, _ := with(t, "@ stay")
	opener := exec.Command(os.Args[0])
	opener.Env = append(os.Environ(), openerVariable+"="+getenv("BROWSER"), addressVariable+"="+l.Addr().String())
	opener.WaitDelay = 10 * time.Second // for a browser that has its standard output
	if out, err := opener.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v, and this came out: %q", err, out)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	one := make([]byte, 1)
	_, err = conn.Write(one)
	if _, readErr := io.ReadFull(conn, one); err != nil || readErr != nil {
		t.Errorf("the browser is gone: %v, %v", err, readErr)
	}
}

// TestErrorsDoNotShowTheURL, which has the state of a login, wherever a line of
// $BROWSER puts it.
func TestErrorsDoNotShowTheURL(t *testing.T) {
	const target = "https://issuer.example/authorize?state=FakeState"
	for line, named := range map[string]string{
		"%s":                  `"%s": `,
		"%s x":                `"%s": `,
		"/no/such/%s":         `"/no/such/%s": `,
		"no-such-browser?%s":  `"no-such-browser?%s": `,
		"/no/such/browser %s": `"/no/such/browser": `,
	} {
		getenv, _ := with(t, line)
		err := Open(t.Context(), target, getenv)
		if err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("BROWSER=%q: %v", line, err)
		}
		if err != nil && (strings.Contains(err.Error(), "FakeState") || strings.Contains(err.Error(), "issuer.example")) {
			t.Errorf("BROWSER=%q: the error has the URL: %v", line, err)
		}
	}
}

func TestNothingIsOpenedWhenTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	getenv, opened := with(t, "@ x")
	if err := Open(ctx, page, getenv); !errors.Is(err, context.Canceled) || opened() != "" {
		t.Errorf("%v, opened %q", err, opened())
	}
}

func TestURLsThatAreNotOpened(t *testing.T) {
	getenv, opened := with(t, "@ x")
	for _, bad := range []string{"", "-x", "--help", "file:///etc/passwd", "javascript:alert(1)", "issuer.example", "//issuer.example",
		"https:", "https:///x", "https:issuer.example", " https://issuer.example", "https://issuer.example/a b", "https://issuer.example/\n",
		"https://issuer.example/\"x", `https://issuer.example\x`, "https://issuer.example/é", "-https://issuer.example", "https://issuer.example/\x7f"} {
		if err := Open(t.Context(), bad, getenv); err == nil || opened() != "" {
			t.Errorf("%q was opened: %v", bad, err)
		}
	}
}

func TestPossible(t *testing.T) {
	desktop := runtime.GOOS == "windows" || runtime.GOOS == "darwin"
	for env, want := range map[string]bool{
		"":                               desktop,
		"DISPLAY":                        true,
		"WAYLAND_DISPLAY":                true,
		"BROWSER":                        true,
		"SSH_CONNECTION":                 false,
		"SSH_TTY":                        false,
		"SSH_CONNECTION SSH_TTY DISPLAY": !desktop,
		"SSH_CONNECTION WAYLAND_DISPLAY": false,
		"SSH_CONNECTION BROWSER":         true,
	} {
		set := strings.Fields(env)
		got := Possible(func(name string) string {
			for _, s := range set {
				if s == name {
					return "x"
				}
			}
			return ""
		})
		if got != want {
			t.Errorf("with %q: %v", env, got)
		}
	}
}
