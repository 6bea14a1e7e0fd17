//go:build unix && !darwin

package secretservice

import (
	"fmt"

	"github.com/godbus/dbus/v5"
)

// body is what an answer or a signal holds: values of any type, because who
// answers is another program. The functions here are the only ones that look
// into one.
type body []any

func get[T any](b body, i int) (value T, err error) {
	if i < len(b) {
		if value, ok := b[i].(T); ok {
			return value, nil
		}
	}
	return value, fmt.Errorf("%w: value %d is no %T", ErrMalformed, i, value)
}

func (b body) path(i int) (dbus.ObjectPath, error) {
	path, err := get[dbus.ObjectPath](b, i)
	if err == nil && !path.IsValid() {
		err = fmt.Errorf("%w: value %d is no object path", ErrMalformed, i)
	}
	return path, err
}

func (b body) paths(i int) ([]dbus.ObjectPath, error) {
	paths, err := get[[]dbus.ObjectPath](b, i)
	for _, p := range paths {
		if !p.IsValid() {
			return nil, fmt.Errorf("%w: value %d holds what is no object path", ErrMalformed, i)
		}
	}
	return paths, err
}

// variant returns the values inside of a variant, as a body of one.
func (b body) variant(i int) (body, error) {
	v, err := get[dbus.Variant](b, i)
	return body{v.Value()}, err
}

// prompt returns the path of a prompt, "" for none.
func (b body) prompt(i int) (dbus.ObjectPath, error) {
	path, err := b.path(i)
	if path == "/" {
		path = ""
	}
	return path, err
}

// secret is the struct Secret of the protocol: (oayays).
type secret struct {
	Session     dbus.ObjectPath
	Parameters  []byte // the initialization vector
	Value       []byte
	ContentType string
}

func (b body) secret(i int) (s secret, err error) {
	values, err := get[[]any](b, i)
	fields := body(values)
	if err == nil {
		s.Session, err = get[dbus.ObjectPath](fields, 0)
	}
	if err == nil {
		s.Parameters, err = get[[]byte](fields, 1)
	}
	if err == nil {
		s.Value, err = get[[]byte](fields, 2)
	}
	return s, err
}
