// Package migration is only tests: what keystore.Migrate says, with the adapters
// that there are, with processes that are killed, and beside refreshes.
package migration
