package admin

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// services lists what is behind the gateway.
func (d *desk) services(r *http.Request) (web.Board, error) {
	b := d.board(r, "services", say("services.title"), "")
	var list []api.Service
	if err := d.ask(r, "GET /v1/services", &list); err != nil {
		return b, err
	}
	b.Lead = says("services.lead")
	table := &web.Table{Caption: say("services.all"), Head: heads("services.service", "services.address", "services.rules", "services.attributes", "services.targets"), None: say("services.none")}
	for _, s := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: s.Title, URL: at("/service", "id", s.ID), Note: s.Description}, web.Cell{Value: s.URL, URL: s.URL},
			text(strconv.Itoa(len(s.Rules))), text(strconv.Itoa(len(s.Release))), web.Cell{Values: each(s.Provisioned, d.Target)}))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

// service is one: who may, what it learns, what it waits for, what happened.
func (d *desk) service(r *http.Request) (web.Board, error) {
	b := d.board(r, "services", say("service.title"), "")
	var s api.Service
	if err := d.ask(r, "GET /v1/service", &s, "id", r.FormValue("id")); err != nil {
		return b, err
	}
	b.Name = s.Title
	facts := web.Block{Facts: []web.Fact{
		{Label: say("services.address"), Cell: web.Cell{Value: s.URL, URL: s.URL}},
		{Label: say("service.upstreams"), Cell: web.Cell{Values: s.Upstreams}},
		{Label: say("service.headers"), Cell: text(s.Headers)},
		{Label: say("service.contact"), Cell: text(s.Contact)},
	}}
	if d.may(r, "helpdesk", "auditors") {
		facts.Ways = []web.Way{{Text: say("sessions.title"), URL: at("/sessions", "service", s.ID)}}
	}
	if len(s.Providers) > 0 {
		facts.Facts = append(facts.Facts, web.Fact{Label: say("service.providers"), Cell: web.Cell{Values: each(s.Providers, d.Provider)}})
	}
	if len(s.Offers) > 0 {
		facts.Facts = append(facts.Facts, web.Fact{Label: say("service.offers"), Cell: web.Cell{Values: each(s.Offers, d.Role)}})
	}
	learns := web.Block{Heading: say("service.release"), Table: serviceRelease(s)}
	if d.may(r, "release_editors", "auditors") {
		learns.Ways = []web.Way{{Text: say("service.release_editor"), URL: at("/release/to", "to", "service:"+s.ID)}}
	}
	b.Blocks = []web.Block{facts, {Heading: say("service.access"), Lead: says("service.access_text"), Table: d.serviceRules(s)}, learns}
	provisioned := web.Block{Heading: say("service.provisioning"), Lead: says("service.no_targets")}
	if len(s.Provisioned) > 0 {
		provisioned.Lead = says("service.targets_text")
		for _, id := range s.Provisioned {
			provisioned.Ways = append(provisioned.Ways, web.Way{Name: d.Target(id), URL: at("/target", "id", id)})
		}
	}
	b.Blocks = append(b.Blocks, provisioned)
	if d.may(r, "auditors") {
		var found api.Events
		if err := d.ask(r, "GET /v1/audit", &found, "service", s.ID, "limit", "20"); err != nil {
			return b, err
		}
		b.Blocks = append(b.Blocks, web.Block{Heading: say("service.activity"), Table: eventsTable(say("audit.events"), found.Events, found.Names), Ways: []web.Way{{Text: say("service.all_events"), URL: at("/audit", "service", s.ID)}}})
	}
	return b, nil
}

// serviceRules say who may.
func (d *desk) serviceRules(s api.Service) *web.Table {
	rules := &web.Table{Caption: say("service.access"), Head: heads("rule.rule", "rule.effect", "rule.whom", "rule.what"), None: say("service.closed")}
	for _, rule := range s.Rules {
		what := append(append([]string{}, rule.Methods...), rule.Paths...)
		cell := web.Cell{Values: what}
		if len(what) == 0 {
			cell = web.Cell{Text: say("rule.everything")}
		}
		rules.Rows = append(rules.Rows, row(web.Cell{Value: rule.ID, Note: rule.Text}, marked("effect", rule.Effect), d.whom(rule.Whom), cell))
	}
	return rules
}

// serviceRelease says what it may learn.
func serviceRelease(s api.Service) *web.Table {
	release := &web.Table{Caption: say("service.release"), Head: heads("person.attribute", "person.as", "service.filter", "person.purpose", "service.basis"), None: say("service.learns_nothing")}
	for _, v := range s.Release {
		filter := append([]string{}, v.Values...)
		if v.When != "" {
			filter = append(filter, v.When)
		}
		basis := web.Cell{}
		if v.Basis != "" {
			basis.Text = word("basis", v.Basis)
		}
		release.Rows = append(release.Rows, row(attribute(v.Attribute), text(titled(v.As, v.Attribute)), web.Cell{Values: filter}, text(v.Purpose), basis))
	}
	return release
}

// whom says the clauses of a rule in words, one a line; all of them count.
func (d *desk) whom(list []api.Clause) (c web.Cell) {
	for _, x := range list {
		kind, attr, _ := strings.Cut(x.Kind, ".")
		values := strings.Join(d.called(kind, x.Values), ", ")
		if kind == "attributes" {
			values = attr + ": " + values
		}
		c.Says = append(c.Says, say("clause."+kind, "values", values))
	}
	return c
}

// called are values of a clause as people call them.
func (d *desk) called(kind string, values []string) []string {
	switch kind {
	case "roles":
		return each(values, d.Role)
	case "identity_provider":
		return each(values, d.Provider)
	case "user_store":
		return each(values, d.Store)
	}
	return values
}

// rulesTable is how rules decided, each with what it lacked.
func (d *desk) rulesTable(reasons []authz.Reason) *web.Table {
	table := &web.Table{Caption: say("rule.trace"), Head: heads("rule.rule", "rule.effect", "rule.applies", "rule.lacks"), None: say("rule.none")}
	for _, x := range reasons {
		applies := marked("applies", "no")
		if x.Matched {
			applies = marked("applies", "yes")
		}
		lacks := web.Cell{}
		for _, c := range x.Unmet {
			kind, attr, _ := strings.Cut(c.Kind, ".")
			if attr != "" {
				attr += ": "
			}
			lacks.Says = append(lacks.Says, say("lacks."+kind, "want", attr+strings.Join(d.called(kind, c.Want), ", "), "have", titled(strings.Join(d.called(kind, c.Have), ", "), "—")))
		}
		if x.Err != "" {
			lacks.Note = x.Err
		}
		table.Rows = append(table.Rows, row(web.Cell{Value: x.Rule, Note: x.Text}, marked("effect", x.Effect.String()), applies, lacks))
	}
	return table
}
