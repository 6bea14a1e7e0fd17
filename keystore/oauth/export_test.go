package oauth

import "net/http"

// Through returns options whose requests take another way.
func Through(t http.RoundTripper) *Options { return &Options{transport: t} }
