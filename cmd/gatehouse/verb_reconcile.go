package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func reconcileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reconcile TARGET", Short: "Compare what a target has with what it should have, and mend it; Ctrl-C pauses, the same command goes on",
		Args: args(cobra.ExactArgs(1)),
	}
	file := configFlag(cmd)
	preview := cmd.Flags().Bool("preview", false, "find what differs, and change nothing")
	incremental := cmd.Flags().Bool("incremental", false, "look only at what the target changed lately")
	last := cmd.Flags().Bool("last", false, "show what the last one found, and begin none")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("preview", "incremental")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		mode := reconcile.Run
		switch {
		case *preview:
			mode = reconcile.Preview
		case *incremental:
			mode = reconcile.Incremental
		}
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		q := url.Values{"target": {argv[0]}, "mode": {string(mode)}}
		if !*last {
			if err := a.reconcile(cmd, q, reconcile.Key(argv[0], mode)); err != nil {
				return err
			}
		}
		var rep reconcile.Report
		raw, err := a.call(cmd.Context(), "GET", "reconciliation", q, &rep)
		if err != nil {
			return err
		}
		if *asJSON {
			_, err = cmd.OutOrStdout().Write(raw)
		} else {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			showReport(w, rep)
			err = w.Flush()
		}
		if err == nil && rep.Ended.IsZero() {
			err = errNo(fmt.Sprintf("it has not ended — `gatehouse tasks show %s %s` says why", reconcile.Kind, reconcile.Key(argv[0], mode)))
		}
		return err
	}
	return cmd
}

// reconcile begins one and shows how far it is, until it is done. Whoever
// interrupts it pauses it.
func (a *admin) reconcile(cmd *cobra.Command, q url.Values, key string) error {
	var t task.Task
	if _, err := a.call(cmd.Context(), "POST", "reconciliation", q, &t); err != nil {
		return err
	}
	return a.follow(cmd.Context(), reconcile.Kind, key, newMeter(cmd.ErrOrStderr(), false))
}

func showReport(w io.Writer, r reconcile.Report) {
	fmt.Fprintf(w, "target\t%s\nmode\t%s\nstarted\t%s\n", r.Target, r.Mode, r.Started.Format(time.DateTime))
	if r.Ended.IsZero() {
		fmt.Fprintln(w, "ended\tnot yet")
	} else {
		fmt.Fprintf(w, "ended\t%s\n", r.Ended.Format(time.DateTime))
	}
	if r.Unsound != "" {
		fmt.Fprintf(w, "not believed\t%s: %s\n", r.Unsound, r.Text)
	}
	fmt.Fprintln(w, "\nBEFORE\tAFTER\tACCOUNTS")
	for _, before := range slices.Sorted(maps.Keys(r.Matrix)) {
		for _, after := range slices.Sorted(maps.Keys(r.Matrix[before])) {
			fmt.Fprintf(w, "%s\t%s\t%d\n", before, after, r.Matrix[before][after])
		}
	}
	if len(r.Drift) > 0 {
		fmt.Fprintln(w, "\nDIFFERED\tACCOUNTS")
		for _, name := range slices.Sorted(maps.Keys(r.Drift)) {
			fmt.Fprintf(w, "%s\t%d\n", name, r.Drift[name])
		}
	}
	if len(r.Some) > 0 {
		fmt.Fprintln(w, "\nACCOUNT\tUSER\tBEFORE\tAFTER\tDIFFERED\t")
		for _, f := range r.Some {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.RemoteID, f.UserID, f.Situation, f.After, strings.Join(f.Drift, ", "), f.Text)
		}
	}
}
