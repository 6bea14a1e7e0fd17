// Package legacysqlite reads, removes and makes the databases in which other
// programs keep the logins of the Globus SDK. Its Read, Delete and Encode are given
// to package legacy. They need cgo: without it they fail with keystore.ErrUnavailable.
package legacysqlite
