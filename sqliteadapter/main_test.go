package sqliteadapter

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestMain is also the second process of the tests that need one.
func TestMain(m *testing.M) {
	if options := os.Getenv("SQLITEADAPTER_CHILD"); options != "" {
		os.Exit(serve(options))
	}
	os.Exit(m.Run())
}

// serve does what the lines of stdin say, and answers each with one: "ok" and what
// there is to tell, or the error. It keeps to one thread, since strace counts by thread.
func serve(options string) (exit int) {
	runtime.LockOSThread()
	c := child{ctx: context.Background(), keys: adaptertest.KeyFiles(os.Getenv("SQLITEADAPTER_KEYS")), opts: modes[options]}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := c.do(strings.Split(lines.Text(), " "))
		if err != nil {
			fmt.Println(err)
			exit = 1
			continue
		}
		fmt.Println(strings.TrimSpace("ok " + answer))
	}
	if c.a != nil {
		c.a.Close()
	}
	return exit
}

type child struct {
	ctx  context.Context
	keys adaptertest.KeyFiles
	opts Options
	a    *Adapter
}

// do does what the first word says.
func (c *child) do(words []string) (answer string, err error) {
	switch words[0] {
	case "open":
		c.a, err = Open(words[1], c.keys.Unseal, &c.opts)
	case "close":
		err = c.a.Close()
	case "create":
		err = makeStore(c.ctx, c.a, base)
	case "join":
		err = join(c.ctx, c.a, words[1])
	case "put":
		err = put(c.ctx, c.a, words[1], words[2])
	case "puts": // N times
		err = c.times(words[1], func(n int) error { return put(c.ctx, c.a, "one", strconv.Itoa(n)) })
	case "put-and-go-on": // says what is wrong afterwards
		err = put(c.ctx, c.a, "two", "second")
		fmt.Fprint(os.Stderr, c.goOn(err))
	case "delete":
		err = remove(c.ctx, c.a, words[1])
	case "count": // N times
		err = c.times(words[1], func(int) error { return increment(c.ctx, c.a) })
	case "views": // N times
		err = c.times(words[1], func(int) error { _, err := read(c.ctx, c.a); return err })
	case "get":
		var all map[string]string
		all, err = read(c.ctx, c.a)
		answer = all[words[1]]
	case "rekey":
		err = rekey(c.ctx, c.a, words[1])
	case "reset":
		answer, err = c.a.Reset(c.ctx)
	case "half": // an Update that is killed when fn has done its part
		err = c.a.Update(c.ctx, func(w keystore.Writer) error {
			err := putAll(w, map[string]string{words[1]: words[2]})
			fmt.Println("half")
			os.Stdin.Read(make([]byte, 1))
			return err
		})
	default:
		err = fmt.Errorf("%q is no command", words)
	}
	return answer, err
}

// goOn says what is wrong with an adapter after its put of two, which may have failed.
func (c *child) goOn(failed error) string {
	got, err := get(c.ctx, c.a, "two")
	if err != nil || got != "second" && (failed == nil || got != "2") {
		return fmt.Sprintf("after %v a get says %q, %v\n", failed, got, err)
	}
	if err := put(c.ctx, c.a, "three", "3"); failed != nil && err != nil {
		return fmt.Sprintf("after %v the next put: %v\n", failed, err)
	}
	return ""
}

func (c *child) times(n string, fn func(n int) error) error {
	times, err := strconv.Atoi(n)
	for i := 1; err == nil && i <= times; i++ {
		err = fn(i)
	}
	return err
}
