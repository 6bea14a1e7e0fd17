package interop

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jeremija/gosubmit"
)

// browser brings the person from a URL to the result page of the loopback flow,
// and returns what the page says.
type browser func(t *testing.T, url string) (text string)

// plain is a browser without anything but a cookie jar.
func plain(t *testing.T, url string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: time.Minute}
	form := get(t, c, url)
	defer form.Body.Close()
	login, err := gosubmit.ParseResponse(form, form.Request.URL).FirstForm().NewRequest(
		gosubmit.Set("username", username), gosubmit.Set("password", password))
	if err != nil {
		t.Fatal(err)
	}
	login.URL = form.Request.URL.ResolveReference(login.URL)
	page, err := c.Do(login)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil || page.StatusCode != http.StatusOK {
		t.Fatalf("the result page: %s, %v\n%s", page.Status, err, text)
	}
	return string(text)
}

func get(t *testing.T, c *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s", resp.Request.URL.Path, resp.Status)
	}
	return resp
}

const chromiumProgram = "chromium"

// chromium is Debian's, without a window. A picture of the result page goes to
// the test's artifacts.
func chromium(t *testing.T, url string) string {
	t.Helper()
	ctx := newChromium(t)
	const user, secret = chromedp.CSS("#username"), chromedp.CSS("#password")
	if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.SendKeys(user, username), chromedp.SendKeys(secret, password)); err != nil {
		t.Fatal(err)
	}
	page, err := chromedp.RunResponse(ctx, chromedp.Submit(secret))
	if err != nil {
		t.Fatal(err)
	}
	if page.Status != http.StatusOK {
		t.Fatalf("the result page has status %d", page.Status)
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "result.png", picture)
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newChromium starts a browser that speaks to loopback alone, with a new profile.
func newChromium(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromiumProgram),
		chromedp.NoSandbox, // it has none for root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.WindowSize(1000, 700),
		chromedp.Env("HOME="+t.TempDir()),
	)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithLogf(t.Logf))
	t.Cleanup(cancel)
	t.Cleanup(func() { chromedp.Cancel(ctx) })
	return ctx
}

// keep writes a file beside the test's log: go test -artifacts.
func keep(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(t.ArtifactDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log("wrote " + path)
}
