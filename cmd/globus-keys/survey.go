package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// survey looks at a store, and asks nobody. only is the namespace to list, "" means all.
func survey(ctx context.Context, p *local.Place, store *keystore.Store, only string) (storeStatus, error) {
	st := storeStatus{Schema: 1, Store: p.String(), only: only, Keys: []keyStatus{}, Logins: []loginStatus{}}
	h, meta, err := names(ctx, p.Adapter(), keystore.KindMeta)
	if err != nil || h.IsZero() {
		return st, err
	}
	st.Exists, st.ID = true, h.StoreID.String()
	if p.Sealed() {
		if !slices.Contains(meta, keystore.MetaKey) {
			return st, &keystore.Error{Store: p.Path(), Key: keystore.MetaKey, Err: keystore.ErrTampered, Detail: "the record is missing"}
		}
		st.recovery(ctx, p)
	}
	st.Keys = keyPlaces(p, h)
	if st.Notes, err = remarks(ctx, p.Adapter()); err != nil {
		return st, err
	}
	keys, err := st.listed(ctx, p.Adapter(), keystore.KindToken)
	if err != nil && st.Locked {
		st.Counts, err = counts(ctx, p.Adapter(), err)
	}
	if err != nil {
		return st, err
	}
	for _, key := range keys {
		l, err := st.login(ctx, store.In(key.Namespace), key)
		if err != nil {
			return st, err
		}
		st.Logins = append(st.Logins, l)
	}
	if len(keys) == 0 && st.Counts == nil {
		values, err := st.listed(ctx, p.Adapter(), keystore.KindConfig)
		st.values = len(values)
		return st, err
	}
	return st, nil
}

// listed are the records of a kind in the namespaces that are shown.
func (st *storeStatus) listed(ctx context.Context, adapter keystore.StorageAdapter, kind keystore.Kind) ([]keystore.RecordKey, error) {
	_, keys, err := names(ctx, adapter, kind)
	hidden := func(key keystore.RecordKey) bool { return st.only != "" && key.Namespace != st.only }
	return slices.DeleteFunc(keys, hidden), err
}

// remarks are what the adapter says of its store for people.
func remarks(ctx context.Context, adapter keystore.StorageAdapter) ([]string, error) {
	a, ok := adapter.(interface {
		Remarks(context.Context) ([]string, error)
	})
	if !ok {
		return nil, nil
	}
	return a.Remarks(ctx)
}

// counts is for a store whose names cannot be listed, because of why.
func counts(ctx context.Context, adapter keystore.StorageAdapter, why error) (*recordCounts, error) {
	var n recordCounts
	err := adapter.View(ctx, func(r keystore.Reader) (err error) {
		c, ok := r.(keystore.Counter)
		if !ok {
			return why
		}
		if n.Logins, err = c.Count(keystore.KindToken); err == nil {
			n.Configs, err = c.Count(keystore.KindConfig)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &n, nil
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
	t, refused, err := store.Look(ctx, key.Name)
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
	return describe(l, t, store.Now()).renewing(t, refused), nil
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

// names lists the keys of some kinds of record, which works while the store is
// locked unless it hides names, and its header.
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
