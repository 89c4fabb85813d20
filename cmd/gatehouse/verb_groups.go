package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func groupsCommand() *cobra.Command {
	said := func(what string) func(io.Writer, webapi.Group) {
		return func(w io.Writer, g webapi.Group) { fmt.Fprintf(w, "%s %s\n", g.Name, what) }
	}
	member := func(method string) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return method, "group/member", url.Values{"group": {a[0]}, "name": {a[1]}}
		}
	}
	return group("groups", "The directory's own groups: list, show, create, add, remove, delete",
		pageFlags(adminVerb("list [PREFIX]", "List groups, those whose name begins with PREFIX", cobra.MaximumNArgs(1),
			func(cmd *cobra.Command, a []string) (string, string, url.Values) {
				return "GET", "groups", page(cmd, url.Values{"q": a})
			}, func(w io.Writer, list []webapi.Group) {
				fmt.Fprintln(w, "NAME\tMODIFIED\tID")
				for _, g := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, g.Modified.Format(time.DateTime), g.ID)
				}
			})),
		pageFlags(adminVerb("show GROUP", "Show a group, and who is directly in it", cobra.ExactArgs(1),
			func(cmd *cobra.Command, a []string) (string, string, url.Values) {
				return "GET", "group", page(cmd, url.Values{"group": a})
			}, showGroup)),
		adminVerb("create NAME", "Make a group without members", cobra.ExactArgs(1),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "POST", "groups", url.Values{"name": a}
			}, said("is made")),
		adminVerb("add GROUP USER", "Put a user into a group", cobra.ExactArgs(2), member("POST"), said("has one member more")),
		adminVerb("remove GROUP USER", "Take a user out of a group", cobra.ExactArgs(2), member("DELETE"), said("has one member less")),
		adminVerb("delete GROUP", "Delete a group; from then on nobody is in it", cobra.ExactArgs(1),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "DELETE", "group", url.Values{"group": a}
			}, said("is deleted")),
	)
}

func showGroup(w io.Writer, g webapi.Group) {
	fmt.Fprintf(w, "name\t%s\nid\t%s\nmodified\t%s\ngroups in it\t%s\n", g.Name, g.ID, g.Modified.Format(time.DateTime), strings.Join(g.Inside, ", "))
	for _, m := range g.Members {
		fmt.Fprintf(w, "member\t%s\t%s\n", m.Name, m.ID)
	}
	if g.More != "" {
		fmt.Fprintf(w, "there are more: --after %s\n", g.More)
	}
}
