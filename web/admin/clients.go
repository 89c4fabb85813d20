package admin

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func (d *desk) clientPages() {
	d.page("/clients", d.clients, nil)
	d.page("/client", d.client, map[string]act{
		"make": {route: "POST /v1/client/tokens", fields: []string{"client", "expires"}, shows: func(r *http.Request, answer []byte) (web.Page, error) {
			b, err := d.client(r)
			if err != nil {
				return b, err
			}
			var made api.MadeToken
			if err := json.Unmarshal(answer, &made); err != nil {
				return b, err
			}
			once := web.Block{Heading: say("token.made"), Lead: says("token.once"), Once: made.Text}
			b.Blocks = append([]web.Block{once}, b.Blocks...)
			return b, nil
		}},
		"revoke":  {route: "DELETE /v1/client/tokens", fields: []string{"id"}, done: "token_revoked"},
		"approve": {route: "POST /v1/client/held", form: heldOf("approve"), done: "held_approved"},
		"reject":  {route: "POST /v1/client/held", form: heldOf("reject"), done: "held_rejected"},
	})
}

// clients lists systems that provision users.
func (d *desk) clients(r *http.Request) (web.Board, error) {
	b := d.board(r, "clients", say("clients.title"), "")
	var list []api.ClientView
	if err := d.ask(r, "GET /v1/clients", &list); err != nil {
		return b, err
	}
	table := &web.Table{Caption: say("clients.all"), Head: heads("client.client", "client.mode", "client.profile", "client.stores", "client.ways", "client.tokens"), None: say("clients.none")}
	for _, c := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: titled(c.Title, c.ID), URL: at("/client", "client", c.ID)}, web.Cell{Text: word("client_mode", c.Mode)}, text(c.Profile), web.Cell{Values: each(c.UserStores, d.Store)}, web.Cell{Values: c.Ways}, text(strconv.Itoa(c.Tokens))))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

// client is one: what it would take away, its tokens, and what it sends that is not SCIM.
func (d *desk) client(r *http.Request) (web.Board, error) {
	b := d.board(r, "clients", say("client.title"), "")
	id := r.FormValue("client")
	var habits []api.Habit
	if err := d.ask(r, "GET /v1/client/dialect", &habits, "client", id); err != nil {
		return b, err
	}
	b.Name = d.Client(id)
	here, admin := at("/client", "client", id), d.may(r)
	held, err := d.held(r, "client", id, here, admin)
	if err != nil {
		return b, err
	}
	b.Blocks = append(b.Blocks, held...)
	if admin {
		var tokens []client.Token
		if err := d.ask(r, "GET /v1/client/tokens", &tokens, "client", id); err != nil {
			return b, err
		}
		table := &web.Table{Caption: say("token.all"), Head: heads("token.token", "token.created", "token.used", "end.until", "act"), None: say("token.none")}
		for _, t := range tokens {
			table.Rows = append(table.Rows, row(text(t.ID), web.Cell{At: t.Created}, web.Cell{At: t.Used}, web.Cell{At: t.Until}, web.Cell{Forms: []web.Form{button(here, "token.revoke", t.ID, does("revoke", "id", t.ID))}}))
		}
		expires := input("expires", "expires", "token.expires", r.PostForm.Get("expires"))
		expires.Hint = say("token.expires_hint")
		b.Blocks = append(b.Blocks, web.Block{Heading: say("token.all"), Lead: says("token.text"), Table: table,
			Forms: []web.Form{{Action: here, Button: say("token.make"), Fields: append(does("make", "client", id), expires)}}})
	}
	table := &web.Table{Caption: say("habit.all"), Head: heads("habit.what", "habit.count", "habit.last", "habit.sample"), None: say("habit.none")}
	for _, h := range habits {
		table.Rows = append(table.Rows, row(web.Cell{Value: h.What, Note: h.Rule}, text(strconv.Itoa(int(h.Count.Count))), web.Cell{At: h.Last}, text(h.Sample)))
	}
	b.Blocks = append(b.Blocks, web.Block{Heading: say("habit.all"), Lead: says("habit.text"), Table: table})
	return b, nil
}
