package pae

import "testing"

// The expected values are those of the PASETO specification's PAE test vectors.
func TestEncodeMatchesThePASETOVectors(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{nil, "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{[]string{""}, "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{[]string{"test"}, "\x01\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00test"},
	} {
		if got := string(Encode(c.parts...)); got != c.want {
			t.Errorf("Encode(%q) = %q, want %q", c.parts, got, c.want)
		}
	}
}

func TestEncodeKeepsPartsApart(t *testing.T) {
	if string(Encode("ab", "c")) == string(Encode("a", "bc")) {
		t.Error("two different lists have one encoding")
	}
}
