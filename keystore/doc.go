// Package keystore keeps OAuth 2 logins. It is the domain: what a token, a
// record and a store are, and the rules that every store obeys. Where records
// lie and how they are sealed is the business of adapters, which other packages
// bring; this package needs the standard library only (and three small packages of
// our own, which need nothing else).
//
// A program opens its user's store through package local and talks to a
// [*Store]:
//
//	store, err := local.Open(ctx, nil)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
//	err = store.Put(ctx, response)                          // after a login
//	token, err := store.Get(ctx, "transfer.api.globus.org") // in every later run
//	if errors.Is(err, keystore.ErrNotFound) {
//		// nobody is logged in: start a login
//	}
//	req.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
//
// Put returns nil only when the tokens are durable: they survive a kill and a
// power cut from then on. A program that has its own refresher gives it
// [Store.OnRefresh], which is Put by the name refreshers know.
//
// A store has namespaces, so that one user can hold several logins; a Store
// value looks at one of them ("DEFAULT" unless told otherwise), and
// [Store.In] gives another. A namespace belongs to one account: tokens of
// another subject are refused with [ErrSubjectMismatch].
//
// Besides logins a namespace has values of the program's own, such as settings, by name:
// [Store.PutConfig] and [Store.GetConfig] take whatever has a JSON form, and seal it as
// tokens are.
//
// Secrets are of type [Secret], which prints as [redacted] through fmt, slog
// and JSON; [Secret.Reveal] is the only way to the text.
//
// Errors wrap one of the sentinels of this package and are matched with
// errors.Is. Everything is safe for use by several goroutines, and by several
// processes where the adapter's records outlive one.
//
// Implementors of adapters read [StorageAdapter] and run package keystoretest.
package keystore
