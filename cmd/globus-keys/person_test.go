package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// The programs of the scripts beside globus-keys.

// talkVariable names the file that gets what commands write to standard error.
const talkVariable = "GLOBUS_KEYS_TEST_TALK"

// overheard runs a command whose standard error is written to that file, too.
func overheard(run func() int) int {
	name := os.Getenv(talkVariable)
	if name == "" {
		return run()
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	terminal := os.Stderr
	os.Stderr = w
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.MultiWriter(terminal, file), r)
	}()
	code := run()
	w.Close()
	<-done
	return code
}

// browser is fake-browser URL: it goes where it is sent.
func browser() {
	last, err := visit(os.Args[len(os.Args)-1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(last)
}

// visit follows redirects, and returns the URL at which they end: also if nobody is
// there.
func visit(page string) (last string, err error) {
	last = page
	c := http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		last = r.URL.String()
		return nil
	}}
	resp, err := c.Get(page)
	if err != nil && last != page {
		return last, nil // the paste flow: nobody listens at its end
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return last, err
}

// person is person WHAT COMMAND...: somebody at a terminal who runs the command,
// visits the first URL that it shows, and types what it wants to know: the bare
// "code", or the "url" at which the browser ends; "visit" types nothing, and anything
// else is typed as it is. What the terminal shows goes to standard output.
func person() {
	what := os.Args[1]
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdout = os.Stdout
	talk, err := cmd.StderrPipe()
	if err != nil {
		log.Fatal(err)
	}
	typed, err := atTerminal(cmd, what)
	if err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(talk); lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		page, isURL := strings.CutPrefix(lines.Text(), "globus-keys: http")
		if !isURL {
			continue
		}
		end, err := visit("http" + page)
		if err != nil {
			log.Fatal(err)
		}
		if what != "visit" {
			io.WriteString(typed, answerOf(what, end)+"\n")
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		log.Fatal(err)
	}
}

func answerOf(what, end string) string {
	u, err := url.Parse(end)
	switch {
	case err != nil:
		log.Fatal(err)
	case what == "code":
		return u.Query().Get("code")
	case what == "url":
		return end
	}
	return what
}
