package oauth_test

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestSIGKILLAtEverySystemCall of a process that renews: the next one goes on.
// Only a kill between the issuer's answer and the rename may cost the login; then
// it is said when and by which process.
func TestSIGKILLAtEverySystemCall(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s := oauthtest.New(t)
	s.SetRotation(oauthtest.Rotating)
	c := newClient(t, s, nil)
	var token keystore.Token
	before, lost, kept, killed := 0, 0, 0, 0
	points := faultcalls.Walk(t, faultcalls.Kill, faultcalls.Program{
		Fresh: func() string {
			dir, err := os.MkdirTemp(t.TempDir(), "store")
			if err != nil {
				t.Fatal(err)
			}
			token = oneLogin(t, s, c)
			store := storeAt(t, dir, time.Now)
			put(t, store, token)
			store.Close()
			before = s.Counts().Refreshes
			return dir
		},
		Command: func(dir string, tracer []string) *exec.Cmd {
			cmd := refresherCommand(dir, tracer...)
			cmd.Env = append(cmd.Env, faultcalls.Environment()...)
			cmd.Env = append(cmd.Env, refresherVariable+"="+dir)
			cmd.Stdin = strings.NewReader("1\n")
			cmd.Stderr = nil
			return cmd
		},
		Check: func(dir string, acknowledged bool, point string) {
			if !acknowledged {
				killed++
			}
			answered := s.Counts().Refreshes > before
			now := func() time.Time { return expiry(1) }
			store := storeAt(t, dir, now)
			defer store.Close()
			stored, err := store.Get(t.Context(), transfer)
			if err != nil {
				t.Errorf("%s: the store cannot be read: %v", point, err)
				return
			}
			isOld := stored.RefreshToken.Equal(token.RefreshToken)
			source := oauth.NewSource(store, transfer, nil)
			source.SetUptime(now)
			got, err := source.Get(t.Context())
			switch {
			case err == nil && !got.AccessToken.Equal(token.AccessToken):
				kept++
				if refreshes := s.Counts().Refreshes - before; refreshes != 1 {
					t.Errorf("%s: %d refreshes for one expiry", point, refreshes)
				}
			case answered && isOld && !acknowledged && errors.Is(err, keystore.ErrLoginRequired) && named(err):
				lost++
			default:
				t.Errorf("%s: the issuer has answered: %v, the old token is stored: %v; the next process: %v", point, answered, isOld, err)
			}
		},
	})
	t.Logf("%d points, %d kills: %d logins kept, %d lost and named", points, killed, kept, lost)
	if killed < 100 || lost == 0 || lost > killed/4 {
		t.Errorf("%d kills have cost %d logins, want some of a few calls", killed, lost)
	}
}

func named(err error) bool {
	return regexp.MustCompile(`process \d+ on .* began to renew it at \d{4}-`).MatchString(err.Error())
}
