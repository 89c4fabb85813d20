package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func targetsCommand() *cobra.Command {
	one := func(method, path string) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return method, path, url.Values{"id": {a[0]}}
		}
	}
	pause := adminVerb("pause TARGET", "Leave a target alone until it is resumed; what changes meanwhile waits", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", "target/pause", url.Values{"id": {a[0]}, "why": {cmd.Flags().Lookup("why").Value.String()}}
		}, func(w io.Writer, v map[string]string) { fmt.Fprintf(w, "%s is paused\n", v["id"]) })
	pause.Flags().String("why", "", "why, for whoever looks at it")
	return group("targets", "Systems that hold accounts: list, test, probe, preview, provision, pause, resume, cases, resolve, held, approve, reject, operations",
		adminVerb("list", "List targets and how they do", cobra.NoArgs,
			func(*cobra.Command, []string) (string, string, url.Values) { return "GET", "targets", nil }, showTargets),
		adminVerb("test TARGET", "Ask whether the address and our credentials are right; changes nothing", cobra.ExactArgs(1), one("POST", "target/test"),
			func(w io.Writer, _ map[string]bool) { fmt.Fprintln(w, "the address and our credentials are right") }),
		adminVerb("probe TARGET", "Find out by experiment what a target can do; makes an account to try with, and removes it", cobra.ExactArgs(1), one("POST", "target/probe"), showProbe),
		previewCommand(),
		adminVerb("provision USER [TARGET…]", "Bring one user's account into step now, and show the steps", cobra.MinimumNArgs(1),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "POST", "target/provision", url.Values{"name": {a[0]}, "id": a[1:]}
			}, showSteps),
		pause,
		adminVerb("resume TARGET", "Ask a target again that is paused or was left alone after failures", cobra.ExactArgs(1), one("POST", "target/resume"),
			func(w io.Writer, v map[string]string) { fmt.Fprintf(w, "%s is asked again\n", v["id"]) }),
		pageFlags(adminVerb("cases [TARGET]", "List accounts that are there already and are not known to be the user's", cobra.MaximumNArgs(1),
			func(cmd *cobra.Command, a []string) (string, string, url.Values) {
				return "GET", "target/cases", page(cmd, url.Values{"id": a})
			}, showCases)),
		adminVerb("resolve TARGET USER adopt ACCOUNT|create|ignore", "Answer a case: the account is the user's; another is to be made; or none", cobra.RangeArgs(3, 4),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				q := url.Values{"id": {a[0]}, "name": {a[1]}, "answer": {a[2]}}
				if len(a) == 4 {
					q.Set("account", a[3])
				}
				return "POST", "target/case", q
			}, func(w io.Writer, _ map[string]string) { fmt.Fprintln(w, "is answered and will be carried out now") }),
		heldCommand("target", "List accounts that would be taken away, beyond what may be at once"),
		decideCommand("target", "approve", "Let accounts be taken away that are held: all, or those of the users named", "approved"),
		decideCommand("target", "reject", "Keep accounts that are held: all, or those of the users named", "rejected"),
		operationsCommand(), conformanceCommand(),
	)
}

func showTargets(w io.Writer, list []outbox.TargetView) {
	fmt.Fprintln(w, "TARGET\tSTATE\tLAST HOUR\tFAILED\tWHY")
	for _, t := range list {
		why := t.Why
		if t.Again > 0 {
			why = strings.TrimSpace(fmt.Sprintf("again in %v: %s", t.Again.Round(time.Second), why))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", t.ID, t.State, t.Runs, t.Failed, why)
	}
}

func showProbe(w io.Writer, v webapi.Probe) {
	for _, f := range v.Findings {
		mark := "no "
		if f.OK {
			mark = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.What, f.Text)
	}
}

func previewCommand() *cobra.Command {
	cmd := pageFlags(adminVerb("preview TARGET", "Show whose account would be made, changed, disabled or deleted; writes nothing", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			q := url.Values{"id": {a[0]}}
			if file := cmd.Flags().Lookup("with").Value.String(); file != "" {
				if abs, err := filepath.Abs(file); err == nil {
					file = abs
				}
				q.Set("file", file)
			}
			return "GET", "target/preview", page(cmd, q)
		}, func(w io.Writer, v webapi.Preview) {
			fmt.Fprintln(w, "WOULD\tUSER\tATTRIBUTES")
			for _, x := range v.Would {
				fmt.Fprintf(w, "%s\t%s\t%s\n", x.What, x.Name, strings.Join(x.Names, ", "))
			}
			var sums []string
			for _, what := range []string{outbox.WouldCreate, outbox.WouldChange, outbox.WouldDisable, outbox.WouldDelete} {
				sums = append(sums, fmt.Sprintf("%s %d", what, v.Sums[what]))
			}
			fmt.Fprintln(w, strings.Join(sums, ", "))
			if v.Next != "" {
				fmt.Fprintf(w, "there are more: --after %s\n", v.Next)
			}
		}))
	cmd.Flags().String("with", "", "with this configuration instead of the one in force")
	return cmd
}

// attempts are runs for one user.
type attempts []outbox.Operation

// No: a target does not agree about the user.
func (list attempts) No() bool {
	return slices.ContainsFunc(list, func(op outbox.Operation) bool { return op.Error != "" })
}

// showSteps shows what a run did, step by step.
func showSteps(w io.Writer, list attempts) {
	for i, op := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", op.Target, op.At.Format(time.DateTime), op.Took.Round(time.Millisecond))
		for n, s := range op.Steps {
			mark := "ok"
			if !s.OK {
				mark = "NO"
			}
			fmt.Fprintf(w, "%d %s\t%s\t%s\n", n+1, s.Name, mark, s.Text)
		}
		for _, c := range op.Calls {
			fmt.Fprintf(w, "  %s %s\t%d\tsent %s got %s\n", c.Method, c.Path, c.Status, c.Sent, c.Got)
		}
		if n := len(op.Steps); op.Error != "" && (n == 0 || op.Steps[n-1].Text != op.Error) {
			fmt.Fprintf(w, "%s\t\t%s\n", op.Class, op.Error)
		}
		if !op.Next.IsZero() {
			fmt.Fprintf(w, "again\t\t%s\n", op.Next.Format(time.DateTime))
		}
	}
}

func showCases(w io.Writer, list []webapi.Case) {
	fmt.Fprintln(w, "TARGET\tUSER\tSINCE\tACCOUNT\tWHY IT IS NOT TAKEN")
	for _, c := range list {
		for _, x := range c.Candidates {
			why := "bears no external ID"
			switch {
			case x.Owner != "":
				why = "is the account of " + x.Owner
			case x.Foreign:
				why = "bears another external ID"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Target, c.Name, c.At.Format(time.DateTime), x.RemoteID, why)
		}
	}
}

func showHeld(w io.Writer, v webapi.Held) {
	if v.Case == nil {
		fmt.Fprintln(w, "nothing is held")
		return
	}
	fmt.Fprintf(w, "%s\nuntil %s\n\nWOULD\tUSER\tWHY\n", v.Case.Text, v.Case.Expires.Format(time.DateTime))
	for _, it := range v.Items {
		fmt.Fprintf(w, "%s\t%s\t%s\n", it.How, it.Name, it.Reason)
	}
	if v.Next != "" {
		fmt.Fprintf(w, "%d are held, and there are more: --after %s\n", v.Case.Held, v.Next)
	}
}

// heldCommand lists what is held of a target, a source or a client.
func heldCommand(of, short string) *cobra.Command {
	return pageFlags(adminVerb("held "+strings.ToUpper(of), short, cobra.ExactArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			return "GET", of + "/held", page(cmd, url.Values{"id": a})
		}, showHeld))
}

// decideCommand decides about what is held of a target, a source or a client.
func decideCommand(of, answer, short, done string) *cobra.Command {
	return adminVerb(answer+" "+strings.ToUpper(of)+" [USER…]", short, cobra.MinimumNArgs(1),
		func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", of + "/held", url.Values{"id": {a[0]}, "name": a[1:], "answer": {answer}}
		}, func(w io.Writer, v map[string]int) {
			fmt.Fprintf(w, "%d %s\n", v["decided"], done)
		})
}

func operationsCommand() *cobra.Command {
	cmd := pageFlags(adminVerb("operations [TARGET]", "What was tried at targets: of a user, at a target, or because of a support code", cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			q := page(cmd, url.Values{})
			if u := q.Get("user"); u != "" {
				q.Set("name", u)
			}
			for _, name := range []string{"target", "failed"} {
				q.Set(name, cmd.Flags().Lookup(name).Value.String())
			}
			if len(a) == 1 {
				q.Set("target", a[0])
			}
			return "GET", "operations", q
		}, func(w io.Writer, list []outbox.Operation) {
			fmt.Fprintln(w, "TIME\tTARGET\tUSER\tTOOK\tDID\tCLASS\tERROR")
			for _, op := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", op.At.Format(time.DateTime), op.Target, op.UserID, op.Took.Round(time.Millisecond), op.Did, op.Class, op.Error)
			}
		}))
	cmd.Flags().String("user", "", "of this user")
	cmd.Flags().String("target", "", "at this target")
	cmd.Flags().String("flow", "", "the support code on a page")
	cmd.Flags().Bool("failed", false, "only what failed")
	return cmd
}
