package hook

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// What an Event tells of.
const (
	Refresh       = "refresh"        // a login was renewed, and is stored
	LoginRequired = "login_required" // a login is over; only a new one helps
)

// The names of the secrets that a Command can ask for.
const (
	AccessToken  = "access_token"
	RefreshToken = "refresh_token"
)

// Event is what a hook is told. Its JSON text is described in docs/config.md:
// a field may be added, none changes its meaning as long as Schema stays.
type Event struct {
	Schema         int      `json:"schema"` // 1
	Event          string   `json:"event"`
	Time           int64    `json:"time"` // epoch seconds
	Store          string   `json:"store"`
	Namespace      string   `json:"namespace"`
	ResourceServer string   `json:"resource_server"`
	Scope          string   `json:"scope,omitempty"`
	ExpiresAt      int64    `json:"expires_at_seconds,omitempty"` // of the access token
	Narrowed       []string `json:"narrowed,omitempty"`           // scopes that the login had and has no more
	Reason         string   `json:"reason,omitempty"`             // why a login is required

	// Only a Command that names them gets them.
	AccessToken  keystore.Secret `json:"-"`
	RefreshToken keystore.Secret `json:"-"`
}

// Refreshed is the Event of a login that was renewed at now: t as it is stored.
func Refreshed(store, namespace string, t keystore.Token, narrowed []string, now time.Time) Event {
	e := Event{Schema: 1, Event: Refresh, Time: now.Unix(), Store: store, Namespace: namespace,
		ResourceServer: t.ResourceServer, Scope: t.Scope, Narrowed: narrowed,
		AccessToken: t.AccessToken, RefreshToken: t.RefreshToken}
	if !t.ExpiresAt.IsZero() {
		e.ExpiresAt = t.ExpiresAt.Unix()
	}
	return e
}

// LoginOver is the Event of a login that was found to be over at now.
func LoginOver(store, namespace, resourceServer, reason string, now time.Time) Event {
	return Event{Schema: 1, Event: LoginRequired, Time: now.Unix(), Store: store, Namespace: namespace,
		ResourceServer: resourceServer, Reason: reason}
}

// line is e as one line of JSON, with those of its secrets that tokens names.
func (e Event) line(tokens []string) ([]byte, error) {
	text := struct {
		Event
		AccessToken  string `json:"access_token,omitempty"`
		RefreshToken string `json:"refresh_token,omitempty"`
	}{Event: e}
	if slices.Contains(tokens, AccessToken) {
		text.AccessToken = e.AccessToken.Reveal()
	}
	if slices.Contains(tokens, RefreshToken) {
		text.RefreshToken = e.RefreshToken.Reveal()
	}
	data, err := json.Marshal(text)
	return append(data, '\n'), err
}
