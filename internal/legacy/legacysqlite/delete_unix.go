//go:build cgo && !windows

package legacysqlite

// removesOpenFiles says that a file can be removed while it is open.
const removesOpenFiles = true
