package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func ftoa(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// overview is how things are today; each number leads to what it counts.
func (d *desk) overview(r *http.Request) (web.Board, error) {
	b := d.board(r, "overview", say("overview.title"), "")
	var v api.Overview
	if err := d.ask(r, "GET /v1/overview", &v); err != nil {
		return b, err
	}
	audits := d.may(r, "auditors")
	count := func(n int, kind string) web.Cell {
		c := text(strconv.Itoa(n))
		if v.More && n > 0 {
			c.Value = "≥ " + c.Value
		}
		if audits {
			c.URL = at("/audit", "kind", kind)
		}
		return c
	}
	today := web.Block{Heading: say("overview.today"), Facts: []web.Fact{
		{Label: say("overview.sign_ins"), Cell: count(v.SignIns, "login")},
		{Label: say("overview.refused"), Cell: count(v.Refused, "login.refused")},
		{Label: say("overview.denied"), Cell: count(v.Denied, "denied")},
		{Label: say("overview.requests"), Cell: web.Cell{Value: strconv.Itoa(v.Requests), URL: "/.gatehouse/requests/open"}},
	}}
	chart := &web.Chart{Caption: say("overview.hours"), Head: say("overview.hour"), Series: []web.Text{say("overview.sign_ins"), say("overview.not_let_in")}}
	for h := range 24 {
		p := web.Point{Label: fmt.Sprintf("%02d:00", h), Values: []int{0, 0}}
		if h < len(v.Hours) {
			p.Values = []int{v.Hours[h].SignIns, v.Hours[h].Refused + v.Hours[h].Denied}
		}
		chart.Points = append(chart.Points, p)
	}
	today.Chart = chart
	b.Blocks = append(b.Blocks, codeSearch(""), today)

	work := &web.Table{Caption: say("overview.targets"), Head: heads("target.target", "target.state", "target.pending", "target.oldest", "target.dead"), None: say("target.none")}
	for _, t := range v.Targets {
		oldest := web.Cell{}
		if t.Oldest > 0 {
			oldest = text(t.Oldest.Round(time.Second).String())
		}
		work.Rows = append(work.Rows, row(web.Cell{Value: titled(t.Title, t.ID), URL: at("/target", "id", t.ID)}, targetState(t.TargetView),
			web.Cell{Value: strconv.Itoa(t.Pending), URL: at("/tasks", "kind", "sync", "state", "waiting")}, oldest,
			web.Cell{Value: strconv.Itoa(t.Dead), URL: at("/tasks", "kind", "sync", "state", "parked")}))
	}
	b.Blocks = append(b.Blocks, web.Block{Heading: say("overview.work"), Table: work})

	ends := &web.Table{Caption: say("overview.ends"), Head: heads("end.what", "end.of", "end.until", "end.state"), None: say("end.none")}
	for _, e := range v.Ends {
		state := "ok"
		if left := time.Until(e.Until); left < 0 {
			state = "dead"
		} else if left < 30*24*time.Hour {
			state = "soon"
		}
		ends.Rows = append(ends.Rows, row(web.Cell{Text: word("end", e.Use)}, text(e.ID), web.Cell{At: e.Until}, marked("end_state", state)))
	}
	backup := web.Cell{Text: say("overview.no_backup"), Mark: "bad"}
	if !v.Backup.IsZero() {
		backup = web.Cell{At: v.Backup}
	}
	if d.may(r, "auditors") {
		b.Blocks = append(b.Blocks, web.Block{Heading: say("overview.care"), Facts: []web.Fact{{Label: say("overview.backup"), Cell: backup}}, Table: ends, Ways: []web.Way{{Text: say("overview.settings"), URL: at("/settings")}}})
	} else {
		b.Blocks = append(b.Blocks, web.Block{Heading: say("overview.care"), Facts: []web.Fact{{Label: say("overview.backup"), Cell: backup}}, Table: ends})
	}
	return b, nil
}

// codeSearch leads from a support code to all that happened under it.
func codeSearch(code string) web.Block {
	f := input("code", "code", "flow.code", code)
	f.Hint, f.Kind = say("flow.hint"), "search"
	return web.Block{Forms: []web.Form{{Action: at("/flow"), Search: true, Fields: []web.Field{f}, Button: say("flow.open")}}}
}

func titled(title, id string) string {
	if title == "" {
		return id
	}
	return title
}

// settings are what the gateway runs with.
func (d *desk) settings(r *http.Request) (web.Board, error) {
	b := d.board(r, "settings", say("settings.title"), "")
	var v api.Settings
	if err := d.ask(r, "GET /v1/settings", &v); err != nil {
		return b, err
	}
	b.Lead = says("settings.lead")
	taken := marked("taken", "yes")
	if !v.Good {
		taken = marked("taken", "no")
	}
	b.Blocks = append(b.Blocks, web.Block{Heading: say("settings.gateway"), Facts: []web.Fact{
		{Label: say("settings.version"), Cell: text(v.Version)},
		{Label: say("settings.address"), Cell: text(v.PublicURL)},
		{Label: say("settings.listen"), Cell: text(v.Listen)},
		{Label: say("settings.file"), Cell: text(v.File)},
		{Label: say("settings.taken"), Cell: taken},
		{Label: say("settings.since"), Cell: web.Cell{At: v.Taken}},
	}})
	store := web.Block{Heading: say("settings.store"), Facts: []web.Fact{
		{Label: say("settings.where"), Cell: text(v.Store)},
		{Label: say("settings.size"), Cell: text(size(v.Size))},
		{Label: say("settings.free"), Cell: text(size(v.Free))},
	}}
	if v.Backup.IsZero() {
		store.Facts = append(store.Facts, web.Fact{Label: say("overview.backup"), Cell: web.Cell{Text: say("overview.no_backup"), Mark: "bad"}})
	} else {
		store.Facts = append(store.Facts, web.Fact{Label: say("overview.backup"), Cell: web.Cell{At: v.Backup}})
	}
	if d.may(r) {
		store.Ways = []web.Way{{Text: say("settings.download"), URL: "/.gatehouse/api/v1/store/backup", File: true}}
	}
	keys := &web.Table{Caption: say("settings.keys"), Head: heads("key.use", "key.id", "key.kind", "end.until"), None: say("key.none")}
	for _, k := range v.Keys {
		does := word("key_does", k.Use)
		does.Else = k.ID
		keys.Rows = append(keys.Rows, row(web.Cell{Text: word("key", k.Use)}, web.Cell{Text: does}, web.Cell{Text: word("key_state", k.Kind)}, web.Cell{At: k.Until}))
	}
	duties := &web.Table{Caption: say("settings.duties"), Head: heads("duty.duty", "duty.roles", "duty.groups", "duty.users"), None: say("duty.none")}
	for _, x := range v.Duties {
		duties.Rows = append(duties.Rows, row(web.Cell{Text: word("duty", x.Duty)}, web.Cell{Values: each(x.Roles, d.Role)}, web.Cell{Values: x.Groups}, web.Cell{Values: x.Users}))
	}
	b.Blocks = append(b.Blocks, store, web.Block{Heading: say("settings.keys"), Table: keys}, web.Block{Heading: say("settings.duties"), Table: duties},
		web.Block{Heading: say("settings.api"), Lead: says("settings.api_text"), Ways: []web.Way{{Text: say("settings.openapi"), URL: "/.gatehouse/api/v1/openapi.json", File: true}}})
	return b, nil
}
