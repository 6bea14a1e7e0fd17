package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Aliases: []string{"list", "ls"},
		Short:   "Show where the store and its key are, and which logins it holds",
		Long: `Show where the store and its key are, and which logins it holds.

Nobody is asked for a passphrase: of a locked store only the names are shown. Of a
store that unlock has opened it is shown until when; looking is no use of it.
The exit code is 7 if a login is damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// storeStatus is the answer, as programs get it.
type storeStatus struct {
	Schema int         `json:"schema"`
	Store  string      `json:"store"`
	Exists bool        `json:"exists"`
	ID     string      `json:"store_id,omitempty"`
	Keys   []keyStatus `json:"keys"`

	Unlocked *unlockedFor `json:"unlocked,omitempty"` // by the agent

	Recovery []string `json:"recovery_recipients,omitempty"` // known if the store is open
	Locked   bool     `json:"locked"`
	Because  string   `json:"locked_because,omitempty"`
	why      error    // the same
	lost     bool     // nothing will open it

	Logins []loginStatus `json:"logins"`
}

type keyStatus struct {
	Kind string `json:"kind"`           // keychain, passphrase, identity-file, none
	Name string `json:"name,omitempty"` // the item or file
	In   string `json:"in,omitempty"`   // which keychain
}

type loginStatus struct {
	Namespace      string `json:"namespace"`
	ResourceServer string `json:"resource_server"`
	State          string `json:"state"` // valid, expired, locked, damaged
	ExpiresAt      int64  `json:"expires_at_seconds,omitempty"`
	Refreshable    bool   `json:"refreshable"`
	UsedAt         int64  `json:"used_at_seconds,omitempty"` // when its issuer last saw its refresh token
	Note           string `json:"note,omitempty"`
}

func (a *app) status(ctx context.Context, asJSON bool) error {
	a.noPrompt = true
	unlocked := a.unlockedStores(ctx)
	p, store, err := a.open()
	if err != nil {
		return err
	}
	defer store.Close()
	st, err := survey(agent.Look(ctx), p, store)
	if err != nil {
		return err
	}
	st.Unlocked = unlocked[st.ID]
	if asJSON {
		err = a.printJSON(st)
	} else {
		err = a.printStatus(st, store.Now())
	}
	if err != nil {
		return err
	}
	if st.lost {
		return st.why
	}
	for _, l := range st.Logins {
		if l.State == "damaged" {
			return fmt.Errorf("the login of %q in namespace %q cannot be read: %w", l.ResourceServer, l.Namespace, keystore.ErrTampered)
		}
	}
	return nil
}

func survey(ctx context.Context, p *local.Place, store *keystore.Store) (storeStatus, error) {
	st := storeStatus{Schema: 1, Store: p.String(), Keys: []keyStatus{}, Logins: []loginStatus{}}
	h, keys, err := names(ctx, p.Adapter(), keystore.KindMeta, keystore.KindToken)
	if err != nil || h.IsZero() {
		return st, err
	}
	st.Exists, st.ID = true, h.StoreID.String()
	if p.Sealed() {
		if len(keys) == 0 || keys[0] != keystore.MetaKey {
			return st, &keystore.Error{Store: p.Path(), Key: keystore.MetaKey, Err: keystore.ErrTampered, Detail: "the record is missing"}
		}
		keys = keys[1:]
		st.recovery(ctx, p)
	}
	st.Keys = keyPlaces(p, h)
	for _, key := range keys {
		l, err := st.login(ctx, store.In(key.Namespace), key)
		if err != nil {
			return st, err
		}
		st.Logins = append(st.Logins, l)
	}
	return st, nil
}

func keyPlaces(p *local.Place, h keystore.Header) []keyStatus {
	name := p.Keychain().Traits().Name
	if !p.Sealed() {
		return []keyStatus{{Kind: "none", In: name}}
	}
	places := []keyStatus{}
	for _, s := range h.Slots {
		place := keyStatus{Kind: string(s.Kind), Name: s.Name}
		if s.Kind == keystore.SlotKeychain {
			place.In = name
		}
		places = append(places, place)
	}
	if len(places) == 0 {
		places = append(places, keyStatus{Kind: "identity-file"})
	}
	return places
}

// recovery opens the store, if nobody has to be asked for that.
func (st *storeStatus) recovery(ctx context.Context, p *local.Place) {
	recipients, err := p.Recovery(ctx)
	switch {
	case isLocked(err):
		st.lock(err)
	case err != nil: // the key is lost, or is not that of the store
		st.lock(err)
		st.lost = true
	}
	st.Recovery = recipients
}

func (st *storeStatus) lock(why error) { st.Locked, st.Because, st.why = true, why.Error(), why }

func isLocked(err error) bool {
	return errors.Is(err, keystore.ErrLocked) || errors.Is(err, keystore.ErrDeclined) || errors.Is(err, keystore.ErrUnavailable)
}

// login looks at one login. Once the store is known to be locked it only has
// a name.
func (st *storeStatus) login(ctx context.Context, store *keystore.Store, key keystore.RecordKey) (loginStatus, error) {
	l := loginStatus{Namespace: key.Namespace, ResourceServer: key.Name, State: "locked"}
	if st.Locked {
		return l, nil
	}
	t, err := store.Get(ctx, key.Name)
	switch {
	case isLocked(err):
		st.lock(err)
		return l, nil
	case errors.Is(err, keystore.ErrTampered), errors.Is(err, keystore.ErrCorrupt), errors.Is(err, keystore.ErrNoSeal):
		l.State, l.Note = "damaged", err.Error()
		return l, nil
	case err != nil:
		return l, err
	}
	refused, err := store.Refused(ctx, key.Name)
	return describe(l, t, store.Now()).renewing(t, refused), err
}

// renewing adds what becomes of a login when its access token is over.
func (l loginStatus) renewing(t keystore.Token, refused time.Time) loginStatus {
	switch {
	case !t.Renewable():
	case !refused.IsZero():
		l.Refreshable, l.Note = false, "the issuer does not take its refresh token any more: log in again"
	case l.State == "expired" && l.Note == "":
		l.Note = "renewed when it is used"
	}
	return l
}

func describe(l loginStatus, t keystore.Token, now time.Time) loginStatus {
	l.State, l.Refreshable = "valid", t.Renewable()
	if !t.ExpiresAt.IsZero() {
		l.ExpiresAt = t.ExpiresAt.Unix()
	}
	if t.Expired(now) {
		l.State = "expired"
	}
	switch {
	case t.Renewable():
	case t.RefreshToken.IsZero():
		l.Note = "no refresh token: usable until it expires"
	default:
		l.Note = "usable until it expires: import it again with --client-id to say whose client it is"
	}
	if until, _ := forgotten(t); t.Renewable() && !until.IsZero() {
		l.UsedAt = t.Used.Unix()
		l.Note = idleNote(until.Sub(now))
	}
	return l
}

// forgotten is when the issuer forgets t's refresh token if nobody uses it, and
// after how long; zero if that is not known.
func forgotten(t keystore.Token) (until time.Time, idle time.Duration) {
	idle = oauth.IdleLimit(t.Issuer)
	if idle == 0 || t.RefreshToken.IsZero() || t.Used.IsZero() {
		return time.Time{}, 0
	}
	return t.Used.Add(idle), idle
}

// idleNote warns of a refresh token that nobody has used for long.
func idleNote(left time.Duration) string {
	switch {
	case left <= 0:
		return "unused for so long that the issuer may have forgotten it"
	case left < 30*24*time.Hour:
		return "unused for long: the issuer forgets it in " + roughly(left) + ", refresh uses it"
	}
	return ""
}

func (a *app) printStatus(st storeStatus, now time.Time) error {
	if !st.Exists {
		return a.printf("Store:  %s (not made yet)\n", st.Store)
	}
	if err := a.printf("Store:  %s\n", clean(st.Store)); err != nil {
		return err
	}
	for _, k := range st.Keys {
		if err := a.printf("Key:    %s\n", clean(k.line())); err != nil {
			return err
		}
	}
	for _, r := range st.Recovery {
		if err := a.printf("Reader: %s (recovery recipient)\n", clean(r)); err != nil {
			return err
		}
	}
	if st.Unlocked != nil {
		if err := a.printf("State:  %s\n", st.Unlocked.line(now)); err != nil {
			return err
		}
	}
	if st.Locked {
		if err := a.printf("State:  locked: names only%s\n", clean(a.lockedLine(st.why))); err != nil {
			return err
		}
	}
	namespace := ""
	for _, l := range st.Logins {
		if l.Namespace != namespace {
			namespace = l.Namespace
			if err := a.printf("\n%s\n", clean(namespace)); err != nil {
				return err
			}
		}
		if err := a.printf("  %-40s %s\n", clean(l.ResourceServer), clean(l.line(now))); err != nil {
			return err
		}
	}
	return nil
}

// lockedLine says what opens the store, or why it is locked if that is not clear.
func (a *app) lockedLine(why error) string {
	switch {
	case errors.Is(why, local.ErrNobody):
		return "; " + a.selfFor([2]string{"--store", a.store}) + " unlock opens it"
	case errors.Is(why, local.ErrNoIdentity) && a.identityFile == "" && a.getenv("GLOBUS_KEYS_IDENTITY_FILE") == "":
		return "; the file with the identity opens it: --identity-file FILE"
	}
	return ": " + why.Error()
}

func (k keyStatus) line() string {
	switch k.Kind {
	case "none":
		return "none: each login is an item in the " + k.In
	case "identity-file":
		return "an identity file that every run names"
	}
	line := k.Kind + " " + k.Name
	if k.In != "" {
		line += " in the " + k.In
	}
	return line
}

func (l loginStatus) line(now time.Time) string {
	line := l.State
	switch {
	case l.State == "valid" && l.ExpiresAt > 0:
		line = "valid for " + roughly(time.Unix(l.ExpiresAt, 0).Sub(now))
	case l.State == "expired" && l.ExpiresAt > 0:
		line = "expired " + roughly(now.Sub(time.Unix(l.ExpiresAt, 0))) + " ago"
	}
	if l.Note != "" {
		line += "; " + l.Note
	}
	return line
}

// roughly says a duration as people do.
func roughly(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{365 * 24 * time.Hour, "years"}, {24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.of {
			return fmt.Sprintf("%d %s", int(d/unit.of), unit.name)
		}
	}
	if d/time.Second == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", int(d/time.Second))
}

// names lists the keys of some kinds of record, which works while the store is
// locked, and its header.
func names(ctx context.Context, adapter keystore.StorageAdapter, kinds ...keystore.Kind) (keystore.Header, []keystore.RecordKey, error) {
	var h keystore.Header
	var keys []keystore.RecordKey
	err := adapter.View(ctx, func(r keystore.Reader) error {
		h, keys = r.Header(), nil
		for _, kind := range kinds {
			for key, err := range r.Keys(kind) {
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
		}
		return nil
	})
	return h, keys, err
}
