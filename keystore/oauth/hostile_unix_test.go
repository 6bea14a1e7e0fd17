//go:build unix

package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestBadAnswersToASource: whatever the issuer answers to a renewal, a login in
// a real store outlives it. What is refused changes no record, and when the issuer
// is itself again another process renews the same login.
func TestBadAnswersToASource(t *testing.T) {
	for _, name := range oauthtest.BadAnswers() {
		want, special := outcomes[name]
		if !special {
			want = refused
		}
		t.Run(name, func(t *testing.T) { renewBadly(t, name, want) })
	}
}

func renewBadly(t *testing.T, name string, want outcome) {
	s, dir, old := storedLogin(t, oauthtest.Static)
	before := records(t, storeAt(t, dir, time.Now))
	requests := &oauth.Options{}
	if want.deadline {
		requests.Timeout = 200 * time.Millisecond
	}
	s.AnswerBadly(name)
	got, err := getAfter(t, dir, 1, requests)
	noLeak(t, err)
	after := records(t, storeAt(t, dir, time.Now))
	switch {
	case !errors.Is(err, want.err):
		t.Fatalf("%v, want %v", err, want.err)
	case err == nil:
		stillOneLogin(t, before, after, old, got)
	case !maps.Equal(before, after):
		t.Errorf("the store has changed: %v, before %v", keysOf(after), keysOf(before))
	}
	if posts := s.Counts().Posts; posts != 2 {
		t.Errorf("%d requests, want the login and one", posts)
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "globus-keys")); err == nil {
		t.Error("something waits in the spool")
	}
	s.AnswerBadly("")
	fresh, err := getAfter(t, dir, 2, nil)
	if err != nil || fresh.AccessToken.Equal(got.AccessToken) || fresh.AccessToken.Equal(old.AccessToken) || !s.Active(fresh.AccessToken.Reveal()) {
		t.Errorf("afterwards the login is not renewed: %v", err)
	}
}

// getAfter is what another process gets when n tokens are over.
func getAfter(t *testing.T, dir string, n int, requests *oauth.Options) (keystore.Token, error) {
	t.Helper()
	now := func() time.Time { return expiry(n) }
	s := oauth.NewSource(storeAt(t, dir, now), transfer, &oauth.SourceOptions{Requests: requests})
	s.SetUptime(now)
	return s.Get(t.Context())
}

// stillOneLogin: a good answer has renewed old's login, which goes where it went
// before, and nothing else.
func stillOneLogin(t *testing.T, before, after map[keystore.RecordKey]string, old, got keystore.Token) {
	t.Helper()
	if len(after) != len(before) || maps.Equal(before, after) {
		t.Errorf("the store has %v, before %v", keysOf(after), keysOf(before))
	}
	if got.ResourceServer != old.ResourceServer || !got.RefreshToken.Equal(old.RefreshToken) || got.Endpoints != old.Endpoints ||
		got.Issuer != old.Issuer || got.ClientID != old.ClientID || got.AccessToken.Equal(old.AccessToken) {
		t.Errorf("the login has become %+v", got)
	}
}

// records are the payloads of all records but those of renewals under way.
func records(t *testing.T, store *keystore.Store) map[keystore.RecordKey]string {
	t.Helper()
	all, err := adaptertest.Records(t.Context(), store.Adapter())
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(all, func(k keystore.RecordKey, _ string) bool { return k.Kind == keystore.KindPending })
	return all
}

func keysOf(all map[keystore.RecordKey]string) []keystore.RecordKey {
	return slices.Collect(maps.Keys(all))
}

// TestSourceBesideAStoppedProcess: one that has a good token gives it, and does not
// wait; one that has none is told whom it waits for. The issuer is not asked.
func TestSourceBesideAStoppedProcess(t *testing.T) {
	s, dir, token := storedLogin(t, oauthtest.Rotating)
	stopped := startRefresher(t, dir)
	done := make(chan struct{})
	duringRefresh(s, func() {
		stopped.cmd.Process.Signal(syscall.SIGSTOP)
		close(done)
	})
	stopped.ask(1)
	<-done
	posts := s.Counts().Posts
	source := oauth.NewSource(refreshStore(t, dir), transfer, nil)
	for range 2 {
		if got, err := source.Get(t.Context()); err != nil || !got.AccessToken.Equal(token.AccessToken) {
			t.Errorf("a token that is good: %v", err)
		}
	}
	now := func() time.Time { return expiry(1) }
	late := oauth.NewSource(storeAt(t, dir, now), transfer, nil)
	late.SetUptime(now)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := late.Get(ctx)
	if pid := fmt.Sprint("pid ", stopped.cmd.Process.Pid); !errors.Is(err, keystore.ErrBusy) || !strings.Contains(err.Error(), pid) {
		t.Errorf("%v, want ErrBusy that names %s", err, pid)
	}
	if now := s.Counts().Posts; now != posts {
		t.Errorf("%d requests in place of the stopped one", now-posts)
	}
	stopped.cmd.Process.Signal(syscall.SIGCONT)
	fresh := stopped.answer()
	if got, err := late.Get(t.Context()); err != nil || got.AccessToken.Reveal() != fresh {
		t.Errorf("when it goes on it has %q, and the other gets another: %v", fresh, err)
	}
	if c := s.Counts(); c.Refreshes != 1 || c.Reuse != 0 {
		t.Errorf("%+v, want one refresh", c)
	}
}
