package oauth_test

import (
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestSuspend: while the machine sleeps the clock goes on and the uptime does not.
// No token is given past its end, and there is one refresh for each time that it has
// become old, none more.
func TestSuspend(t *testing.T) {
	const working = 10 * time.Minute
	for _, asleep := range []time.Duration{time.Minute, 39 * time.Minute, 49*time.Minute + 30*time.Second, 50 * time.Minute, 5 * time.Hour, 30 * 24 * time.Hour} {
		for name, down := range map[string]bool{"": false, ", issuer down": true} {
			t.Run(asleep.String()+name, func(t *testing.T) {
				w := newRenewed(t, oauthtest.Rotating, 3600)
				s := w.source(nil)
				w.get(s)
				if down {
					w.server.AnswerBadly("503 without a time")
				}
				end, renewed := w.token.ExpiresAt, 0
				for range 5 {
					w.pass(working)
					w.wrong.Add(int64(asleep)) // the uptime is what is wrong
					if old := !w.now().Add(time.Minute).Before(end); old && !down {
						end, renewed = w.now().Add(time.Hour), renewed+1
					}
					over := !w.now().Before(end)
					for range 2 {
						got, err := s.Get(t.Context())
						if (err != nil) != over || err == nil && got.Expired(w.now()) {
							t.Fatalf("over: %v; %v, or a token past its end", over, err)
						}
					}
				}
				if !down {
					w.counted(renewed, 1+renewed)
				}
			})
		}
	}
}

// TestLastUseIsRecorded, from which idle limits count: each renewal moves it, whoever
// has asked for that, and no reading does. When somebody logged in stays.
func TestLastUseIsRecorded(t *testing.T) {
	for name, rotation := range rotations {
		t.Run(name, func(t *testing.T) {
			w := newRenewed(t, rotation, 3600)
			s := w.source(nil)
			used := epoch
			check := func(after string) {
				t.Helper()
				got, err := w.store.Get(t.Context(), transfer)
				w.ok(err)
				if !got.Used.Equal(used) || !got.LoggedIn.Equal(epoch) {
					t.Errorf("after %s it was used at %v, want %v; logged in at %v", after, got.Used, used, got.LoggedIn)
				}
			}
			check("the login")
			w.pass(30 * time.Minute)
			w.get(s)
			check("a reading")
			for _, renew := range []func() error{
				func() error { _, err := s.Get(t.Context()); return err },
				func() error { _, err := s.Renew(t.Context()); return err },
				func() error {
					now, err := w.store.Get(t.Context(), transfer)
					w.ok(err)
					_, err = s.Refused(t.Context(), now.AccessToken)
					return err
				},
			} {
				w.pass(time.Hour)
				used = w.now()
				w.ok(renew())
				check("a renewal")
			}
			w.server.AnswerBadly("closes after the request")
			w.pass(time.Hour)
			s.Get(t.Context())
			check("one that failed")
			w.server.AnswerBadly("")
			w.pass(time.Minute)
			w.login()
			got, err := w.store.Get(t.Context(), transfer)
			w.ok(err)
			if !got.Used.Equal(w.now()) || !got.LoggedIn.Equal(w.now()) {
				t.Errorf("after a new login it was used at %v, logged in at %v, want %v", got.Used, got.LoggedIn, w.now())
			}
		})
	}
}

// TestTokenFromTheFuture, as another machine with another clock has stored it, is good
// if it is not of more than five minutes from now: else the clock was wrong.
func TestTokenFromTheFuture(t *testing.T) {
	for ahead, renewed := range map[time.Duration]int{time.Minute: 0, 4 * time.Minute: 0, 5 * time.Minute: 0, 6 * time.Minute: 1, time.Hour: 1} {
		w := newRenewed(t, oauthtest.Rotating, 3600)
		w.setClock(-ahead)
		for range 3 {
			w.get(w.source(nil)) // as another process has it
		}
		w.counted(renewed, 1+renewed)
	}
}

// TestMinTTLOfAnImportedToken, of which nobody knows how long it was to live.
func TestMinTTLOfAnImportedToken(t *testing.T) {
	for left, renewed := range map[time.Duration]int{31 * time.Minute: 0, 29 * time.Minute: 1} {
		w := newRenewed(t, oauthtest.Rotating, 3600)
		imported := w.token
		imported.Used, imported.LoggedIn = time.Time{}, time.Time{}
		w.ok(w.store.Delete(t.Context(), transfer))
		w.ok(w.store.Put(t.Context(), keystore.TokenResponse{Tokens: []keystore.Token{imported}}))
		w.pass(time.Hour - left)
		w.get(w.source(&oauth.SourceOptions{MinTTL: 30 * time.Minute}))
		w.counted(renewed, 1+renewed)
	}
}
