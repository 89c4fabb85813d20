package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func tasksCommand() *cobra.Command {
	turn := func(what, short, said string) *cobra.Command {
		return adminVerb(what+" KIND KEY", short, cobra.ExactArgs(2),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "POST", "task/" + what, taskQuery(a[0], a[1])
			},
			func(w io.Writer, _ task.Task) { fmt.Fprintln(w, said) })
	}
	return group("tasks", "Work that waits: list, show, watch, pause, resume, cancel, requeue",
		pageFlags(adminVerb("list", "List tasks that are not done", cobra.NoArgs,
			func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
				return "GET", "tasks", page(cmd, url.Values{})
			},
			func(w io.Writer, v webapi.Tasks) {
				fmt.Fprintln(w, "KIND\tKEY\tABOUT\tSTATE\tDUE\tPROGRESS\tFAILURES\tLAST ERROR")
				for _, t := range v.Tasks {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", t.Kind, t.Key, strings.Join(v.About(t), ", "), t.State, t.Due.Format(time.DateTime), progressLine(t), t.Attempts, t.Error)
				}
				if v.Next != "" {
					fmt.Fprintf(w, "there may be more: --after %q\n", v.Next)
				}
			})),
		adminVerb("show KIND KEY", "Show one task and how far it is", cobra.ExactArgs(2),
			func(_ *cobra.Command, a []string) (string, string, url.Values) {
				return "GET", "task", taskQuery(a[0], a[1])
			}, showTask),
		watchCommand(),
		turn("pause", "Stop a task until it is resumed; what is finished counts", "is paused, as soon as what is under way can stop"),
		turn("resume", "Let a paused task go on", "goes on"),
		turn("cancel", "End a task that is not done", "is cancelled, as soon as what is under way can stop"),
		turn("requeue", "Run a task again now, also one that is parked, paused or cancelled", "will be tried now"),
	)
}

func taskQuery(kind, key string) url.Values { return url.Values{"kind": {kind}, "key": {key}} }

func showTask(w io.Writer, t task.Task) {
	fmt.Fprintf(w, "kind\t%s\nkey\t%s\nstate\t%s\n", t.Kind, t.Key, t.State)
	if t.State != task.Done {
		fmt.Fprintf(w, "due\t%s\nadded\t%s\nfailures\t%d\nlast error\t%s\n", t.Due.Format(time.DateTime), t.Added.Format(time.DateTime), t.Attempts, t.Error)
	}
	if p := t.Progress; p != nil {
		fmt.Fprintf(w, "progress\t%s\nstarted\t%s\nlast saved\t%s\n", progressLine(t), p.Started.Format(time.DateTime), p.At.Format(time.DateTime))
		if !p.Ended.IsZero() {
			fmt.Fprintf(w, "ended\t%s\n", p.Ended.Format(time.DateTime))
		}
	}
}

// progressLine says how far a task is: counts, rate and time left.
func progressLine(t task.Task) string {
	p := t.Progress
	if p == nil {
		return ""
	}
	parts := []string{fmt.Sprint(p.Done)}
	if p.Total > 0 {
		parts[0] = fmt.Sprintf("%d of %d", p.Done, p.Total)
	}
	if p.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", p.Failed))
	}
	if rate := p.Rate(); rate > 0 && (t.State == task.Running || t.State == task.Done) {
		parts = append(parts, fmt.Sprintf("%.3g/s", rate))
	}
	if left := p.Left(); left > 0 && t.State == task.Running {
		parts = append(parts, fmt.Sprintf("%v left", left))
	}
	if p.Note != "" {
		parts = append(parts, p.Note)
	}
	return strings.Join(parts, ", ")
}

func watchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "watch KIND KEY", Short: "Show how far a task is until it stops; Ctrl-C leaves it alone", Args: args(cobra.ExactArgs(2))}
	file := configFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print a line of JSON for each change")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		t, err := a.watch(cmd.Context(), argv[0], argv[1], newMeter(cmd.OutOrStdout(), *asJSON))
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err == nil && t.State != task.Done {
			return errSaid
		}
		return err
	}
	return cmd
}

// watchEvery is how often a task that is watched is asked for.
const watchEvery = 250 * time.Millisecond

// watch shows a task on a meter until it is done or stands still, and returns how
// it is then. A task that waits to be tried again goes on.
func (a *admin) watch(ctx context.Context, kind, key string, m *meter) (t task.Task, err error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	defer m.end()
	for {
		t = task.Task{}
		_, err = a.call(ctx, "GET", "task", taskQuery(kind, key), &t)
		switch {
		case ctx.Err() != nil:
			return t, context.Cause(ctx)
		case err != nil:
			return t, err
		}
		m.show(t)
		if t.State != task.Running && t.State != task.Waiting {
			return t, nil
		}
		select {
		case <-ctx.Done():
			return t, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// A meter shows how far a task is: on a terminal a bar that is drawn again in its
// line, elsewhere a line whenever another tenth is done or the state changes.
type meter struct {
	w        io.Writer
	terminal bool
	json     bool
	last     string // what the last line was about
	drawn    bool
}

func newMeter(w io.Writer, asJSON bool) *meter {
	m := &meter{w: w, json: asJSON}
	if f, ok := w.(*os.File); ok && !asJSON {
		info, err := f.Stat()
		m.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return m
}

const barWidth = 30

// standing says how far a task is and, where it stands still, why.
func standing(t task.Task) string {
	parts := []string{progressLine(t)}
	if t.Error != "" && t.State != task.Running {
		parts = append(parts, t.Error)
		if t.State == task.Waiting {
			parts = append(parts, "again at "+t.Due.Format(time.TimeOnly))
		}
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func (m *meter) show(t task.Task) {
	line := standing(t)
	switch {
	case m.terminal:
		fmt.Fprintf(m.w, "\r\x1b[K%s %s %s", bar(t.Progress), t.State, line)
		m.drawn = true
	case m.json:
		if raw, err := json.Marshal(t); err == nil && string(raw) != m.last {
			m.last = string(raw)
			fmt.Fprintln(m.w, m.last)
		}
	default:
		about := string(t.State)
		if p := t.Progress; p != nil {
			about += fmt.Sprint(p.Note, tenth(p))
		}
		if t.State != task.Running {
			about += t.Error
		}
		if about != m.last {
			m.last = about
			fmt.Fprintln(m.w, strings.TrimRight(fmt.Sprintf("%s: %s", t.State, line), ": "))
		}
	}
}

// end leaves the bar's line.
func (m *meter) end() {
	if m.drawn {
		fmt.Fprintln(m.w)
	}
}

func tenth(p *task.Progress) int64 {
	if p.Total <= 0 {
		return 0
	}
	return 10 * p.Done / p.Total
}

// bar is empty where the end is not known.
func bar(p *task.Progress) string {
	full := 0
	if p != nil && p.Total > 0 {
		full = int(min(barWidth*p.Done/p.Total, barWidth))
	}
	return "[" + strings.Repeat("█", full) + strings.Repeat("·", barWidth-full) + "]"
}
