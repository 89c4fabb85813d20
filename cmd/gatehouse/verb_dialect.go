package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// dialect answers what was put right of a client's messages since the gateway
// started.
func (a *api) dialect(r *http.Request) (any, error) {
	id := r.FormValue("client")
	if !slices.ContainsFunc(a.s.cfg.Clients, func(c configs.Client) bool { return c.ID == id }) {
		return nil, errNone(fmt.Sprintf("there is no client %q — the configuration lists those there are", id))
	}
	list := []webapi.Habit{}
	for _, c := range a.p.dialects.Of(id) {
		list = append(list, webapi.Habit{Count: c, What: dialect.Rules[c.Rule]})
	}
	return list, nil
}

func clientsDialectCommand() *cobra.Command {
	return adminVerb("dialect CLIENT", "Show what a client sends that is not SCIM, and how often it was put right since the gateway started", cobra.ExactArgs(1),
		func(_ *cobra.Command, argv []string) (string, string, url.Values) {
			return "GET", "client/dialect", url.Values{"client": {argv[0]}}
		}, func(w io.Writer, list []webapi.Habit) {
			fmt.Fprintln(w, "RULE\tCOUNT\tLAST\tSAMPLE")
			for _, h := range list {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", h.Rule, h.Count.Count, h.Last.Format(time.DateTime), h.Sample)
			}
		})
}
