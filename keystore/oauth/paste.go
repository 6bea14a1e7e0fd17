package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// paste has the person bring the answer: the issuer's page shows the code, or
// the browser ends at a URL of this machine at which nobody is, with the code in
// it.
func (a *attempt) paste(ctx context.Context) (keystore.Secret, error) {
	if a.redirect = codePage(a.provider.Issuer); a.redirect == "" {
		a.redirect = fmt.Sprintf("http://127.0.0.1:%d", 49152+rand.IntN(65536-49152)) // RFC 6335 section 6
	}
	waiting, cancel := a.waiting(ctx)
	defer cancel()
	if err := a.visit(waiting); err != nil {
		return keystore.Secret{}, err
	}
	pasted := make(chan answered, 1)
	go func() {
		text, err := a.Code(waiting)
		pasted <- answered{text, err}
	}()
	select {
	case p := <-pasted:
		if p.err != nil {
			return keystore.Secret{}, p.err
		}
		return a.pasted(p.code.Reveal())
	case <-waiting.Done():
		return keystore.Secret{}, a.ended(waiting)
	}
}

// pasted reads what the person has pasted: a bare code, or the URL that the
// browser ended at. A bare code does not name its login; that it is of this one
// is known to the issuer, by the PKCE challenge.
func (a *attempt) pasted(text string) (keystore.Secret, error) {
	text = strings.TrimSpace(text)
	page, query, isURL := strings.Cut(text, "?")
	if !isURL && a.provider.NamesItself {
		return keystore.Secret{}, invalid("what was pasted is not the whole URL that the browser ended at, which names the issuer")
	}
	if !isURL {
		if !visibleText(text, maxToken) || strings.ContainsAny(text, "&#") || strings.Contains(text, "://") {
			return keystore.Secret{}, invalid("what was pasted is neither a code nor the URL that the browser ended at")
		}
		return keystore.NewSecret(text), nil
	}
	query, _, _ = strings.Cut(query, "#")
	code, err := a.read(query)
	if !a.isRedirect(page) || errors.Is(err, errStray) {
		return keystore.Secret{}, invalid("the URL that was pasted is not the one that this login ends at")
	}
	return code, err
}

// isRedirect reports whether page is the redirect URI as browsers show it.
func (a *attempt) isRedirect(page string) bool {
	_, bare, _ := strings.Cut(a.redirect, "://")
	page = strings.TrimSuffix(page, "/")
	return page == a.redirect || page == bare
}
