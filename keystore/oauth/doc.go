// Package oauth logs people in at an OAuth 2 issuer, first of all Globus Auth, and
// keeps their logins alive.
//
// A program whose user is logged in, by whatever program did it, needs a [Source]:
//
//	store, err := local.Open(ctx, nil)
//	source := oauth.NewSource(store, "groups.api.globus.org", nil)
//	client := oauth.NewHTTPClient(source, nil) // or oauth2.NewClient(ctx, source)
//	resp, err := client.Get("https://groups.api.globus.org/v2/groups/my_groups")
//
// The access token is renewed when it has to be: once, however many processes ask,
// and stored before anybody gets it. An error that wraps keystore.ErrNotFound or
// keystore.ErrLoginRequired says that somebody has to log in:
//
//	c, err := oauth.NewClient(oauth.Globus("production"), oauth.Credentials{ID: id}, nil)
//	_, err = oauth.Login(ctx, store, c, oauth.LoginOptions{Scopes: scopes, Visit: openBrowser})
//
// and [Logout] ends it, at the issuer first. Another issuer than Globus is found by
// [Discover]. A program that has a refresher of its own gives it [OnTokenChange], or
// the store's OnRefresh.
//
// A renewal under way is finished by the Store's Close. A program that catches SIGINT
// and SIGTERM, and closes its store before it exits, loses no answer that an issuer has
// given; os.Exit and log.Fatal run no deferred calls.
//
// # What goes where
//
// A refresh token and a client's secret go to the endpoints that were recorded,
// sealed, when somebody logged in, and to no other; an access token, through
// NewHTTPClient, to the hosts of its resource server. The environment says which
// proxy an https request goes through, as for other programs (HTTPS_PROXY,
// NO_PROXY); a proxy sees the host's name, and no more. No variable says which host
// that is.
//
// A token request is sent once: it may spend a code or a refresh token that is
// good for one use, so nothing here sends it again, follows a redirect, or asks
// another host. What comes back is bounded in size and time, and is read so
// that it means one thing only; an answer that is not what was asked for is an
// error, never a token. No error and no result shows a secret, a part of the
// answer's text, or a URL.
package oauth
