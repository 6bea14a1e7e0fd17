package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// page is what a browser shows of a login. It is all that there is to see:
// no script, nothing from elsewhere, nothing of the request.
type page struct{ title, text string }

// The texts; %s is the program's name. Whether the login is stored is known to
// the program alone.
var (
	pageReceived = page{"The login was received", "You may close this window and go back to %s, which says how it went on."}
	pageRefused  = page{"The login was not completed", "You may close this window and go back to %s, which says why."}
	pageStray    = page{"This is not an answer to a login", "%s is waiting for another page. Please go back to the one where you log in."}
)

const pageStyle = `:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}`

const pageHTML = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%[1]s</title>
<style>` + pageStyle + `</style>
</head>
<body>
<h1>%[1]s</h1>
<p>%[2]s</p>
</body>
</html>
`

// show sends a page whole, as far as this side can.
func show(w http.ResponseWriter, status int, p page) {
	text := fmt.Sprintf(pageHTML, p.title, fmt.Sprintf(p.text, html.EscapeString(program())))
	style := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
	http.NewResponseController(w).Flush()
}

// program is what the person has started.
func program() string {
	return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
}
