package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// recovery runs the verb against the gateway that runs, and returns its link.
func (l *lab) recovery() string {
	l.t.Helper()
	link, _, _ := strings.Cut(l.run("admin", "recover"), "\n")
	if !strings.HasPrefix(link, l.at("", "/.gatehouse/recover?code=")) || len(codeOf(l, link)) != 43 {
		l.t.Fatalf("the link is %q", link)
	}
	return link
}

// run runs a verb with the lab's configuration and returns what it printed.
func (l *lab) run(args ...string) string {
	l.t.Helper()
	var out strings.Builder
	cmd := command()
	cmd.SetArgs(append(args, "-c", l.config))
	cmd.SetOut(&out)
	if err := cmd.ExecuteContext(l.t.Context()); err != nil {
		l.t.Fatalf("gatehouse %v: %v", args, err)
	}
	return out.String()
}

func codeOf(l *lab, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		l.t.Fatal(err)
	}
	return u.Query().Get("code")
}

// recovered is somebody who came in by a link.
func (l *lab) recovered() *person {
	l.t.Helper()
	p := l.person()
	p.open(l.recovery()).wants(http.StatusOK, "Come in")
	return p.submit(nil).wants(http.StatusOK, "/.gatehouse/admin/people")
}

// spends sends the form of the page, whatever the page in front is.
func (p *person) spends(l *lab, code string) *person {
	p.url, _ = url.Parse(l.at("", "/"))
	return p.do(http.MethodPost, l.at("", "/.gatehouse/recover"), url.Values{"code": {code}})
}

func TestA08A09_WhoHasTheMachineComesInWhateverIsBroken(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.person().open(l.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	users := l.rows()["user"]
	// Nobody administers, and no identity provider is where it is said to be.
	l.reload(func(s string) string {
		s = strings.Replace(s, "admins: { roles: [gatehouse-admin] }\n", "", 1)
		return strings.NewReplacer(l.campus.Issuer(), "http://127.0.0.1:1/campus", l.college.Issuer(), "http://127.0.0.1:1/college").Replace(s)
	})
	if p := l.person().open(l.at("", "/.gatehouse/login?idp=campus")); p.status < 400 {
		t.Fatalf("one can sign in at an identity provider that is not there: %d", p.status)
	}
	p := l.recovered()
	if p.url.Path != "/.gatehouse/admin/overview" {
		t.Errorf("led to %s", p.url)
	}
	for _, page := range []string{"", "people", "groups", "services", "targets", "tasks", "providers", "clients", "audit", "settings"} {
		p.open(l.at("", "/.gatehouse/admin/"+page)).wants(http.StatusOK)
	}
	p.open(l.at("", "/")).wants(http.StatusOK, "/.gatehouse/admin/")
	here := map[string]string{"Sec-Fetch-Site": "same-origin"}
	p.from(l.at("", "/.gatehouse/api/v1/user/active?name=alice&active=false"), here).wants(http.StatusOK, `"active":false`)
	p.from(l.at("", "/.gatehouse/api/v1/grant?name=alice&role=gatehouse-admin&until=8h"), here).wants(http.StatusOK, `"gatehouse-admin"`)
	// A way in is made on the machine alone.
	p.from(l.at("", "/.gatehouse/api/v1/recover"), here).wants(http.StatusNotFound, "api.not_found")
	if n := l.rows()["user"]; n != users {
		t.Errorf("%d users, of %d before", n, users)
	}
	// Ten minutes later changes want another link.
	l.clock.advance(11 * time.Minute)
	p.from(l.at("", "/.gatehouse/api/v1/user/active?name=alice&active=true"), here).wants(http.StatusForbidden, "access.step_up")
	p.open(l.at("", "/.gatehouse/logout")).submit(url.Values{"scope": {"provider"}}).wants(http.StatusOK)
	if p.open(l.at("", "/.gatehouse/admin/")); p.status == http.StatusOK && strings.Contains(p.body, "/.gatehouse/admin/people") {
		t.Error("signed out, and still in")
	}
}

func TestA09_ALinkWorksOnceInTimeAtItsOwnPageAndItsHost(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const code = "session.recovery"
	refused := func(why, secret string) {
		t.Helper()
		t.Log(why)
		p := l.person()
		l.refused(code, p, func() { p.spends(l, secret).wants(http.StatusForbidden) })
	}
	replaced := l.recovery()
	link := l.recovery()
	secret := codeOf(l, link)
	refused("another took its place", codeOf(l, replaced))
	refused("never made", session.Nonce())
	refused("no code", "")
	refused("no code either", strings.Repeat("é", 43))
	p := l.person()
	l.refused("path.unknown", p, func() { p.open(l.at("wiki", "/.gatehouse/recover?code="+secret)) })
	for range 3 { // whoever looks at the link uses nothing up
		p.do(http.MethodHead, link, nil).wants(http.StatusOK)
		p.open(link).wants(http.StatusOK)
	}
	form := url.Values{"code": {secret}}
	for _, from := range []string{"https://evil.example", l.at("wiki", ""), "null"} {
		p.url, _ = url.Parse(from + "/")
		l.refused("request.cross_site", p, func() { p.do(http.MethodPost, l.at("", "/.gatehouse/recover"), form) })
	}
	l.refused("request.parameters", p, func() { p.open(link + "&code=" + secret) })

	p.open(link).submit(nil).wants(http.StatusOK, "/.gatehouse/admin/people")
	refused("used", secret)
	link = l.recovery()
	l.clock.advance(10 * time.Minute)
	refused("old", codeOf(l, link))
	link = l.recovery()
	l.clock.advance(10*time.Minute - 2*time.Second)
	l.person().open(link).submit(nil).wants(http.StatusOK, "/.gatehouse/admin/people")
}

func TestA09_ACodeIsInNoLogAndNotInTheStore(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.AccessLog = true })
	link := l.recovery()
	code := codeOf(l, link)
	p := l.person()
	p.open(link).wants(http.StatusOK)
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	unused := []string{l.log.String()}
	p.submit(nil).wants(http.StatusOK)
	l.person().spends(l, code).wants(http.StatusForbidden)
	var kinds []string
	for _, e := range l.recorded() {
		if strings.HasPrefix(e.Kind, "recovery.") {
			kinds = append(kinds, e.Kind)
		}
		unused = append(unused, e.Kind+e.Text+e.By+e.Flow+e.From+strings.Join(e.Names, " "))
	}
	if strings.Join(kinds, " ") != "recovery.offered recovery.used" {
		t.Errorf("the audit log has %v", kinds)
	}
	again := l.recovery() // one that is kept, unused
	l.stop()
	raw, err := os.ReadFile(filepath.Join(l.dir, "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "session_recovery") || !strings.Contains(l.log.String(), "/.gatehouse/recover") {
		t.Error("the store or the log is not what was looked for") // the control
	}
	for what, where := range map[string]string{"the log": l.log.String(), "the store": string(raw), "the audit log": strings.Join(unused, "\n")} {
		if strings.Contains(where, code) || strings.Contains(where, codeOf(l, again)) {
			t.Errorf("the code is in %s", what)
		}
	}
}

func TestA09_ACodeOutlivesARestartAndNotTheStore(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	link := l.recovery()
	l.restart()
	p := l.person()
	p.open(link).submit(nil).wants(http.StatusOK, "/.gatehouse/admin/people")
	link = l.recovery()
	l.stop()
	for _, name := range []string{"gatehouse.db", "gatehouse.db.id"} {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l.start()
	p = l.person()
	l.refused("session.recovery", p, func() { p.spends(l, codeOf(l, link)) })
}

func TestA09_TheSessionOpensNoServiceAndEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.recovered()
	// As to whoever is not signed in, a sign-in is offered at each service.
	for _, host := range []string{"wiki", "payroll", "admins", "campus-only", "vault"} {
		if p.open(l.at(host, "/")); strings.HasPrefix(p.url.Host, host+".") || strings.Contains(p.body, "X-Forwarded-User") {
			t.Errorf("%s: %d at %s", host, p.status, p.url)
		}
	}
	if got := l.upstream.got(); len(got) > 0 {
		t.Fatalf("a service received %v", got)
	}
	p.open(l.at("campus-only", "/public")).wants(http.StatusOK) // what everybody may
	if got := strings.Join(l.upstream.got(), ""); !strings.Contains(got, "/public") || strings.Contains(got, session.Recovery) {
		t.Errorf("the service received %s", got)
	}
	if list := l.run("sessions", "list", "--idp", "recover"); !strings.Contains(list, "recover  recover") {
		t.Errorf("sessions list prints %s", list)
	}
	var list []webapi.Session
	l.admin(http.MethodGet, "sessions", url.Values{"idp": {"recover"}}, &list)
	if len(list) != 1 || list[0].Until.Sub(list[0].Created) > session.RecoveryLife {
		t.Fatalf("the sessions are %+v", list)
	}
	in := func(p *person) bool {
		p.program(http.MethodGet, l.at("", "/.gatehouse/api/v1/users"))
		return p.status == http.StatusOK
	}
	other := l.recovered()
	if !in(p) || !in(other) {
		t.Fatal("who came in is not in")
	}
	l.run("sessions", "end", list[0].ID)
	if in(p) || !in(other) {
		t.Error("the session that was ended lives, or the other does not")
	}
	for range 2 { // being used does not make it last
		l.clock.advance(14 * time.Minute)
		if !in(other) {
			t.Fatal("over before its time")
		}
	}
	l.clock.advance(2*time.Minute + time.Second)
	if in(other) {
		t.Error("in after half an hour")
	}
}

func TestA09_GuessesArePaced(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.PerAddress = 1 })
	p := l.person()
	for range 30 {
		if p.spends(l, "guess"); p.status == http.StatusTooManyRequests {
			break
		}
	}
	p.wants(http.StatusTooManyRequests, "request.too_many")
}
