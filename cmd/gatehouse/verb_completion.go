package main

import (
	"io"

	"github.com/spf13/cobra"
)

// completionCommand stands in the place of cobra's own, which takes any word.
func completionCommand() *cobra.Command {
	shell := func(name, how string, print func(root *cobra.Command, to io.Writer) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Print completions for " + name, Long: "To have them in this shell: " + how, Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return print(cmd.Root(), cmd.OutOrStdout()) },
		}
	}
	return group("completion", "Completions for a shell",
		shell("bash", "source <(gatehouse completion bash)", func(root *cobra.Command, to io.Writer) error { return root.GenBashCompletionV2(to, true) }),
		shell("zsh", "source <(gatehouse completion zsh)", (*cobra.Command).GenZshCompletion),
		shell("fish", "gatehouse completion fish | source", func(root *cobra.Command, to io.Writer) error { return root.GenFishCompletion(to, true) }),
		shell("powershell", "gatehouse completion powershell | Out-String | Invoke-Expression", (*cobra.Command).GenPowerShellCompletionWithDesc),
	)
}
