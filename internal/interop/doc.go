// Package interop has only tests: the real command logs in to an OAuth server
// that was not written here, zitadel/oidc's, and once through a real browser. It
// is a module of its own, so that what it needs is nobody else's dependency.
//
//	cd internal/interop && go test ./...
package interop
