package legacy

import (
	"fmt"

	"github.com/globus-keys/globus-keys/keystore"
)

// corrupt is the error about a token file, or one record of it, that is not as
// its program would have written it.
func corrupt(detail string) error { return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail} }

func corruptf(format string, args ...any) error { return corrupt(fmt.Sprintf(format, args...)) }

// foreign is the error about a file that holds no logins in a known form.
func foreign(detail string) error { return &keystore.Error{Err: keystore.ErrInvalid, Detail: detail} }

func foreignf(format string, args ...any) error { return foreign(fmt.Sprintf(format, args...)) }
