package keychain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// The item that holds a store's key is
//
//	gk1.key.<store id>.AGE-SECRET-KEY-1….<crc32>
//
// so that who has nothing else left recovers his records with standard tools:
//
//	secret-tool lookup service globus-keys username ACCOUNT | grep -o 'AGE-SECRET-KEY-[0-9A-Z-]*' | age -d -i - FILE
const keyKind = "key"

// ErrKeyLost is the ErrCorrupt of a key's item that is gone, empty or damaged,
// so that the remedy for it can be told.
var ErrKeyLost = fmt.Errorf("%w", keystore.ErrCorrupt)

// CreateKey puts the key of a store into a new item and reads it back. The
// account it returns is durable: it may be written into the store's header. On
// an error an item may be left that nothing names.
func CreateKey(ctx context.Context, b Backend, store keystore.StoreID, key keystore.Secret) (account string, err error) {
	account = newAccount(store, keyKind)
	err = createItem(ctx, b, account, formatItem(keyKind, store, key.Reveal()))
	return account, err
}

// LoadKey returns the key that CreateKey put into the item. Errors, besides
// those of Backend: ErrTampered for an account that CreateKey has not made for
// this store, or the item of another; ErrKeyLost for an item that is gone, empty
// or damaged: the store exists, and a key that is not found is no reason to make
// another.
func LoadKey(ctx context.Context, b Backend, store keystore.StoreID, account string) (keystore.Secret, error) {
	if !isAccount(store, keyKind, account) {
		return keystore.Secret{}, &keystore.Error{Err: keystore.ErrTampered,
			Detail: fmt.Sprintf("a key slot names the keychain item %q, which is not one of this store's", account)}
	}
	item, err := b.Get(ctx, account)
	if errors.Is(err, keystore.ErrNotFound) {
		err = corrupt("the key of the store is gone, or the keychain cannot read its own file")
	}
	var key string
	if err == nil {
		key, err = parseItem(keyKind, store, item)
	}
	var e *keystore.Error
	if errors.As(err, &e) && e.Err == keystore.ErrCorrupt {
		err = &keystore.Error{Err: ErrKeyLost, Detail: e.Detail}
	}
	return keystore.NewSecret(key), aboutItem(err, b, account)
}

// DeleteKey removes an item that CreateKey has made for this store, and no
// other. One that is gone is no error.
func DeleteKey(ctx context.Context, b Backend, store keystore.StoreID, account string) error {
	if !isAccount(store, keyKind, account) {
		return &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("%q is not the item of this store's key", account)}
	}
	return aboutItem(b.Delete(ctx, account), b, account)
}

// createItem makes an item and reads it back: a keychain that has lost it says
// so now, and not when the value is needed.
func createItem(ctx context.Context, b Backend, account string, value keystore.Secret) error {
	if err := CheckItem(account, value); err != nil {
		return err
	}
	if err := b.Create(ctx, account, value); err != nil {
		return aboutItem(err, b, account)
	}
	stored, err := b.Get(ctx, account)
	if err == nil && stored.Reveal() != value.Reveal() {
		err = corrupt("the keychain gives back something else than was stored")
	}
	if errors.Is(err, keystore.ErrNotFound) {
		err = &Problem{State: Unreachable, Detail: "the " + b.Traits().Name + " took an item and does not have it"}
	}
	return aboutItem(err, b, account)
}

func aboutItem(err error, b Backend, account string) error {
	return keystore.Annotate(err, keystore.Error{Store: fmt.Sprintf("item %s in the %s", account, b.Traits().Name)})
}

// Accounts are v1/<store id>/<kind>/<16 hex digits>.

func newAccount(store keystore.StoreID, kind string) string {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	return accountPrefix(store, kind) + hex.EncodeToString(random)
}

func isAccount(store keystore.StoreID, kind, account string) bool {
	name, ok := strings.CutPrefix(account, accountPrefix(store, kind))
	return ok && isRandom(name)
}

// isRandom reports whether newAccount could have chosen this name.
func isRandom(name string) bool {
	return len(name) == 16 && strings.Trim(name, "0123456789abcdef") == ""
}

func accountPrefix(store keystore.StoreID, kind string) string {
	return "v1/" + store.String() + "/" + kind + "/"
}
