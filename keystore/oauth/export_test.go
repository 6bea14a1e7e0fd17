package oauth

import (
	"net/http"
	"time"
)

// Through returns options whose requests take another way.
func Through(t http.RoundTripper) *Options { return &Options{transport: t} }

// SetUptime puts now in place of the clock that runs evenly.
func (s *Source) SetUptime(now func() time.Time) { s.uptime = now }
