package client

import (
	"crypto/rsa"
	"errors"
	"math/big"
	"net/http"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
)

func add(t *testing.T, r *Registry, c Client, cred ...Credential) {
	t.Helper()
	if err := r.Add(c, cred...); err != nil {
		t.Fatal(err)
	}
}

func ask(headers ...string) *http.Request {
	r, _ := http.NewRequest("GET", "https://gate.test/?access_token=good&token=good", nil)
	r.AddCookie(&http.Cookie{Name: "Authorization", Value: "Bearer good"})
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func TestC01_OnlyOneHeaderWithAKnownCredentialIsSomebody(t *testing.T) {
	t.Parallel()
	r := NewRegistry(Config{})
	if _, err := r.Authenticate(ask("Bearer ")); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("an empty registry says %v", err)
	}
	add(t, r, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Bearer: "older"}, Credential{Bearer: "good"})
	add(t, r, Client{ID: Resident, UserStores: []string{"primary"}}, Credential{User: "admin", Password: "pass:word"})
	for _, h := range []string{"Bearer good", "bearer good", "Bearer  good", "Bearer older"} {
		if c, err := r.Authenticate(ask(h)); err != nil || c.ID != "hr" {
			t.Errorf("%q is %v, %v", h, c, err)
		}
	}
	if c, err := r.Authenticate(ask("Basic YWRtaW46cGFzczp3b3Jk")); err != nil || c.ID != Resident {
		t.Errorf("Basic is %v, %v", c, err)
	}
	for _, h := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {"good"}, {"Bearer good "}, {"Bearer goo"}, {"Bearer good", "Bearer good"}, {"Bearer good, Basic x"},
		{"Basic good"}, {"Basic " + "YWRtaW46"}, {"Basic YWRtaW46cGFzcw=="}, {"Bearer admin"}, {"Bearer pass:word"}, {"Token good"},
	} {
		if c, err := r.Authenticate(ask(h...)); !errors.Is(err, ErrUnauthorized) || c != nil {
			t.Errorf("%q is %v, %v", h, c, err)
		}
	}
}

func TestRegistryRefusesWhatIsAmbiguousOrOpen(t *testing.T) {
	t.Parallel()
	stores := []string{"primary"}
	for name, c := range map[string]struct {
		Client
		cred []Credential
	}{
		"no ID":                  {Client{UserStores: stores}, []Credential{{Bearer: "x"}}},
		"the same ID":            {Client{ID: "hr", UserStores: stores}, []Credential{{Bearer: "x"}}},
		"no store":               {Client{ID: "a"}, []Credential{{Bearer: "x"}}},
		"an empty credential":    {Client{ID: "a", UserStores: stores}, []Credential{{}}},
		"another's credential":   {Client{ID: "a", UserStores: stores}, []Credential{{Bearer: "good"}}},
		"one twice":              {Client{ID: "a", UserStores: stores}, []Credential{{Bearer: "x"}, {Bearer: "x"}}},
		"two in one":             {Client{ID: Resident, UserStores: stores}, []Credential{{Bearer: "x", User: "a", Password: "b"}}},
		"a secret and a bearer":  {Client{ID: "a", UserStores: stores}, []Credential{{Bearer: "x", Secret: "y"}}},
		"one of our tokens":      {Client{ID: "a", UserStores: stores}, []Credential{{Bearer: "gh_token_x"}}},
		"one of our grants":      {Client{ID: "a", UserStores: stores}, []Credential{{Bearer: "gh_access_x"}}},
		"a short key":            {Client{ID: "a", UserStores: stores}, []Credential{{Key: &rsa.PublicKey{N: big.NewInt(77), E: 3}}}},
		"a key that signs not":   {Client{ID: "a", UserStores: stores}, []Credential{{Key: "text"}}},
		"Basic for another":      {Client{ID: "a", UserStores: stores}, []Credential{{User: "a", Password: "b"}}},
		"Basic with a colon":     {Client{ID: Resident, UserStores: stores}, []Credential{{User: "a:b", Password: "b"}}},
		"Basic with no password": {Client{ID: Resident, UserStores: stores}, []Credential{{User: "a"}}},
	} {
		r := NewRegistry(Config{})
		add(t, r, Client{ID: "hr", UserStores: stores}, Credential{Bearer: "good"})
		if err := r.Add(c.Client, c.cred...); err == nil {
			t.Errorf("%s was taken", name)
		}
		if r.Basic() {
			t.Errorf("%s made Basic possible", name)
		}
	}
}

func TestNamesStayInTheClientsStores(t *testing.T) {
	t.Parallel()
	c := &Client{ID: "hr", UserStores: []string{"partners", "mysql"}}
	for name, want := range map[string][2]string{"kim": {"partners", "kim"}, "mysql/kim": {"mysql", "kim"}, "MySQL/kim": {"mysql", "kim"}, "partners/a/b": {"partners", "a/b"}} {
		if store, rest, err := c.Split(name); err != nil || store != want[0] || rest != want[1] {
			t.Errorf("%s is %s, %s, %v", name, store, rest, err)
		}
	}
	for _, name := range []string{"primary/kim", "/kim", "oracle/kim", "a/b"} {
		if store, rest, err := c.Split(name); !errors.Is(err, ErrStore) {
			t.Errorf("%s is %s, %s, %v", name, store, rest, err)
		}
	}
	if c.Join("partners", "kim") != "kim" || c.Join("mysql", "kim") != "mysql/kim" {
		t.Error("names are not shown as they are taken")
	}
	if _, _, err := (&Client{}).Split("kim"); !errors.Is(err, ErrStore) {
		t.Errorf("nobody's name is in a store: %v", err)
	}
}

func TestC18_GroupsAreThoseOfThePatterns(t *testing.T) {
	t.Parallel()
	g := func(name string) provisioning.Group { return provisioning.Group{Store: "primary", Name: name} }
	c := &Client{ID: "hr", UserStores: []string{"primary"}, Groups: []string{"hr-*", "Staff", "a*b*c"}}
	for _, name := range []string{"hr-", "HR-Payroll", "staff", "abc", "axxbyyc", "abbc"} {
		if !c.Manages(g(name)) {
			t.Errorf("%s is not managed", name)
		}
	}
	for _, name := range []string{"", "gatehouse-admin", "xhr-a", "hr", "staff2", "ac", "ab", "acb", "bc"} {
		if c.Manages(g(name)) {
			t.Errorf("%s is managed", name)
		}
	}
	if c.Manages(provisioning.Group{Store: "partners", Name: "staff"}) || (&Client{UserStores: []string{"primary"}}).Manages(g("staff")) {
		t.Error("a group of another store, or without any pattern, is managed")
	}
}

func TestZeroClientMayNothing(t *testing.T) {
	t.Parallel()
	c := From(t.Context())
	if c.May("") || c.May("primary") || c.Pushes("crm") || c.Manages(provisioning.Group{}) {
		t.Errorf("%+v", c)
	}
	if From(With(t.Context(), &Client{ID: "hr"})).ID != "hr" {
		t.Error("the client of a context is not found")
	}
}
