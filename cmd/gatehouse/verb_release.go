package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/authz/versions"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func releaseCommand() *cobra.Command {
	of := "live"
	which := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&of, "of", "live", "live, draft or the number of a version")
		return cmd
	}
	show := pageFlags(adminVerb("show [RECIPIENT]", "What services and targets learn: all, or one as service:ID or target:ID", cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			return "GET", "release", page(cmd, url.Values{"of": {of}, "q": a})
		}, showRelease))
	was, is := "live", "draft"
	diff := adminVerb("diff", "What differs between two policies: what is in force and the draft, where nothing is said", cobra.NoArgs,
		func(*cobra.Command, []string) (string, string, url.Values) {
			return "GET", "release/diff", url.Values{"was": {was}, "is": {is}}
		}, showReleaseDiff)
	diff.Flags().StringVar(&was, "was", "live", "live, draft or the number of a version")
	diff.Flags().StringVar(&is, "is", "draft", "live, draft or the number of a version")
	comment, accept := "", false
	rollback := adminVerb("rollback VERSION", "Publish an earlier version again; 0 is what the file says alone", cobra.ExactArgs(1),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", "release/rollback", url.Values{"version": a, "comment": {comment}}
		}, showPublished)
	rollback.Flags().StringVar(&comment, "comment", "", "why")
	history := adminVerb("history", "Published versions, the newest first", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
			return "GET", "release/history", url.Values{}
		}, func(w io.Writer, list []webapi.ReleaseVersion) {
			fmt.Fprintln(w, "VERSION\tPUBLISHED\tBY\tCHANGES\tCOMMENT")
			for _, v := range list {
				text := v.Comment
				if v.Again >= 0 {
					text = strings.TrimSpace(fmt.Sprintf("version %d again. %s", v.Again, text))
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\n", v.Number, v.At.Format(time.DateTime), v.By, v.Changes, text)
			}
		})
	publish := &cobra.Command{Use: "publish", Short: "Put the draft into force", Args: args(cobra.NoArgs)}
	publishFlags(publish, &comment, &accept)
	file := configFlag(publish)
	publish.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		var now webapi.Release
		if _, err := a.call(cmd.Context(), "GET", "release", url.Values{"limit": {"1"}}, &now); err != nil {
			return err
		}
		if now.Draft == nil {
			return &versions.Refusal{Code: versions.ReasonNone, Text: "there is no draft"}
		}
		return a.publishRelease(cmd, *now.Draft, comment, accept)
	}
	return group("release", "What services and targets learn about people: show, export, diff, apply, publish, history, rollback",
		which(show), exportCommand(), diff, applyCommand(), publish, history, rollback)
}

func publishFlags(cmd *cobra.Command, comment *string, accept *bool) {
	cmd.Flags().StringVar(comment, "comment", "", "what it is for")
	cmd.Flags().BoolVar(accept, "accept", false, "also if people lose what a service requires")
}

func (a *admin) publishRelease(cmd *cobra.Command, d webapi.ReleaseDraft, comment string, accept bool) error {
	var v webapi.ReleaseVersion
	if _, err := a.call(cmd.Context(), "POST", "release/publish", url.Values{"revision": {d.Revision}, "comment": {comment}, "accept": {fmt.Sprint(accept)}}, &v); err != nil {
		return err
	}
	showPublished(cmd.OutOrStdout(), v)
	return nil
}

func showPublished(w io.Writer, v webapi.ReleaseVersion) {
	fmt.Fprintf(w, "version %d is in force\n", v.Number)
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "export", Short: "Print what release editors keep, in the form that apply takes", Args: args(cobra.NoArgs)}
	file := configFlag(cmd)
	of := cmd.Flags().String("of", "live", "live, draft or the number of a version")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		raw, err := a.call(cmd.Context(), "GET", "release/export", url.Values{"of": {*of}}, nil)
		if err != nil {
			return err
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, raw, "", "  "); err != nil {
			return err
		}
		_, err = pretty.WriteTo(cmd.OutOrStdout())
		return err
	}
	return cmd
}

func applyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "apply FILE", Short: "Make the draft what an exported policy says, and show what differs from what is in force; - is standard input", Args: args(cobra.ExactArgs(1))}
	file := configFlag(cmd)
	now := cmd.Flags().Bool("publish", false, "publish it at once")
	comment, accept := "", false
	publishFlags(cmd, &comment, &accept)
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		raw, err := readArgument(cmd, argv[0])
		if err != nil {
			return err
		}
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		var d webapi.ReleaseDraft
		if _, err := a.send(cmd.Context(), "POST", "release/apply", nil, bytes.NewReader(raw), &d); err != nil {
			return err
		}
		var diff webapi.ReleaseDiff
		if _, err := a.call(cmd.Context(), "GET", "release/diff", nil, &diff); err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		showReleaseDiff(w, diff)
		if err := w.Flush(); err != nil || !*now {
			return err
		}
		return a.publishRelease(cmd, d, comment, accept)
	}
	return cmd
}

func readArgument(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(name)
}

func showRelease(w io.Writer, rel webapi.Release) {
	fmt.Fprintf(w, "version %d is in force", rel.InForce.Number)
	if d := rel.Draft; d != nil {
		fmt.Fprintf(w, "; there is a draft by %s with %d %s", strings.Join(d.Authors, ", "), d.Changes, plural(d.Changes, "change", "changes"))
	}
	fmt.Fprintln(w, "\n\nRECIPIENT\tKEPT\tATTRIBUTE\tAS\tVALUES\tPURPOSE\tBASIS")
	for _, rec := range rel.Recipients {
		kept := "by editors"
		if !rec.Edited {
			kept = "in the file"
		}
		if len(rec.Rules) == 0 {
			fmt.Fprintf(w, "%s\t%s\tnothing\t\t\t\t\n", rec.To, kept)
		}
		for _, e := range rec.Rules {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", rec.To, kept, e.Attribute, e.Name(), cmp.Or(strings.Join(e.Values, ", "), "all"), e.Purpose, e.Basis)
		}
	}
	for _, text := range rel.Lost {
		fmt.Fprintf(w, "not in force: %s\n", text)
	}
}

func showReleaseDiff(w io.Writer, d webapi.ReleaseDiff) {
	if len(d.Changes) == 0 {
		fmt.Fprintln(w, "nothing differs")
	}
	for _, c := range d.Changes {
		fmt.Fprintf(w, "%s\t%s\t", c.To, c.Name)
		switch {
		case c.Was == nil:
			fmt.Fprintf(w, "is released: %s\n", ruleText(*c.Is))
		case c.Is == nil:
			fmt.Fprintf(w, "is not released any more: %s\n", ruleText(*c.Was))
		default:
			fmt.Fprintf(w, "%s → %s\n", ruleText(*c.Was), ruleText(*c.Is))
		}
	}
}

// ruleText is a rule in one line.
func ruleText(e versions.Rule) string {
	parts := map[string]string{"as": e.As, "values": strings.Join(e.Values, " "), "transform": e.Transform, "when": e.When, "purpose": e.Purpose, "basis": e.Basis, "retention": e.Retention}
	text := e.Attribute
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if parts[name] != "" {
			text += fmt.Sprintf(" %s=%q", name, parts[name])
		}
	}
	return text
}
