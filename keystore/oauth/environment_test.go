package oauth_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
	"github.com/globus-keys/globus-keys/keystore/oauth"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

const childVariable = "GLOBUS_KEYS_TEST_LOGIN"

// childLogin is what TestRefreshInAnEnvironment gives to its child.
type childLogin struct {
	Provider oauth.Provider
	Refresh  string
	API      string // its host
}

// No variable moves a refresh, or a request to an API, to another host. It runs in
// a child, since net/http reads the variables for proxies once in a process.
func TestRefreshInAnEnvironment(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		refreshInChild(t)
		return
	}
	s, other := oauthtest.New(t), oauthtest.New(t)
	api := s.API(t)
	old := oneLogin(t, s, newClient(t, s, nil))
	p := s.Provider()
	p.TokenEndpoint = strings.Replace(p.TokenEndpoint, "127.0.0.1", "localhost", 1)
	login, _ := json.Marshal(childLogin{p, old.RefreshToken.Reveal(), strings.Replace(api.Host(), "127.0.0.1", "localhost", 1)})
	cmd := exec.Command(os.Args[0], "-test.run=^TestRefreshInAnEnvironment$", "-test.count=1")
	cmd.Env = append(os.Environ(), childVariable+"="+string(login), "NO_PROXY=", "no_proxy=",
		"GLOBUS_SDK_ENVIRONMENT=preview", "GLOBUS_SDK_SERVICE_URL_AUTH="+other.URL)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		cmd.Env = append(cmd.Env, name+"="+other.URL)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the child failed: %v\n%s", err, out)
	}
	if got := s.Counts().Refreshes; got != 2 {
		t.Errorf("the server was asked for %d refreshes, want 2", got)
	}
	if got := api.Authorizations(); len(got) != 1 || !strings.HasPrefix(got[0], "Bearer "+oauthtest.Fake) {
		t.Errorf("the API has seen %q", got)
	}
	if got := other.Counts(); got != (oauthtest.Counts{}) {
		t.Errorf("the proxy was asked %+v", got)
	}
}

func refreshInChild(t *testing.T) {
	var login childLogin
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &login); err != nil {
		t.Fatal(err)
	}
	c, err := oauth.NewClient(login.Provider, oauth.Credentials{ID: clientID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	old := keystore.Token{ResourceServer: transfer, RefreshToken: keystore.NewSecret(login.Refresh),
		Issuer: login.Provider.Issuer, ClientID: clientID}
	if _, err := c.RefreshToken(t.Context(), old); err != nil {
		t.Error(err)
	}
	apiInChild(t, login, old)
}

// apiInChild makes a request with a login that has to be renewed for it.
func apiInChild(t *testing.T, login childLogin, old keystore.Token) {
	store := keystore.New(memory.New(), nil)
	defer store.Close()
	old.AccessToken = keystore.NewSecret("fake-access")
	old.Endpoints.Token = login.Provider.TokenEndpoint
	put(t, store, old)
	c := oauth.NewHTTPClient(oauth.NewSource(store, transfer, nil), &oauth.TransportOptions{Hosts: []string{login.API}})
	resp, err := c.Get("http://" + login.API + oauthtest.MyGroups)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
