package interop

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	clientID = "native"
	subject  = "id2" // of the person who logs in, as the example's storage has it
	username = "test-user2"
	password = "verysecure"
)

// server is the example server of zitadel/oidc on loopback, with one native
// client whose redirect URI is http://127.0.0.1 with any port. It rotates
// refresh tokens; an access token lives 5 minutes. All that it does is its own but
// for what kind says; grants and posts tell what that was.
type server struct {
	*storage.Storage
	issuer string
	kind   kind

	mu     sync.Mutex
	grants []grant  // in order, each with a refresh token
	posts  []string // paths of POST requests, in order
}

// kind is one of the ways to run it.
type kind struct {
	rewritten bool // by the second of its two implementations
	jwt       bool // access tokens are JWTs
	claims    bool // the id_token has the person's name
	hard      bool // the access token of a login lives 3 seconds, a refresh takes 4
}

// grant is what the token endpoint gave, and for which refresh token, if any.
type grant struct {
	spent, refresh string
	expiry         time.Time // of the access token
}

func newServer(t *testing.T, k kind) *server {
	t.Helper()
	s := &server{kind: k}
	web := httptest.NewUnstartedServer(nil)
	s.issuer = "http://" + web.Listener.Addr().String()
	clients := map[string]*storage.Client{clientID: storage.NativeClient(clientID, "http://127.0.0.1")}
	s.Storage = storage.NewStorageWithClients(storage.NewUserStore(s.issuer), clients)
	provider := exampleop.SetupServer(s.issuer, s, slog.New(slog.DiscardHandler), k.rewritten)
	web.Config.Handler = s.noting(provider)
	web.Start()
	t.Cleanup(web.Close)
	return s
}

// resourceServer is what our command calls the login: the issuer names none.
func (s *server) resourceServer() string { return s.issuer[len("http://"):] }

// login is the command that logs in for the first time.
func (s *server) login() []string {
	return []string{"login", "--issuer", s.issuer, "--client-id", clientID, "--scopes", "openid profile email offline_access"}
}

func (s *server) noting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.mu.Lock()
			s.posts = append(s.posts, r.URL.Path)
			s.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// GetClientByClientID is the storage's. It has no other way to set these two.
func (s *server) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return client{c, s.kind}, err
}

type client struct {
	op.Client
	kind kind
}

func (c client) IDTokenUserinfoClaimsAssertion() bool { return c.kind.claims }

func (c client) AccessTokenType() op.AccessTokenType {
	if c.kind.jwt {
		return op.AccessTokenTypeJWT
	}
	return op.AccessTokenTypeBearer
}

// CreateAccessAndRefreshTokens is the storage's, and notes the refresh tokens.
func (s *server) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, spent string) (string, string, time.Time, error) {
	if spent != "" && s.kind.hard {
		time.Sleep(4 * time.Second)
	}
	access, refresh, expiry, err := s.Storage.CreateAccessAndRefreshTokens(ctx, r, spent)
	if spent == "" && s.kind.hard {
		expiry = time.Now().Add(3 * time.Second)
	}
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.grants = append(s.grants, grant{spent, refresh, expiry})
	}
	return access, refresh, expiry, err
}

// granted returns the grants so far. There must be n.
func (s *server) granted(t *testing.T, n int) []grant {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.grants) != n {
		t.Fatalf("the server has granted %d times, not %d", len(s.grants), n)
	}
	return slices.Clone(s.grants)
}

// posted returns how many POST requests came to a path.
func (s *server) posted(path string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.posts {
		if p == path {
			n++
		}
	}
	return n
}

// refreshable reports whether the server would renew this refresh token.
func (s *server) refreshable(t *testing.T, refresh string) bool {
	_, err := s.TokenRequestByRefreshToken(t.Context(), refresh)
	return err == nil
}

// accepts reports whether an access token is good at the server's userinfo
// endpoint, which is an API like any other.
func (s *server) accepts(t *testing.T, access string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusForbidden: // it says this of every dead token
		return false
	}
	t.Fatalf("userinfo answered %s", resp.Status)
	return false
}
