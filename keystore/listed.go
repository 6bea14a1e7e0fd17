package keystore

import "fmt"

// Unlisted reports ErrTampered if r holds more records of a kind than the listed ones
// that Keys has yielded: what damages a name, or what tells a hidden one, makes a record
// vanish from lists. It is for those who would lose what they do not see.
func Unlisted(r Reader, kind Kind, listed int) error {
	c, ok := r.(Counter)
	if !ok {
		return nil
	}
	n, err := c.Count(kind)
	if err != nil || n <= listed {
		return err
	}
	return &Error{Err: ErrTampered, Detail: fmt.Sprintf("%d records of kind %s cannot be listed, since their names are damaged; verify tells more", n-listed, kind)}
}
