package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "development"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, revision and Go version", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			revision, goVersion := "unknown revision", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "gatehouse %s (%s, %s)\n", version, revision, goVersion)
			return nil
		},
	}
}
