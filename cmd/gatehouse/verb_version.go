package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "development"

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print version, revision and Go version", Args: args(cobra.NoArgs),
		Long: "Prints version, revision and Go version.\nWith --parts the modules that this program is made of, with their versions and checksums, as CycloneDX (JSON).",
	}
	parts := cmd.Flags().Bool("parts", false, "list what this program is made of (SBOM, CycloneDX)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			info = &debug.BuildInfo{}
		}
		if *parts {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(partsOf(info))
		}
		revision := "unknown revision"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "gatehouse %s (%s, %s)\n", version, revision, info.GoVersion)
		return nil
	}
	return cmd
}

// A part of a program, in the words of CycloneDX 1.6.
type part struct {
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	URL        string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A partsList is a bill of materials. Nothing in it is of the time when it was
// written: the same program has the same list.
type partsList struct {
	Format      string `json:"bomFormat"`
	SpecVersion string `json:"specVersion"`
	Version     int    `json:"version"`
	Metadata    struct {
		Component part `json:"component"`
	} `json:"metadata"`
	Components []part `json:"components"`
}

// partsOf is what the linker wrote into a program about what it is made of.
func partsOf(info *debug.BuildInfo) (l partsList) {
	l.Format, l.SpecVersion, l.Version = "CycloneDX", "1.6", 1
	l.Metadata.Component = part{Type: "application", Name: "gatehouse", Version: version}
	l.Components = []part{{Type: "library", Name: "std", Version: info.GoVersion, URL: "pkg:golang/std@" + info.GoVersion}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p := part{Type: "library", Name: m.Path, Version: m.Version, URL: "pkg:golang/" + m.Path + "@" + m.Version}
		if m.Sum != "" {
			p.Properties = []property{{"go.sum", m.Sum}}
		}
		l.Components = append(l.Components, p)
	}
	return l
}
