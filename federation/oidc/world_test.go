package oidc_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/federationtest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
)

// clock is the one clock of a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const secret = "s:e%c+r e&t=ü"

// world is a provider under test and the OpenID provider that it trusts.
type world struct {
	*oidc.Provider
	t     *testing.T
	op    *idptest.OP
	clock *clock
	net   *federationtest.Net
	cfg   oidc.Config
}

// setup changes what a world is made of.
type setup struct {
	host   string // op.example
	rp     func(*oidc.Config)
	op     func(*idptest.OPConfig)
	client func(*idptest.OPClient)
	net    *federationtest.Net
	clock  *clock
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	if s.host == "" {
		s.host = "op.example"
	}
	if s.net == nil {
		s.net = federationtest.NewNet()
	}
	if s.clock == nil {
		s.clock = newClock()
	}
	callback := "https://gate.example/.gatehouse/oidc/" + s.host + "/callback"
	client := idptest.OPClient{ID: "gate:house", Secret: secret, RedirectURIs: []string{callback}}
	if s.client != nil {
		s.client(&client)
	}
	opcfg := idptest.OPConfig{
		Issuer: "https://" + s.host, Title: "Campus", People: idptest.Campus(), Algorithm: "ES256", Now: s.clock.Now,
		Clients: []idptest.OPClient{client}, OnRequest: actOf,
	}
	if s.op != nil {
		s.op(&opcfg)
	}
	w := &world{t: t, clock: s.clock, net: s.net, op: idptest.NewOP(opcfg)}
	s.net.Serve(t, s.host, w.op.Handler())
	w.cfg = oidc.Config{
		ID: s.host, Issuer: opcfg.Issuer, ClientID: client.ID, Secret: client.Secret, RedirectURL: callback,
		Client: s.net.Client(t), Now: s.clock.Now,
	}
	if s.rp != nil {
		s.rp(&w.cfg)
	}
	var err error
	if w.Provider, err = oidc.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// actOf is the fault that a request's parameter misbehave asks for: pairs of a
// name and a number.
func actOf(name string) idptest.OPFault {
	v, _ := url.ParseQuery(name)
	num := func(k string) int { n, _ := strconv.Atoi(v.Get(k)); return n }
	f := idptest.OPFault{
		Claims: func(c map[string]any) {
			if v.Has("weak") {
				c["acr"], c["amr"] = idptest.ACRSingle, []string{"pwd"}
			}
			if v.Has("before") {
				c["auth_time"] = c["auth_time"].(int64) - int64(num("before"))
			}
		},
		UserInfo: func(c map[string]any) {
			if n := num("groups"); n > 0 {
				groups := make([]string, n)
				for i := range groups {
					groups[i] = fmt.Sprintf("group-%d", i)
				}
				c["groups"] = groups
			}
			if n := num("fat"); n > 0 {
				c["fat"] = strings.Repeat("x", n)
			}
		},
	}
	return f
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// hiddenFields are those of a page's form.
func hiddenFields(page string) url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		v.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return v
}

// browse does what browser and person do, and gives the answer request.
func (w *world) browse(t *testing.T, c federation.Challenge, act federationtest.Act) *http.Request {
	t.Helper()
	client := *w.cfg.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u := *c.URL
	q := u.Query()
	wish := url.Values{}
	if act.Weak {
		wish.Set("weak", "1")
	}
	for name, n := range map[string]int{"before": int(act.Before / time.Second), "groups": act.Groups, "fat": act.Fat} {
		if n > 0 {
			wish.Set(name, strconv.Itoa(n))
		}
	}
	if len(wish) > 0 {
		q.Set("misbehave", wish.Encode())
	}
	u.RawQuery = q.Encode()
	form := url.Values{"user": {act.User}}
	if act.Cancel {
		form = url.Values{"cancel": {"yes"}}
	}
	var resp *http.Response
	var page string
	for range 2 {
		var err error
		resp, err = client.PostForm(u.String(), form)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		page = string(raw)
		if !strings.Contains(page, `name="factor"`) {
			break
		}
		form = hiddenFields(page)
		form.Set("factor", "yes")
	}
	if to := resp.Header.Get("Location"); resp.StatusCode == http.StatusSeeOther {
		return httptest.NewRequest(http.MethodGet, to, nil)
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(page, "Continue") {
		t.Fatalf("the provider answers %s\n%s", resp.Status, page)
	}
	r := httptest.NewRequest(http.MethodPost, w.cfg.RedirectURL, strings.NewReader(hiddenFields(page).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (w *world) side() federationtest.Side {
	s := federationtest.Side{
		Provider: w.Provider, ID: w.cfg.ID, Issuer: w.cfg.Issuer, Strong: idptest.ACRMulti, Groups: "groups", Proof: "code",
		Answer: w.browse,
	}
	for _, p := range idptest.Campus() {
		s.People = append(s.People, federationtest.Person{
			User: p.User, Subject: p.ID, SecondFactor: p.SecondFactor,
			Attributes: map[string][]string{
				"sub": {p.ID}, "preferred_username": {p.User}, "name": {p.Name}, "given_name": {p.Given}, "family_name": {p.Family},
				"email": {p.Mail}, "email_verified": {"true"}, "groups": p.Groups, "eduperson_scoped_affiliation": p.Affiliation,
			},
		})
	}
	return s
}

func TestProvider(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*oidc.Config){
		"query":     func(*oidc.Config) {},
		"form_post": func(c *oidc.Config) { c.FormPost = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			federationtest.Test(t, federationtest.Harness{
				Reasons: oidc.Reasons,
				Start: func(t *testing.T) federationtest.World {
					c, n := newClock(), federationtest.NewNet()
					one := newWorld(t, setup{host: "one.example", net: n, clock: c, rp: change})
					two := newWorld(t, setup{host: "two.example", net: n, clock: c, rp: change})
					return federationtest.World{One: one.side(), Two: two.side(), Advance: c.Advance, Now: c.Now}
				},
			})
		})
	}
}
