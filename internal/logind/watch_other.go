//go:build !unix || darwin

package logind

import (
	"context"
	"fmt"
	"runtime"
)

// Watch returns ErrNothing: there is no logind here.
func Watch(context.Context, func(string) string, func(why string)) error {
	return fmt.Errorf("%w: there is no logind on %s", ErrNothing, runtime.GOOS)
}
