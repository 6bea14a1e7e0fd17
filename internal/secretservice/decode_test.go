//go:build unix && !darwin

package secretservice

import (
	"errors"
	"math/big"
	"testing"

	"github.com/godbus/dbus/v5"
)

// FuzzAnswers: whatever a service answers, there is a result or an error that
// says what is wrong.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{"", "o", "ao", "v(oayays)", "(oayays)", "vo", "bv", "((((", "s", "v", "vv", "oo", "(o)", "P", "oP", "(oYY)", "v(Y)o"} {
		f.Add([]byte(seed))
	}
	ours := newExponent().secret
	f.Fuzz(func(t *testing.T, data []byte) {
		b, _ := values(data, 0)
		for _, err := range decodeAll(b, ours) {
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrBadSecret) && !errors.Is(err, ErrDismissed) && !errors.Is(err, ErrVanished) {
				t.Errorf("%v: %v", b, err)
			}
		}
	})
}

// decodeAll reads an answer as every kind of answer there is.
func decodeAll(b body, ours *big.Int) (errs []error) {
	s := &session{key: make([]byte, 16)}
	sec, err := b.secret(0)
	if err == nil {
		_, err = s.open(sec)
	}
	errs = append(errs, err)
	_, err = b.path(0)
	errs = append(errs, err)
	_, err = b.paths(0)
	errs = append(errs, err)
	_, err = b.prompt(1)
	errs = append(errs, err)
	_, _, err = parseSession(b, ours)
	errs = append(errs, err)
	_, err = made(b)
	errs = append(errs, err)
	for _, name := range []string{promptIface + ".Completed", "other"} {
		_, err = completion(&dbus.Signal{Name: name, Body: b})
		errs = append(errs, err)
	}
	return errs
}

// values makes values of what godbus can give, by a letter each.
func values(data []byte, depth int) (b body, rest []byte) {
	for len(data) > 0 {
		letter := data[0]
		data = data[1:]
		var inner body
		switch {
		case letter == ')':
			return b, data
		case (letter == '(' || letter == 'v') && depth < 10:
			inner, data = values(data, depth+1)
			if letter == 'v' && len(inner) > 0 {
				b = append(b, dbus.MakeVariantWithSignature(inner[0], dbus.SignatureOf("")))
			} else {
				b = append(b, []any(inner))
			}
		default:
			b = append(b, simple(letter, len(data)))
		}
	}
	return b, nil
}

func simple(letter byte, n int) any {
	switch letter {
	case 'o':
		return dbus.ObjectPath("/a")
	case 'P':
		return dbus.ObjectPath("no path")
	case 'r':
		return dbus.ObjectPath("/")
	case 'a':
		return []dbus.ObjectPath{"/a", "/b"}
	case 'A':
		return []dbus.ObjectPath{"", "x"}
	case 'y':
		return make([]byte, n)
	case 'Y':
		return make([]byte, 16)
	case 'b':
		return n%2 == 0
	case 's':
		return "text"
	case 'V':
		return dbus.Variant{}
	case 'n':
		return nil
	}
	return uint32(n)
}

func TestRightAnswersAreRead(t *testing.T) {
	fields := []any{dbus.ObjectPath("/s"), []byte("iv"), []byte("value"), "text/plain"}
	if s, err := (body{fields}).secret(0); err != nil || s.Session != "/s" || string(s.Parameters) != "iv" || string(s.Value) != "value" {
		t.Errorf("%v, %v", s, err)
	}
	if p, err := (body{dbus.ObjectPath("/")}).prompt(0); err != nil || p != "" {
		t.Errorf("%q, %v", p, err)
	}
	if p, err := (body{[]dbus.ObjectPath{"/a"}}).paths(0); err != nil || len(p) != 1 {
		t.Errorf("%q, %v", p, err)
	}
}

func TestWhatIsNoObjectPathIsRefused(t *testing.T) {
	for _, path := range []dbus.ObjectPath{"", "a", "/a/", "/a b", "//"} {
		if _, err := (body{path}).path(0); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", path, err)
		}
		if _, err := (body{[]dbus.ObjectPath{"/a", path}}).paths(0); !errors.Is(err, ErrMalformed) {
			t.Errorf("among others: %q: %v", path, err)
		}
	}
}
