package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration: every mistake at once", Args: args(cobra.NoArgs),
		Long: "Prints every mistake as file:line:col: what is wrong — how to mend it, and then what is not wrong but may surprise.\nNothing is started, called or written. Exit code 1 if there is a mistake.",
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, mistakes := loadAll(*file)
		var surprises []configs.Mistake
		if cfg != nil {
			var more []configs.Mistake
			more, surprises = examine(cfg, time.Now())
			mistakes = configs.Sort(append(mistakes, more...))
		}
		printMistakes(mistakes)
		for _, s := range surprises {
			fmt.Fprintln(cmd.OutOrStdout(), "note:", s)
		}
		if n := len(mistakes); n > 0 {
			fmt.Fprintf(os.Stderr, "%d %s\n", n, plural(n, "mistake", "mistakes"))
			return errSaid
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: good: %d %s, %d %s, %d %s\n", *file,
			len(cfg.IdentityProviders), plural(len(cfg.IdentityProviders), "identity provider", "identity providers"),
			len(cfg.Services), plural(len(cfg.Services), "service", "services"),
			len(cfg.Targets), plural(len(cfg.Targets), "target", "targets"))
		return nil
	}
	return cmd
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
