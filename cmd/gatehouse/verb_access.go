package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/web"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func rolesCommand() *cobra.Command {
	list := pageFlags(adminVerb("list [ROLE]", "List who was given roles by name, and until when", cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			return "GET", "grants", page(cmd, url.Values{"role": a})
		}, showGrants))
	until := ""
	grant := adminVerb("grant NAME ROLE", "Give a user a role; it takes the place of an earlier grant of it", cobra.ExactArgs(2),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", "grant", url.Values{"name": {a[0]}, "role": {a[1]}, "until": {until}}
		}, showGrants)
	grant.Flags().StringVar(&until, "until", "", "a day, a time (RFC 3339), or how long (8h, 30d); empty: as long as the role allows")
	revoke := adminVerb("revoke NAME ROLE", "Take a granted role away", cobra.ExactArgs(2),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "DELETE", "grant", url.Values{"name": {a[0]}, "role": {a[1]}}
		}, showGrants)
	return group("roles", "Roles that people were given by name: list, grant, revoke", list, grant, revoke)
}

func showGrants(w io.Writer, list []webapi.Grant) {
	fmt.Fprintln(w, "NAME\tROLE\tUNTIL\tBY\tSINCE")
	for _, g := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.UserName, g.Role, endText(g.Until), g.Granter, g.Since.Format(time.DateTime))
	}
}

// endText is an end as endOf reads it.
func endText(t time.Time) string {
	if t.IsZero() {
		return "without end"
	}
	if day, ok := web.LastDay(t); ok {
		return day.Format(time.DateOnly)
	}
	return t.Format(time.DateTime)
}

func requestsCommand() *cobra.Command {
	state, until, text := "", "", ""
	list := pageFlags(adminVerb("list", "List requests for roles", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
			return "GET", "requests", page(cmd, url.Values{"state": {state}})
		}, func(w io.Writer, list []webapi.Request) {
			fmt.Fprintln(w, "ID\tNAME\tROLE\tUNTIL\tSTATE\tREASON")
			for _, r := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%q\n", r.ID, r.UserName, r.Role, endText(r.Until), r.State, r.Reason)
			}
		}))
	list.Flags().StringVar(&state, "state", "pending", "pending, approved, denied, withdrawn, lapsed or all")
	decide := func(answer, short string) *cobra.Command {
		cmd := adminVerb(answer+" ID", short, cobra.ExactArgs(1),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "POST", "request/" + answer, url.Values{"id": a, "until": {until}, "text": {text}}
			}, showRequest)
		cmd.Flags().StringVar(&text, "text", "", "what the person is told")
		return cmd
	}
	approve := decide("approve", "Approve a request, or a part of the time with --until")
	approve.Flags().StringVar(&until, "until", "", "a day, a time (RFC 3339), or how long (8h, 30d); empty: as asked for")
	reason, service := "", ""
	ask := adminVerb("make NAME ROLE", "Ask for a role in somebody's name, as after a telephone call", cobra.ExactArgs(2),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", "me/request", url.Values{"name": {a[0]}, "role": {a[1]}, "reason": {reason}, "until": {until}, "service": {service}}
		}, showRequest)
	ask.Flags().StringVar(&reason, "reason", "", "why they need it")
	ask.Flags().StringVar(&service, "service", "", "the service that wants the role")
	ask.Flags().StringVar(&until, "until", "", "a day, a time (RFC 3339), or how long (8h, 30d)")
	withdraw := adminVerb("withdraw NAME ID", "Take back a request that somebody made", cobra.ExactArgs(2),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "DELETE", "me/request", url.Values{"name": {a[0]}, "id": {a[1]}}
		}, showRequest)
	return group("requests", "Requests for roles: list, make, withdraw, approve, deny", list, ask, withdraw, approve, decide("deny", "Deny a request"))
}

func showRequest(w io.Writer, r webapi.Request) {
	fmt.Fprintf(w, "the request %s of %s for %s is %s", r.ID, r.UserName, r.Role, r.State)
	if !r.Granted.IsZero() {
		fmt.Fprintf(w, " until %s", endText(r.Granted))
	}
	fmt.Fprintln(w)
}
