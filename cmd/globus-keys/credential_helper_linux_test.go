package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/helper"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// client is one end of a helper.
type client struct {
	*home
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	talk bytes.Buffer // standard error; read it when it has ended
	id   int64
	all  strings.Builder // what it has answered
}

func (h *home) helper(args ...string) *client {
	h.Helper()
	c := &client{home: h, cmd: h.command(append([]string{"credential-helper", "sdk"}, args...)...)}
	c.cmd.Stderr = &c.talk
	c.in, _ = c.cmd.StdinPipe()
	out, _ := c.cmd.StdoutPipe()
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	return c
}

// send asks for op with the fields that follow, as JSON.
func (c *client) send(op, fields string) {
	c.Helper()
	c.id++
	if fields != "" {
		fields = "," + fields
	}
	if _, err := fmt.Fprintf(c.in, `{"v":1,"id":%d,"op":%q%s}`+"\n", c.id, op, fields); err != nil {
		c.Fatal(err)
	}
}

func (c *client) answer() (a helper.Answer) {
	c.Helper()
	line, err := c.out.ReadString('\n')
	c.all.WriteString(line)
	if err != nil || json.Unmarshal([]byte(line), &a) != nil || a.ID != c.id {
		c.Fatalf("%q, %v", line, err)
	}
	return a
}

func (c *client) ask(op, fields string) helper.Answer {
	c.Helper()
	c.send(op, fields)
	return c.answer()
}

// end is that of the input.
func (c *client) end() error {
	c.in.Close()
	return c.cmd.Wait()
}

// fields of a record.
func (c *client) record(a helper.Answer) (r struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}) {
	c.Helper()
	if a.Error != nil || json.Unmarshal(a.Record, &r) != nil {
		c.Fatalf("%+v", a)
	}
	return r
}

const transferLogin = `"namespace":"DEFAULT","resource_server":"transfer.api.globus.org"`

// No refresh token comes out, and one that is asked for with an old handle is not
// renewed again.
func TestHelperKeepsRefreshTokens(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	c := h.helper()
	var listed struct {
		Refresh string `json:"refresh_token"`
	}
	if a := c.ask("list", `"namespace":"DEFAULT","after":""`); len(a.Records) != 1 || json.Unmarshal(a.Records[0], &listed) != nil {
		t.Fatalf("%+v", a)
	}
	had := fmt.Sprintf(`%s,"had":%q`, transferLogin, listed.Refresh)
	first := c.record(c.ask("refresh", had))
	again := c.record(c.ask("refresh", had))
	got := c.record(c.ask("get", transferLogin))
	if first != again || first != got || first.Refresh == listed.Refresh || h.issuer.Counts().Refreshes != 1 {
		t.Errorf("%+v, %+v, %+v, %+v", first, again, got, h.issuer.Counts())
	}
	// The resource server has refused it. It is not a minute old: only a new login helps.
	if a := c.ask("refresh", fmt.Sprintf(`%s,"had":%q`, transferLogin, first.Refresh)); a.Error == nil || a.Error.Code != "login_required" || a.Error.Hint == "" {
		t.Errorf("%+v", a)
	}
	if a := c.ask("logout", transferLogin+`,"had":""`); !a.Changed || h.issuer.Active(first.Access) {
		t.Errorf("%+v", a)
	}
	if a := c.ask("refresh", had); a.Error == nil || a.Error.Code != "login_required" {
		t.Errorf("of a login that is gone: %+v", a)
	}
	if err := c.end(); err != nil || strings.Contains(c.all.String()+c.talk.String(), "fake-refresh") {
		t.Errorf("%v: %s%s", err, c.all.String(), c.talk.String())
	}
}

// An access token that was refused, and is older than a minute, is renewed.
func TestHelperRenewsARefusedToken(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	_, store := h.store()
	if err := store.Put(t.Context(), longAgo(t, h.issuer, 3600e9, transferScope)); err != nil {
		t.Fatal(err)
	}
	c := h.helper()
	got := c.record(c.ask("get", transferLogin))
	next := c.record(c.ask("refresh", fmt.Sprintf(`%s,"had":%q`, transferLogin, got.Refresh)))
	if got.Access == next.Access || h.issuer.Counts().Refreshes != 1 {
		t.Errorf("%+v, %+v", got, next)
	}
	c.end()
}

// Whatever a client puts, for whatever issuer its helper was started, a refresh token
// that is stored goes to nobody but the issuer that it came from.
func TestHelperSendsNoRefreshTokenElsewhere(t *testing.T) {
	for name, imported := range map[string]bool{"a login": false, "an imported login": true} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, oauthtest.Static)
			_, store := h.store()
			r := longAgo(t, h.issuer, 100*3600e9, transferScope)
			if imported {
				r.Account.Issuer, r.Tokens[0].Issuer, r.Tokens[0].Endpoints.Token, r.Tokens[0].Endpoints.Revocation = "", "", "", ""
			}
			if err := store.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			other := oauthtest.New(t)
			c := h.helper("--issuer", other.URL)
			for _, more := range []string{``, `,"identity_id":"` + oauthtest.Subject + `"`, `,"expires_at_seconds":1`, `,"refresh_token":null`} {
				c.ask("put", fmt.Sprintf(`"namespace":"DEFAULT","client_id":%q,"records":[{"resource_server":"transfer.api.globus.org","access_token":"fake-access"%s}]`, testClient, more))
				c.ask("get", transferLogin)
			}
			c.ask("logout", transferLogin+`,"had":""`)
			c.end()
			if got := other.Counts(); got.Posts != 0 || got.Revokes != 0 {
				t.Errorf("%+v\n%s", got, c.all.String())
			}
			if !strings.Contains(c.talk.String(), "the issuer of new logins is "+other.URL) {
				t.Error(c.talk.String())
			}
		})
	}
}

// A handle of one person's login gets nothing of another's, in whichever namespace, and
// does not end his login: programs have handles since before somebody else logged in, and
// mix up their storages.
func TestHelperKeepsPersonsApart(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	_, store := h.store()
	put := func(namespace, person string) {
		t.Helper()
		err := store.In(namespace).Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{{
			ResourceServer: "transfer.api.globus.org", IdentityID: person, ExpiresAt: time.Unix(4e9, 0),
			AccessToken: keystore.NewSecret("fake-access-of-" + person), RefreshToken: keystore.NewSecret("fake-refresh-of-" + person),
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("DEFAULT", "alice")
	put("second", "bob")
	c := h.helper()
	had := fmt.Sprintf(`,"had":%q`, c.record(c.ask("get", transferLogin)).Refresh)
	renewed := `"namespace":"DEFAULT","client_id":"","records":[{"resource_server":"transfer.api.globus.org","access_token":"fake-access-of-alice","refresh_token":` + had[len(`,"had":`):] + `}]`
	if a := c.ask("put", renewed); a.Error != nil {
		t.Errorf("what a refresh has brought, which does not say whose it is: %+v", a.Error)
	}
	second := strings.Replace(transferLogin, "DEFAULT", "second", 1)
	refused := func(when, login, whose string) {
		t.Helper()
		if a := c.ask("refresh", login+had); a.Error == nil || a.Error.Code != "other_account" {
			t.Errorf("%s: refresh: %+v", when, a)
		}
		if a := c.ask("logout", login+had); a.Changed || a.Error != nil {
			t.Errorf("%s: logout: %+v", when, a)
		}
		if got := c.record(c.ask("get", login)); got.Access != "fake-access-of-"+whose {
			t.Errorf("%s: %+v", when, got)
		}
	}
	refused("in another namespace", second, "bob")
	if a := c.ask("remove", transferLogin); !a.Changed {
		t.Errorf("%+v", a)
	}
	put("DEFAULT", "carol")
	refused("after another's login", transferLogin, "carol")
	c.end()
}

// A helper that is ended, or whose client is gone, stores what it has spent a refresh
// token for.
func TestHelperEndsAfterItsRefresh(t *testing.T) {
	for name, end := range map[string]func(*client){
		"SIGTERM":      func(c *client) { c.cmd.Process.Signal(syscall.SIGTERM) },
		"end of input": func(c *client) { c.in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, oauthtest.Rotating)
			h.expired()
			c := h.helper()
			h.issuer.BeforeAnswer(func(e oauthtest.Event) {
				if e.Grant == "refresh_token" {
					end(c)
				}
			})
			c.send("get", transferLogin)
			if err := c.cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, c.talk.String())
			}
			_, store := h.store()
			login, err := store.Get(t.Context(), "transfer.api.globus.org")
			if err != nil || h.issuer.Dead(login.RefreshToken.Reveal()) || h.issuer.Counts().Refreshes != 1 {
				t.Errorf("%+v, %v", h.issuer.Counts(), err)
			}
		})
	}
}

// A login of somebody else is refused, and the hint is a command that makes room for it.
func TestHelperSaysHowToMakeRoom(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	c := h.helper("--issuer", h.issuer.URL)
	a := c.ask("put", `"namespace":"DEFAULT","client_id":"","records":[{"resource_server":"transfer.api.globus.org",`+
		`"identity_id":"00000000-fake-4000-8000-000000000002","access_token":"FakeAccess","refresh_token":"FakeRefresh","expires_at_seconds":4000000000}]`)
	hello := c.ask("hello", "")
	c.end()
	if a.Error == nil || a.Error.Code != "other_account" {
		t.Fatalf("%+v", a)
	}
	said, line, found := strings.Cut(a.Error.Hint, "first: globus-keys ")
	if !found || !strings.HasPrefix(said, "nothing was stored, and the program still has the login; use another namespace") ||
		line != "--store "+hello.Store+" --namespace DEFAULT logout --all" {
		t.Errorf("the hint is %q", a.Error.Hint)
	}
	h.must(strings.Fields(line)...)
}

// A program has no command line of ours: the hint names what it can set.
func TestHelperNamesTheEnvironment(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	h.env = slices.DeleteFunc(h.env, func(v string) bool { return strings.HasPrefix(v, "GLOBUS_KEYS_PASSPHRASE_FILE=") })
	store := "file:" + filepath.Join(h.dir, "data", "tokens.json")
	c := h.helper("--store", store)
	c.ask("get", transferLogin)
	a := c.ask("get", transferLogin) // the second time it says the same
	c.end()
	hint := "globus-keys --store " + store + " unlock, in a terminal, opens it for hours; or name a file that holds the passphrase: $GLOBUS_KEYS_PASSPHRASE_FILE"
	if a.Error == nil || a.Error.Code != "locked" || a.Error.Hint != hint {
		t.Errorf("%+v", a.Error)
	}
}
