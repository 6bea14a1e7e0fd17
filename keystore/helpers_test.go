package keystore_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

const (
	transfer = "transfer.api.globus.org"
	groups   = "groups.api.globus.org"
	issuer   = "https://auth.globus.org"
	alice    = "11111111-1111-1111-1111-111111111111"
	bob      = "22222222-2222-2222-2222-222222222222"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fullToken has every field.
func fullToken(server string) keystore.Token {
	return keystore.Token{
		ResourceServer: server, Scope: "openid urn:x", TokenType: "Bearer",
		AccessToken: keystore.NewSecret("access-" + server), RefreshToken: keystore.NewSecret("refresh-" + server),
		ExpiresAt: start.Add(time.Hour), IdentityID: alice, Issuer: issuer, ClientID: "client",
		Extra: map[string]keystore.Secret{"id_token": keystore.NewSecret(`"ey.x.y"`), "state": keystore.NewSecret(`{"a":[1e400]}`)},
	}
}

// bareToken is what a refresh answers at the least.
func bareToken(server, access string) keystore.Token {
	return keystore.Token{ResourceServer: server, AccessToken: keystore.NewSecret(access), ExpiresAt: start.Add(2 * time.Hour)}
}

func response(tokens ...keystore.Token) keystore.TokenResponse {
	return keystore.TokenResponse{Tokens: tokens}
}

func keyOf(server string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindToken, Name: server}
}

var accountKey = keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindAccount, Name: "account"}

// world is a Store over memory in which records can be damaged, and what it
// warned of.
type world struct {
	*testing.T
	*keystore.Store
	damaged  *damaged
	warnings []error
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, damaged: &damaged{StorageAdapter: memory.New(), errs: make(map[keystore.RecordKey]error)}}
	w.Store = keystore.New(w.damaged, &keystore.Options{
		Clock: func() time.Time { return start },
		Warn:  func(err error) { w.warnings = append(w.warnings, err) },
	})
	return w
}

func (w *world) damage(k keystore.RecordKey, err error) {
	w.damaged.errs[k] = &keystore.Error{Key: k, Err: err}
}

func (w *world) put(tokens ...keystore.Token) {
	w.Helper()
	w.ok(w.Put(w.Context(), response(tokens...)))
}

func (w *world) get(server string) keystore.Token {
	w.Helper()
	t, err := w.Get(w.Context(), server)
	w.ok(err)
	return t
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) fails(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("got error %v, want %v", err, want)
	}
}

// warned checks that there was one warning for each of want.
func (w *world) warned(want ...error) {
	w.Helper()
	if len(w.warnings) != len(want) {
		w.Fatalf("warned %d times of %v, want %d", len(w.warnings), w.warnings, len(want))
	}
	for i := range want {
		w.fails(w.warnings[i], want[i])
	}
}

// sameToken compares what fmt cannot: Secrets print alike.
func sameToken(a, b keystore.Token) bool {
	sameSecret := func(x, y keystore.Secret) bool { return x.Equal(y) }
	return a.ResourceServer == b.ResourceServer && a.Scope == b.Scope && a.TokenType == b.TokenType &&
		a.AccessToken.Equal(b.AccessToken) && a.RefreshToken.Equal(b.RefreshToken) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && a.ExpiresAt.IsZero() == b.ExpiresAt.IsZero() &&
		a.IdentityID == b.IdentityID && a.Issuer == b.Issuer && a.ClientID == b.ClientID &&
		maps.EqualFunc(a.Extra, b.Extra, sameSecret)
}

// damaged is an adapter in which some records cannot be read until they are
// written anew.
type damaged struct {
	keystore.StorageAdapter
	mu   sync.Mutex
	errs map[keystore.RecordKey]error
}

func (d *damaged) errorOf(k keystore.RecordKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errs[k]
}

func (d *damaged) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return d.StorageAdapter.View(ctx, func(r keystore.Reader) error { return fn(damagedReader{r, d}) })
}

func (d *damaged) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	return d.StorageAdapter.Update(ctx, func(w keystore.Writer) error { return fn(damagedWriter{w, d}) })
}

type damagedReader struct {
	keystore.Reader
	d *damaged
}

func (r damagedReader) Get(k keystore.RecordKey) ([]byte, error) {
	if err := r.d.errorOf(k); err != nil {
		return nil, err
	}
	return r.Reader.Get(k)
}

type damagedWriter struct {
	keystore.Writer
	d *damaged
}

func (w damagedWriter) Get(k keystore.RecordKey) ([]byte, error) {
	return damagedReader{w.Writer, w.d}.Get(k)
}

func (w damagedWriter) Put(k keystore.RecordKey, payload []byte) error {
	err := w.Writer.Put(k, payload)
	if err == nil {
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		delete(w.d.errs, k)
	}
	return err
}

// dump is all that an adapter holds.
func dump(t *testing.T, a keystore.StorageAdapter) map[keystore.RecordKey]string {
	t.Helper()
	all, err := adaptertest.Records(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
