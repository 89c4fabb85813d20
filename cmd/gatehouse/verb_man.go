package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man", Short: "Print the manual page: gatehouse man | man -l -", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return writeMan(cmd.OutOrStdout(), cmd.Root()) },
	}
}

// writeMan writes the manual page of a program, all verbs in one, in the macros
// of man(7).
func writeMan(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH GATEHOUSE 1 \"\" \"gatehouse %s\"\n.SH NAME\ngatehouse \\- %s\n.SH SYNOPSIS\n.B gatehouse\n.I verb\n[\\fIflags\\fR]\n.SH VERBS\n", roff(version), roff(lowerFirst(root.Short)))
	var tell func(c *cobra.Command)
	tell = func(c *cobra.Command) {
		if c.Hidden || !c.IsAvailableCommand() {
			return
		}
		if c.Runnable() {
			fmt.Fprintf(&b, ".SS %s\n%s\n", roff(strings.TrimPrefix(c.UseLine(), "gatehouse ")), roff(c.Short))
			if c.Long != "" {
				fmt.Fprintf(&b, ".PP\n%s\n", roff(c.Long))
			}
			c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
				if f.Hidden || f.Name == "help" {
					return
				}
				name := "--" + f.Name
				if f.Shorthand != "" {
					name = "-" + f.Shorthand + ", " + name
				}
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(name), roff(f.Usage))
			})
		}
		for _, sub := range c.Commands() {
			tell(sub)
		}
	}
	for _, c := range root.Commands() {
		tell(c)
	}
	b.WriteString(".SH EXIT STATUS\n0 done, 1 the answer is no, 2 it was called wrongly.\n.SH ENVIRONMENT\n.TP\n.B GATEHOUSE_CONFIG\nthe configuration file where -c is left out\n.SH FILES\n.TP\n.I /etc/gatehouse/gatehouse.yaml\nthe configuration of the packaged service\n.TP\n.I admin.sock\nbeside the store: where a running gateway answers the other verbs\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// roff writes text so that no part of it is a macro.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
