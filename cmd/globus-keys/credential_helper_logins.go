package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/internal/helper"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// get returns a login with an access token that is good, if that can be had. One that
// is over is given without a handle, as it would be without a refresh token: that is
// how the SDK knows that it has to log in.
func (h *helping) get(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	stored, err := o.store.Get(ctx, r.ResourceServer)
	if err == nil && stored.Renewable() {
		var t keystore.Token
		t, err = o.source(r.ResourceServer, 0, func(error) {}).Get(ctx)
		if errors.Is(err, keystore.ErrLoginRequired) {
			o.complain(err)
			stored.RefreshToken = keystore.Secret{}
			return h.record(o, stored)
		}
		stored = t
	}
	if errors.Is(err, keystore.ErrNotFound) {
		return helper.Answer{}, nil
	}
	if err != nil {
		return helper.Answer{}, o.loginHint(ctx, r.ResourceServer, err)
	}
	return h.record(o, stored)
}

// renew returns a login with another access token than the client had. If the stored
// one is that, and has more than a minute to live, so that nobody asks because of its
// end, a resource server has refused it.
//
// It may be asked twice. Whoever asks again has the old handle: what the first one
// brought is given to him then, and no refresh token is spent.
//
// A handle of another login is refused: a client that has mixed up its storages, or has
// had its token since before somebody else logged in, must not go on in his account.
func (h *helping) renew(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	if stored, err := o.store.Get(ctx, r.ResourceServer); err == nil && !h.sameLogin(o, stored, r.Had) {
		return helper.Answer{}, &keystore.Error{Op: "refresh", Err: keystore.ErrSubjectMismatch,
			Detail: "the handle is of a login of another identity, namespace or store than the one that is there now"}
	}
	source := o.source(r.ResourceServer, 0, func(error) {})
	t, err := source.Get(ctx)
	if err == nil && h.handle(o, t) == r.Had && t.ExpiresAt.Sub(o.store.Now()) > time.Minute {
		t, err = source.Refused(ctx, t.AccessToken)
	}
	if errors.Is(err, keystore.ErrNotFound) {
		err = fmt.Errorf("%w: somebody has logged out", keystore.ErrLoginRequired)
	}
	if err != nil {
		return helper.Answer{}, o.loginHint(ctx, r.ResourceServer, err)
	}
	return h.record(o, t)
}

// put stores new logins, all or none, as those of the issuer of the command line:
// no request can name a place for a refresh token to go to. What has the handle of
// the login that it is was read from here and is stored already, or is older than
// what is.
func (h *helping) put(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	response := keystore.TokenResponse{Account: keystore.Account{Issuer: h.issuer, ClientID: r.ClientID}}
	for _, text := range r.Records {
		t, err := keystore.ParseTokenRecord(text)
		if err != nil {
			return helper.Answer{}, malformed(err)
		}
		switch known := t.RefreshToken.Reveal(); {
		case h.sameToken(o, t, known):
			continue
		case strings.HasPrefix(known, handlePrefix):
			return helper.Answer{}, &keystore.Error{Op: "put", Err: keystore.ErrInvalid, Detail: "in place of a refresh token there is the handle of another login"}
		}
		if t, err = h.dated(ctx, o, t, r.ClientID); err != nil {
			return helper.Answer{}, err
		}
		if t.LoggedIn.IsZero() { // the account's issuer would be taken for that of a record without one
			response.Account = keystore.Account{}
		}
		response.Tokens = append(response.Tokens, t)
	}
	if len(response.Tokens) == 0 {
		return helper.Answer{}, nil
	}
	return helper.Answer{}, h.roomHint(o, o.store.Put(ctx, response))
}

// roomHint says what to do about a login that does not fit to those that are there. The
// command is typed elsewhere, where the environment may name another store.
func (h *helping) roomHint(o opened, err error) error {
	if !errors.Is(err, keystore.ErrSubjectMismatch) {
		return err
	}
	line := h.selfFor([2]string{"--store", h.place.String()}, [2]string{"--namespace", o.store.Namespace()})
	return hinted{err, "nothing was stored, and the program still has the login; use another namespace, or log out of the old login first: " + line + " logout --all"}
}

// dated adds what a login says beside what the SDK writes down. A record without
// refresh token and identity that follows another may be a renewal: it keeps what
// that says, and adds nothing that could send a stored refresh token elsewhere.
func (h *helping) dated(ctx context.Context, o opened, t keystore.Token, clientID string) (keystore.Token, error) {
	if t.RefreshToken.IsZero() && t.IdentityID == "" {
		stored, err := o.store.Get(ctx, t.ResourceServer)
		if err == nil {
			t.Issuer, t.ClientID = stored.Issuer, stored.ClientID
			return t, nil
		}
		if !errors.Is(err, keystore.ErrNotFound) && !integrity(err) {
			return t, err
		}
	}
	t.Issuer, t.ClientID = h.issuer, clientID
	t.LoggedIn, t.Used = o.store.Now(), o.store.Now()
	t.Endpoints = h.endpoints(ctx)
	return t, nil
}

// endpoints are those of the issuer. If it cannot be asked the login is stored
// without: whoever renews it asks then.
func (h *helping) endpoints(ctx context.Context) keystore.Endpoints {
	if h.provider.Issuer == "" {
		p, err := oauth.Find(ctx, h.issuer, nil)
		if err != nil {
			h.warn("%v", err)
			return keystore.Endpoints{}
		}
		h.provider = p
	}
	return keystore.Endpoints{Token: h.provider.TokenEndpoint, Revocation: h.provider.RevocationEndpoint}
}

// listPage is how many bytes one answer of list holds, about.
const listPage = 256 << 10

// list returns logins as they are stored, by their names, and says which cannot be
// read. Nothing is renewed.
func (h *helping) list(ctx context.Context, o opened, r helper.Request) (a helper.Answer, err error) {
	servers, err := o.servers(ctx, nil)
	if err != nil {
		return a, err
	}
	slices.Sort(servers)
	after, found := slices.BinarySearch(servers, r.After)
	if found {
		after++
	}
	size := 0
	for _, rs := range servers[after:] {
		n, err := h.listOne(ctx, o, rs, &a)
		if err != nil {
			return helper.Answer{}, err
		}
		if size += n; size > listPage {
			a.More = rs
			break
		}
	}
	return a, nil
}

// listOne adds one login to the answer and returns how many bytes that has taken,
// about. It may have been removed meanwhile.
func (h *helping) listOne(ctx context.Context, o opened, rs string, a *helper.Answer) (int, error) {
	t, err := o.store.Get(ctx, rs)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return 0, nil
	case integrity(err):
		a.Unreadable = append(a.Unreadable, helper.Unreadable{ResourceServer: rs, Failure: h.Explain(err)})
		return 2 << 10, nil
	case err != nil:
		return 0, err
	}
	one, err := h.record(o, t)
	a.Records = append(a.Records, one.Record)
	return len(one.Record), err
}

func (h *helping) removeLogin(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	return changed(o.store.Delete(ctx, r.ResourceServer))
}

// logout revokes both tokens of a login, and then removes it. If the client has a handle
// of another login there is nothing to do: that one is not here, or not any more.
func (h *helping) logout(ctx context.Context, o opened, r helper.Request) (helper.Answer, error) {
	if stored, err := o.store.Get(ctx, r.ResourceServer); err == nil && r.Had != "" && !h.sameLogin(o, stored, r.Had) {
		return helper.Answer{}, nil
	}
	a, err := changed(oauth.Logout(ctx, o.store, r.ResourceServer, nil))
	if err != nil {
		err = o.remedy(err, r.ResourceServer)
	}
	return a, err
}

// changed answers whether there was something to remove.
func changed(err error) (helper.Answer, error) {
	if errors.Is(err, keystore.ErrNotFound) {
		return helper.Answer{}, nil
	}
	return helper.Answer{Changed: err == nil}, err
}

// record is a login as the client sees it: with a handle for its refresh token.
func (h *helping) record(o opened, t keystore.Token) (helper.Answer, error) {
	if !t.RefreshToken.IsZero() {
		t.RefreshToken = keystore.NewSecret(h.handle(o, t))
	}
	text, err := keystore.FormatTokenRecord(t)
	return helper.Answer{Record: text}, err
}

const handlePrefix = "globus-keys:"

// handle stands for the refresh token of a login while it has this access token. It
// is no secret, and of no use but to who asks for another one. Its first part stays the
// same as long as the login is the same person's, its second does not say whose it is.
func (h *helping) handle(o opened, t keystore.Token) string {
	mark := append(h.mark(o, t, "identity", t.IdentityID)[:6:6], h.mark(o, t, "token", t.AccessToken.Reveal())[:10]...)
	return handlePrefix + base64.RawURLEncoding.EncodeToString(mark) + ":" + t.ResourceServer
}

func (h *helping) mark(o opened, t keystore.Token, of, value string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", h.place.String(), o.store.Namespace(), t.ResourceServer, of, value))
	return sum[:]
}

// theSame reports whether a handle is of this login, with whichever access token, and
// whether it is of this access token, whoever's it is said to be: a refresh does not say.
func (h *helping) theSame(o opened, t keystore.Token, handle string) (login, token bool) {
	const whose = len(handlePrefix) + 8 // six bytes
	own := h.handle(o, t)
	if len(handle) != len(own) {
		return false, false
	}
	return handle[:whose] == own[:whose], handle[whose:] == own[whose:]
}

func (h *helping) sameLogin(o opened, t keystore.Token, handle string) bool {
	login, _ := h.theSame(o, t, handle)
	return login
}

func (h *helping) sameToken(o opened, t keystore.Token, handle string) bool {
	_, token := h.theSame(o, t, handle)
	return token
}

// malformed is the error of a record that a client has made, and not the store.
func malformed(err error) error {
	return &keystore.Error{Op: "put", Err: keystore.ErrInvalid, Detail: strings.TrimPrefix(err.Error(), keystore.ErrCorrupt.Error()+": ")}
}
