//go:build cgo

package legacysqlite

// removesOpenFiles says that a file can be removed while it is open. SQLite
// opens its files so that on Windows they cannot be.
const removesOpenFiles = false
