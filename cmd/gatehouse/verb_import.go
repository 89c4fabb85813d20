package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Take people in from a CSV file; Ctrl-C pauses, the same command goes on", Args: args(cobra.ExactArgs(1)),
	}
	file := configFlag(cmd)
	var o importOptions
	cmd.Flags().StringVar(&o.source, "source", "", "on behalf of this source of the configuration")
	cmd.Flags().StringVar(&o.client, "client", "", "on behalf of this client of the configuration")
	cmd.Flags().BoolVar(&o.preview, "preview", false, "say what it would do, and write nothing about anybody")
	cmd.Flags().BoolVar(&o.full, "full", false, "the file lists everybody: who is missing has left")
	cmd.Flags().BoolVar(&o.delta, "delta", false, "the file lists only people about whom something changes")
	cmd.Flags().BoolVar(&o.shrunk, "shrunk", false, "it is right that the file is much shorter than the last one")
	cmd.Flags().StringVar(&o.result, "result", "", "write what became of each row into this file, as CSV")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		if (o.source == "") == (o.client == "") || o.full && o.delta {
			return usageError{errors.New("one of --source and --client says on whose behalf, and at most one of --full and --delta what the file means — `gatehouse import --help` shows how")}
		}
		in, err := os.Open(argv[0])
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		return a.importFile(cmd, in, argv[0], o)
	}
	return cmd
}

type importOptions struct {
	source, client, result             string
	preview, full, delta, shrunk, json bool
}

func (o importOptions) query(path string) url.Values {
	q := url.Values{
		"file": {filepath.Base(path)}, "source": {o.source}, "client": {o.client}, "preview": {strconv.FormatBool(o.preview)}, "shrunk": {strconv.FormatBool(o.shrunk)},
	}
	switch {
	case o.full:
		q.Set("content", string(files.Full))
	case o.delta:
		q.Set("content", string(files.Delta))
	}
	return q
}

func (a *admin) importFile(cmd *cobra.Command, in io.Reader, path string, o importOptions) error {
	ctx := cmd.Context()
	var imp files.Import
	if _, err := a.send(ctx, "POST", "imports", o.query(path), in, &imp); err != nil {
		return err
	}
	again := imp.State.Final()
	if !again {
		if err := a.follow(ctx, files.Kind, imp.Key(), newMeter(cmd.ErrOrStderr(), false)); err != nil {
			return err
		}
	}
	ctx = context.WithoutCancel(ctx) // what is done is shown
	raw, err := a.call(ctx, "GET", "import", url.Values{"id": {imp.ID}}, &imp)
	if err != nil {
		return err
	}
	if o.result != "" {
		result, err := a.send(ctx, "GET", "import/result", url.Values{"id": {imp.ID}}, nil, nil)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.result, result, 0o600); err != nil {
			return err
		}
	}
	if o.json {
		_, err = cmd.OutOrStdout().Write(append(raw, '\n'))
	} else {
		showImport(cmd.OutOrStdout(), imp, again)
	}
	if err == nil && imp.State != files.Imported && imp.State != files.Previewed {
		err = errSaid
	}
	return err
}

func showImport(w io.Writer, imp files.Import, again bool) {
	switch c := imp.Did; {
	case again:
		fmt.Fprintf(w, "nothing to do: this file was imported on %s\n", imp.Ended.Format(time.DateTime))
	case imp.State == files.Refused:
		fmt.Fprintf(w, "refused, and nobody is changed: %s (%s)\n", imp.Refusal.Text, imp.Refusal.Code)
	case imp.State == files.Previewed:
		fmt.Fprintf(w, "preview of %d rows: %s\n", imp.Rows, counted(imp.Would))
	default:
		fmt.Fprintf(w, "%s %d rows: %s\n", imp.State, imp.Rows, counted(c))
	}
	for _, n := range imp.Notes {
		fmt.Fprintln(w, n)
	}
}

func counted(c files.Counts) string {
	return fmt.Sprintf("%d created, %d changed, %d disabled, %d unchanged, %d held for approval, %d errors; %d were missing", c.Created, c.Changed, c.Disabled, c.Unchanged, c.Held, c.Failed, c.Missing)
}
