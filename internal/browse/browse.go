// Package browse opens a page for a person to see.
//
// [Possible] says whether that makes sense where this process runs, [Open] does
// it. Both fail often and harmlessly: whoever calls them shows the URL as well.
package browse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// grace is how long a browser may take to fail. One that is still there then, or
// has ended well, is taken to have opened the page.
const grace = time.Second

// Possible reports whether a browser can be expected to appear where the person
// sits:
//
//   - if $BROWSER is set, wherever: who sets it over SSH, as editors do that work
//     on a remote machine, has a way to the person's own screen;
//   - else on macOS and Windows, but not in an SSH session;
//   - else elsewhere with a DISPLAY, which SSH forwards, or a WAYLAND_DISPLAY,
//     which it does not and which counts only outside of SSH sessions.
func Possible(getenv func(string) string) bool {
	if getenv("BROWSER") != "" {
		return true
	}
	return atScreen(getenv, getenv("SSH_CONNECTION") != "" || getenv("SSH_TTY") != "")
}

// Open shows the page at target, an http or https URL in ASCII, in a browser:
// the first one that starts and does not fail within a second, of
//
//   - $BROWSER, a list of command lines, separated by colons (on Windows by
//     semicolons), without quotes: what lies between spaces is an argument. "%s"
//     stands for the URL; without one the URL is the last argument;
//   - if it is not set, those that the system has for the purpose.
//
// There is no shell. The browser has no terminal, nothing of what it writes is
// shown, and it goes on when this process ends. Open returns within a second for
// each one that it tries, or when ctx ends. The error names every one that has
// failed, as $BROWSER does, and never shows the URL.
func Open(ctx context.Context, target string, getenv func(string) string) error {
	if err := check(target); err != nil {
		return err
	}
	var failed []string
	for _, line := range browsers(getenv) {
		err := start(ctx, arguments(line, target))
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = append(failed, fmt.Sprintf("%q: %v", strings.Fields(line)[0], reason(err)))
	}
	if len(failed) == 0 {
		return errors.New("BROWSER names no browser")
	}
	return fmt.Errorf("no browser has opened: %s", strings.Join(failed, "; "))
}

// check takes what is a URL to everybody who reads it: there is nothing in it
// that a program could take for an option, or for the end of an argument.
func check(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("only http and https URLs are opened in a browser")
	}
	if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`<>\\^{|}", r) }) {
		return errors.New("a URL to open in a browser has a character that URLs do not have")
	}
	return nil
}

// browsers are the command lines to try, none of them blank.
func browsers(getenv func(string) string) (lines []string) {
	set := getenv("BROWSER")
	if set == "" {
		return system
	}
	for _, line := range strings.Split(set, string(os.PathListSeparator)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), "&") // not ours to wait for, anyway
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func arguments(line, target string) []string {
	args := strings.Fields(line)
	if !strings.Contains(line, "%s") {
		return append(args, target)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "%s", target)
	}
	return args
}

// start returns nil if the program has ended well or is there after the grace.
func start(ctx context.Context, args []string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	cmd := exec.Command(args[0], args[1:]...) // not with ctx: it is to go on
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(grace):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reason is err without the program's name, of which the URL may be a part. Each
// layer of os and exec can have it.
func reason(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
