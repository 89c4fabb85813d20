package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs/migrate"
)

func migrateCommand() *cobra.Command {
	formats := slices.Sorted(maps.Keys(migrate.Formats))
	cmd := &cobra.Command{
		Use:   "migrate " + strings.Join(formats, "|") + " FILE…",
		Short: "Make a draft configuration of that of another gateway, and say what was not carried over", Args: args(cobra.MinimumNArgs(2)),
		Long: "Reads the configuration of oauth2-proxy (its file, an environment file, the alpha configuration), Authelia or\nApache with mod_auth_openidc, and prints a draft of ours. What has to be filled in, and what was not carried over,\nis said line by line. A draft lets in fewer people than what it was made of, never more; secrets are not copied.",
	}
	out := cmd.Flags().StringP("output", "o", "", "write the draft into this file, which must not be there")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		read := migrate.Formats[argv[0]]
		if read == nil {
			return usageError{fmt.Errorf("%q can not be read — it is one of %s", argv[0], strings.Join(formats, ", "))}
		}
		var files []migrate.Source
		for _, name := range argv[1:] {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files = append(files, migrate.Source{Name: name, Text: string(text)})
		}
		draft, err := read(files...)
		if err != nil {
			return err
		}
		if *out == "" {
			_, err = fmt.Fprint(cmd.OutOrStdout(), draft.YAML)
		} else {
			err = writeFresh(*out, draft.YAML)
		}
		for _, n := range draft.Fill {
			fmt.Fprintln(cmd.ErrOrStderr(), "fill in:", n)
		}
		for _, n := range draft.Left {
			fmt.Fprintln(cmd.ErrOrStderr(), "left out:", n)
		}
		return err
	}
	return cmd
}

// writeFresh writes a file that is not there.
func writeFresh(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already — name a file that is not", name)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
