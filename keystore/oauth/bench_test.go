//go:build unix

package oauth_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// BenchmarkAnswerToStore measures how long a kill may cost a login whose refresh
// tokens rotate: from the moment at which the issuer has spent the old one and is
// about to send the answer until the new one is durable. It includes the way of the
// answer over loopback.
func BenchmarkAnswerToStore(b *testing.B) {
	b.Setenv("XDG_RUNTIME_DIR", b.TempDir())
	s := oauthtest.New(b)
	s.SetRotation(oauthtest.Rotating)
	store := refreshStore(b, b.TempDir())
	login := oneLogin(b, s, newClient(b, s, nil))
	put(b, store, login)
	var spent time.Time
	s.BeforeAnswer(func(oauthtest.Event) { spent = time.Now() })
	var windows []time.Duration
	source := oauth.NewSource(store, transfer, &oauth.SourceOptions{
		OnRefresh: func(context.Context, oauth.Refreshed) { windows = append(windows, time.Since(spent)) },
	})
	for b.Loop() {
		if _, err := source.Renew(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(windows)
	b.ReportMetric(float64(windows[len(windows)/2].Microseconds()), "µs-open/median")
	b.ReportMetric(float64(windows[len(windows)-1].Microseconds()), "µs-open/most")
}
