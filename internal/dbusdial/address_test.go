//go:build unix && !darwin

package dbusdial

import "testing"

func TestEndpointIsAsPackageNetWritesIt(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/a%20b%2c,guid=1": "/a b,",
		"unix:guid=1,abstract=x%2fy": "@x/y",
	} {
		if got, err := Endpoint(address); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
}
