package oauthtest

import (
	"net/http"
	"slices"
	"testing"
)

func TestAPITakesActiveTokensOfGroups(t *testing.T) {
	s := New(t)
	api := s.API(t)
	groups := s.AccessToken(client, "urn:globus:auth:scope:groups.api.globus.org:all")
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(authorization string) int {
		req, _ := http.NewRequest(http.MethodGet, api.URL+MyGroups, nil)
		req.Header.Set("Authorization", authorization)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	var got []int
	for _, authorization := range []string{"", groups, "Bearer " + s.AccessToken(client, transferAll), "Bearer " + groups} {
		got = append(got, ask(authorization))
	}
	api.RefuseNext()
	api.RedirectNext(http.StatusSeeOther, "/elsewhere")
	api.DemandNext(`{"code": "ConsentRequired", "required_scopes": ["openid"]}`)
	for range 4 {
		got = append(got, ask("Bearer "+groups))
	}
	s.SetLifetime(-1)
	got = append(got, ask("Bearer "+s.AccessToken(client, "urn:globus:auth:scope:groups.api.globus.org:all")))
	if want := []int{401, 401, 401, 200, 401, 303, 403, 200, 401}; !slices.Equal(got, want) {
		t.Errorf("it answers %v, want %v", got, want)
	}
	if all := api.Authorizations(); len(all) != 9 || all[0] != "" || all[3] != "Bearer "+groups {
		t.Errorf("it has seen %q", all)
	}
}
