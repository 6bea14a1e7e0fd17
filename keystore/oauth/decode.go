package oauth

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// Limits of an answer, in bytes unless said otherwise.
const (
	maxToken       = 16 << 10
	maxIDToken     = 64 << 10
	maxScope       = 16 << 10
	maxOtherTokens = 64 // tokens
	maxLifetime    = 10 * 365 * 24 * time.Hour
	// unknownLifetime is that of a token whose answer does not tell it: enough
	// to use it at once. RFC 6749 section 5.1 recommends expires_in and does not
	// demand it.
	unknownLifetime = 60 * time.Second
)

// asked is what an answer is held against.
type asked struct {
	op        string
	provider  Provider
	clientID  string
	at        time.Time // when it was asked
	scope     string    // asked for, or held before a refresh; "": not known
	refreshOf string    // the resource server, of a refresh
	grant     string    // as keystore.Token has it
	array     bool      // a bare array of tokens is due
}

// tokenJSON is one token of an answer (RFC 6749 section 5.1). Fields that are
// not named here are dropped. null is as good as absent.
type tokenJSON struct {
	AccessToken    string          `json:"access_token"`
	RefreshToken   string          `json:"refresh_token"`
	TokenType      string          `json:"token_type"`
	ExpiresIn      json.RawMessage `json:"expires_in"`
	Scope          string          `json:"scope"`
	ResourceServer string          `json:"resource_server"` // Globus
}

// answerJSON is the answer: Globus puts one token at the top and those of other
// resource servers in other_tokens.
type answerJSON struct {
	tokenJSON
	IDToken     string      `json:"id_token"` // OpenID Connect Core section 3.1.3.3
	OtherTokens []tokenJSON `json:"other_tokens"`
}

// answerNames are the keys that must be spelled so.
var answerNames = []string{"access_token", "refresh_token", "token_type", "expires_in", "scope",
	"resource_server", "id_token", "other_tokens"}

// decode reads an answer. Its errors are in words of this package alone.
func decode(body []byte, a asked) (Answer, error) {
	tokens, idToken, err := split(body, a.array)
	if err != nil {
		return Answer{}, err
	}
	if idToken != "" && !visibleText(idToken, maxIDToken) {
		return Answer{}, errors.New("the id_token is malformed")
	}
	answer := Answer{IDToken: keystore.NewSecret(idToken)}
	if a.refreshOf == "" && !a.array {
		answer.Response.Account = keystore.Account{Issuer: a.provider.Issuer, ClientID: a.clientID}
	}
	if len(tokens) == 1 && tokens[0].Scope == "" {
		tokens[0].Scope = a.scope // not said because it is what was asked for (section 5.1)
	}
	for _, j := range tokens {
		t, err := j.token(a)
		if err != nil {
			return Answer{}, err
		}
		if slices.ContainsFunc(answer.Response.Tokens, sameServer(t)) {
			return Answer{}, errors.New("it names a resource server twice")
		}
		answer.Response.Tokens = append(answer.Response.Tokens, t)
	}
	if err := answer.compare(a); err != nil {
		return Answer{}, err
	}
	return answer, nil
}

func sameServer(t keystore.Token) func(keystore.Token) bool {
	return func(other keystore.Token) bool { return other.ResourceServer == t.ResourceServer }
}

// split takes the tokens out of an answer, unchecked.
func split(body []byte, array bool) (tokens []tokenJSON, idToken string, err error) {
	if strictjson.Check(body, answerNames...) != nil {
		// What Check says may quote a key, and a key may be anything.
		return nil, "", errors.New("it is not JSON, or has a key twice or wrongly cased")
	}
	malformed := errors.New("it is not made as it should be")
	if array {
		if json.Unmarshal(body, &tokens) != nil || tokens == nil {
			return nil, "", malformed
		}
	} else {
		var top answerJSON
		if json.Unmarshal(body, &top) != nil {
			return nil, "", malformed
		}
		tokens, idToken = append([]tokenJSON{top.tokenJSON}, top.OtherTokens...), top.IDToken
	}
	if len(tokens) > maxOtherTokens+1 || array && len(tokens) > maxOtherTokens {
		return nil, "", errors.New("it has too many tokens")
	}
	return tokens, idToken, nil
}

// token checks one token and fills in where it comes from.
func (j tokenJSON) token(a asked) (keystore.Token, error) {
	lifetime, err := lifetime(j.ExpiresIn)
	if err != nil {
		return keystore.Token{}, err
	}
	server, err := j.server(a)
	if err != nil {
		return keystore.Token{}, err
	}
	switch {
	case !visibleText(j.AccessToken, maxToken):
		err = errors.New("an access token is missing or malformed")
	case j.RefreshToken != "" && !visibleText(j.RefreshToken, maxToken):
		err = errors.New("a refresh token is malformed")
	case !strings.EqualFold(j.TokenType, "bearer"): // RFC 6750; case: RFC 6749 section 7.1
		err = errors.New("a token is not of type Bearer")
	case !scopeText(j.Scope):
		err = errors.New("a scope is malformed")
	}
	if err != nil {
		return keystore.Token{}, err
	}
	at := a.at.UTC().Truncate(time.Second)
	t := keystore.Token{
		ResourceServer: server,
		Scope:          j.Scope,
		AccessToken:    keystore.NewSecret(j.AccessToken),
		RefreshToken:   keystore.NewSecret(j.RefreshToken),
		TokenType:      j.TokenType,
		ExpiresAt:      a.at.Add(lifetime).UTC().Truncate(time.Second),
		Issuer:         a.provider.Issuer,
		ClientID:       a.clientID,
		Endpoints:      keystore.Endpoints{Token: a.provider.TokenEndpoint, Revocation: a.provider.RevocationEndpoint},
		Grant:          a.grant,
		Used:           at,
	}
	if a.refreshOf == "" {
		t.LoggedIn = at
	}
	return t, nil
}

// server is the resource server of a token: of a refresh that is the old one, so
// that its answer can be one token only. Globus always names it; where
// another issuer does not, it is what a refresh was for, or the issuer's host.
func (j tokenJSON) server(a asked) (string, error) {
	name := j.ResourceServer
	if name == "" && !isGlobus(a.provider.Issuer) {
		if name = a.refreshOf; name == "" {
			name = host(a.provider.Issuer)
		}
	}
	key := keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindToken, Name: name}
	if key.Check() != nil {
		return "", errors.New("a resource server is missing or malformed")
	}
	if a.refreshOf != "" && name != a.refreshOf {
		return "", errors.New("it is for another resource server")
	}
	return name, nil
}

// lifetime reads expires_in: a number of seconds, of at least one and at most
// ten years. Digits in a string count as a number, since there are servers that
// send them so (RFC 6749 appendix A.14 knows digits only).
func lifetime(raw json.RawMessage) (time.Duration, error) {
	text := string(raw)
	if text == "" || text == "null" {
		return unknownLifetime, nil
	}
	quoted := strings.HasPrefix(text, `"`)
	if quoted {
		text = strings.Trim(text, `"`)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil, quoted && strings.Trim(text, "0123456789") != "":
		return 0, errors.New("expires_in is not a number")
	case seconds < 1 || seconds > maxLifetime.Seconds():
		return 0, errors.New("expires_in is out of range")
	}
	return time.Duration(int64(seconds)) * time.Second, nil
}

// scopeText reports whether s is made of scopes (RFC 6749 section 3.3): ASCII
// without control characters, quote and backslash. Empty is one too.
func scopeText(s string) bool {
	return len(s) <= maxScope && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// compare fills in Narrowed and Widened. A refresh that has lost all its scopes
// gave a token for something else.
func (answer *Answer) compare(a asked) error {
	var granted []string
	for _, t := range answer.Response.Tokens {
		granted = append(granted, scopeNames(t.Scope)...)
	}
	want := scopeNames(a.scope)
	if a.scope == "" || a.array {
		return nil
	}
	answer.Narrowed = without(want, granted)
	if a.refreshOf == "" {
		return nil
	}
	answer.Widened = without(granted, want)
	if len(answer.Narrowed) > 0 && len(without(want, answer.Narrowed)) == 0 {
		return errors.New("it is for another scope")
	}
	return nil
}

// without returns the names of list that are not in minus, sorted, once each.
func without(list, minus []string) (left []string) {
	for _, name := range list {
		if !slices.Contains(minus, name) {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return slices.Compact(left)
}
