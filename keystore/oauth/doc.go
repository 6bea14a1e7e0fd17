// Package oauth talks to the token endpoint of an OAuth 2 issuer, first of all
// Globus Auth, and to nobody else.
//
//	c, err := oauth.NewClient(oauth.Globus("production"), oauth.Credentials{ID: id}, nil)
//	answer, err := c.RefreshToken(ctx, old)
//	err = store.OnRefresh(ctx, answer.Response)
//
// A token request is sent once: it may spend a code or a refresh token that is
// good for one use, so nothing here sends it again, follows a redirect, or asks
// another host. What comes back is bounded in size and time, and is read so
// that it means one thing only; an answer that is not what was asked for is an
// error, never a token. No error and no result shows a secret, a part of the
// answer's text, or a URL.
//
// The environment says which proxy an https request goes through, as for other
// programs (HTTPS_PROXY, NO_PROXY); a proxy sees the host's name, and no more.
// No variable says which host that is.
//
// Login flows, the verification of id_tokens and the source of tokens that
// renews them are not here yet.
package oauth
