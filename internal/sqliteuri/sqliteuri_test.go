package sqliteuri

import "testing"

func TestURIsOfOddPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/a?b#c%d": "/a%3Fb%23c%25d",
		"/ü &":     "/%C3%BC%20%26",
		"/C:/x\\y": "/C:/x%5Cy",
	} {
		if got := escaped(path); got != want {
			t.Errorf("%q is escaped as %q, want %q", path, got, want)
		}
	}
}
