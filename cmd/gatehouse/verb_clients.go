package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// clientRoutes are what the API can do about clients.
func (a *api) clientRoutes() {
	a.route("GET /v1/clients", a.clients, "auditors").doc("Clients of the configuration.", []webapi.ClientView{})
	a.route("GET /v1/client/tokens", a.clientTokens).doc("Tokens that were made, without what proves.", []client.Token{}, "client of this one; of all where none is named")
	a.route("POST /v1/client/tokens", a.makeToken).doc("Makes a bearer token; this answer is the only one that holds it.", webapi.MadeToken{}, "client! for this client", "expires after how long it ends, such as 90d; never where nothing is said")
	a.route("DELETE /v1/client/tokens", a.revokeToken).doc("Ends a token at once.", client.Token{}, "id! its first part, as the list shows it")
	a.route("GET /v1/client/dialect", a.dialect, "auditors").doc("What was put right of a client's messages since the gateway started.", []webapi.Habit{}, "client! which")
	a.route("GET /v1/client/held", a.held, "auditors").doc("What a client would take away beyond what may be at once; that waits for a person.", webapi.Held{}, "id! a client", takesNext, takesLimit)
	a.route("POST /v1/client/held", a.decideHeld).doc("Lets that be taken away which is held, or keeps it.", map[string]int{},
		"id! a client", "name[] of these users; of all where none is named", "answer:approve|reject approve where nothing is said")
}

func (a *api) clients(r *http.Request) (any, error) {
	tokens, err := a.s.clients.Tokens(r.Context(), "")
	if err != nil {
		return nil, err
	}
	list := []webapi.ClientView{}
	for i, c := range a.s.clients.Clients() {
		cfg := a.s.cfg.Clients[i]
		v := webapi.ClientView{ID: c.ID, Title: c.Title, Mode: string(c.Mode), Profile: cfg.Profile, UserStores: c.UserStores, Targets: c.Targets, Groups: c.Groups, Ways: []string{}}
		for _, cr := range cfg.Credentials {
			v.Ways = append(v.Ways, wayOf(cr))
		}
		for _, t := range tokens {
			if t.Client == c.ID {
				v.Tokens++
			}
		}
		list = append(list, v)
	}
	return list, nil
}

func wayOf(c configs.Credential) string {
	switch {
	case c.Basic != nil:
		return "basic"
	case c.OAuth2 != nil && c.OAuth2.Keys != "":
		return "private_key_jwt"
	case c.OAuth2 != nil:
		return "client_secret"
	}
	return "bearer"
}

func (a *api) clientTokens(r *http.Request) (any, error) {
	list, err := a.s.clients.Tokens(r.Context(), r.FormValue("client"))
	return append([]client.Token{}, list...), err
}

func (a *api) makeToken(r *http.Request) (any, error) {
	var life time.Duration
	if text := r.FormValue("expires"); text != "" {
		var err error
		if life, err = configs.Duration(text); err != nil {
			return nil, errBad(err.Error())
		}
	}
	t, text, err := a.s.clients.Make(r.Context(), r.FormValue("client"), life, tokenEvent(a.p, "client.token_made", a.actor(r)))
	if errors.Is(err, client.ErrNotFound) {
		err = errNone(fmt.Sprintf("there is no client %q — `gatehouse clients list` shows those there are", r.FormValue("client")))
	}
	return webapi.MadeToken{Token: t, Text: text}, err
}

func (a *api) revokeToken(r *http.Request) (any, error) {
	t, err := a.s.clients.Revoke(r.Context(), r.FormValue("id"), tokenEvent(a.p, "client.token_revoked", a.actor(r)))
	if errors.Is(err, client.ErrNotFound) {
		err = errNone(fmt.Sprintf("there is no token %q — `gatehouse clients token list` shows those there are", r.FormValue("id")))
	}
	return t, err
}

// takeForce ends what clients have that are not in a site's configuration any more.
func (p *process) takeForce(ctx context.Context, s *site) error {
	return s.clients.TakeForce(ctx, tokenEvent(p, "client.token_revoked", "configuration"))
}

// tokenEvent records who may use a token, and which; never the token.
func tokenEvent(p *process, kind, by string) func(store.Tx, client.Token) error {
	return func(tx store.Tx, t client.Token) error {
		return p.audit.Append(tx, audit.Event{Kind: kind, By: by, Text: "token " + t.ID + " of client " + t.Client})
	}
}

func clientsCommand() *cobra.Command {
	none := func(method, path string) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, argv []string) (string, string, url.Values) { return method, path, nil }
	}
	add := adminVerb("add CLIENT", "Make a bearer token for a client, and show it this once", cobra.ExactArgs(1),
		func(cmd *cobra.Command, argv []string) (string, string, url.Values) {
			return "POST", "client/tokens", url.Values{"client": {argv[0]}, "expires": {cmd.Flags().Lookup("expires").Value.String()}}
		}, func(w io.Writer, t webapi.MadeToken) {
			fmt.Fprintf(w, "%s\n\nThis is shown once and kept nowhere. It %s; `gatehouse clients token revoke %s` ends it at once.\n", t.Text, until(t.Token), t.ID)
		})
	add.Flags().String("expires", "", "after how long it ends, such as 90d; empty: never")
	return group("clients", "Systems that provision users: list, token, dialect, held, approve, reject",
		adminVerb("list", "List the clients of the configuration", cobra.NoArgs, none("GET", "clients"), func(w io.Writer, list []webapi.ClientView) {
			fmt.Fprintln(w, "CLIENT\tMODE\tPROFILE\tUSER STORES\tCREDENTIALS\tTOKENS")
			for _, c := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", c.ID, c.Mode, c.Profile, strings.Join(c.UserStores, ", "), strings.Join(slices.Compact(c.Ways), ", "), c.Tokens)
			}
		}),
		group("token", "Bearer tokens of clients: add, list, revoke", add,
			adminVerb("list [CLIENT]", "List the tokens that were made, of one client or all", cobra.MaximumNArgs(1),
				func(_ *cobra.Command, argv []string) (string, string, url.Values) {
					q := url.Values{}
					if len(argv) > 0 {
						q.Set("client", argv[0])
					}
					return "GET", "client/tokens", q
				}, func(w io.Writer, list []client.Token) {
					fmt.Fprintln(w, "TOKEN\tCLIENT\tMADE\tLAST USED\tENDS")
					for _, t := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Client, t.Created.Format(time.DateTime), day(t.Used), day(t.Until))
					}
				}),
			adminVerb("revoke TOKEN", "End a token at once; TOKEN is its first part, as list shows it", cobra.ExactArgs(1),
				func(_ *cobra.Command, argv []string) (string, string, url.Values) {
					return "DELETE", "client/tokens", url.Values{"id": {argv[0]}}
				}, func(w io.Writer, t client.Token) { fmt.Fprintf(w, "token %s of %s is ended\n", t.ID, t.Client) }),
		),
		clientsDialectCommand(),
		heldCommand("client", "List what a client would take away from people, beyond what may be at once"),
		decideCommand("client", "approve", "Let that be taken away which is held: all, or of the users named", "approved"),
		decideCommand("client", "reject", "Keep what is held: all, or of the users named", "rejected"))
}

func until(t client.Token) string {
	if t.Until.IsZero() {
		return "has no end"
	}
	return "ends on " + t.Until.Format(time.DateTime)
}

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateTime)
}
