// Package sqliteuri names files to SQLite.
package sqliteuri

import (
	"fmt"
	"path/filepath"
	"strings"
)

// File names path to SQLite, which otherwise takes ?, # and % in it for
// syntax (sqlite.org/uri.html). query comes after it.
func File(path, query string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	full = filepath.ToSlash(full)
	if !strings.HasPrefix(full, "/") {
		full = "/" + full // C:/…
	}
	return "file://" + escaped(full) + "?" + query, nil
}

func escaped(path string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-._~:"
	var b strings.Builder
	for _, c := range []byte(path) {
		if strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
