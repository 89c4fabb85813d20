package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
)

func sourcesCommand() *cobra.Command {
	one := func(method, path string) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return method, path, url.Values{"id": {a[0]}}
		}
	}
	full := false
	run := adminVerb("run SOURCE", "Read a directory now: what changed, or with --full everything", cobra.ExactArgs(1),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", "source/run", url.Values{"id": {a[0]}, "full": {strconv.FormatBool(full)}}
		}, func(w io.Writer, v ldap.Status) {
			if v.State.Last != nil {
				showReading(w, *v.State.Last)
			}
		})
	run.Flags().BoolVar(&full, "full", false, "read everything")
	return group("sources", "Directories and files that people are read from: list, test, preview, run, held, approve, reject",
		adminVerb("list", "List directories and how the last reading went", cobra.NoArgs,
			func(*cobra.Command, []string) (string, string, url.Values) { return "GET", "sources", nil }, showSources),
		adminVerb("test SOURCE [ENTRY]", "Go through each step and show how one entry is understood; changes nothing", cobra.RangeArgs(1, 2),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "GET", "source/test", url.Values{"id": {a[0]}, "entry": append([]string{}, a[1:]...)}
			}, showDiagnosis),
		adminVerb("preview SOURCE", "Say what reading everything would do to people now; changes nothing", cobra.ExactArgs(1), one("GET", "source/preview"), showReading),
		run,
		heldCommand("source", "List people who would be taken away, beyond what may be at once"),
		decideCommand("source", "approve", "Let people be taken away who are held: all, or those named", "approved"),
		decideCommand("source", "reject", "Keep people who are held: all, or those named", "rejected"),
	)
}

func showSources(w io.Writer, list []ldap.Status) {
	fmt.Fprintln(w, "SOURCE\tPEOPLE\tLAST\tEVERYTHING\tCHANGES BY\tERROR")
	for _, s := range list {
		last := time.Time{}
		if s.State.Last != nil {
			last = s.State.Last.Ended
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.State.People, moment(last), moment(s.State.Full), s.State.Method, s.State.Error)
	}
}

// moment is a time, or that it has not been.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateTime)
}

func showDiagnosis(w io.Writer, d ldap.Diagnosis) {
	for _, s := range d.Steps {
		mark := "ok"
		if !s.OK {
			mark = "FAILS"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, s.What, s.Text)
	}
	x := d.Sample
	if x == nil {
		return
	}
	fmt.Fprintf(w, "\nentry\t%s\nid\t%s\nuser name\t%s\nactive\t%t\nuser\t%s\n", x.Entry, x.ID, x.UserName, x.Active, cmp.Or(x.User, "none yet"))
	for _, f := range x.Fields {
		fmt.Fprintf(w, "%s\tfrom %s\t%s\n", f.Attribute, strings.Join(f.From, ", "), strings.Join(f.Values, " | "))
	}
	if x.Problem != "" {
		fmt.Fprintf(w, "problem\t%s\n", x.Problem)
	}
}

func showReading(w io.Writer, r ldap.Report) {
	what := "what changed"
	if r.Whole {
		what = "everything"
	}
	fmt.Fprintf(w, "read\t%s in %v\n", what, r.Ended.Sub(r.Began))
	for _, c := range []struct {
		name string
		n    int
	}{
		{"entries", r.Read}, {"created", r.Created}, {"changed", r.Changed}, {"unchanged", r.Unchanged}, {"disabled", r.Disabled}, {"deleted", r.Deleted},
		{"held for approval", r.Held}, {"left out", r.Skipped}, {"gone from there", r.Missing}, {"groups", r.Groups}, {"joined", r.Joined}, {"left", r.Left},
	} {
		if c.n > 0 {
			fmt.Fprintf(w, "%s\t%d\n", c.name, c.n)
		}
	}
	if r.Unsound != "" {
		fmt.Fprintf(w, "nobody was taken away\t%s\n", r.Unsound)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.What, c.Name, strings.Join(c.Fields, ", "))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Code, cmp.Or(p.Name, p.Entry), p.Text)
	}
}
