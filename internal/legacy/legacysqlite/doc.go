// Package legacysqlite reads and removes the databases in which other programs
// keep the logins of the Globus SDK. Its Read and Delete are given to package
// legacy. They need cgo: without it they fail with keystore.ErrUnavailable.
package legacysqlite
