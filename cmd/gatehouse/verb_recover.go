package main

import (
	"fmt"

	"github.com/spf13/cobra"

	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func adminCommand() *cobra.Command {
	return group("admin", "Ways into the desk for who has the machine", recoverCommand())
}

// recoverCommand prints a link by which somebody comes in. Whoever may open
// admin.sock may do that: it is the owner's alone.
func recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recover", Short: "Print a link that lets somebody administer once, without an identity provider", Args: args(cobra.NoArgs),
		Long: "Print a link to the desk that works once, within ten minutes, and only until another one is made. It depends on no policy and no identity provider. " +
			"Who opens it administers for half an hour at most, and can use no service.",
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var in webapi.WayIn
		if err := tellGateway(cmd.Context(), *file, "recover", &in); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\nworks once, until %s\n", in.URL, in.Until.UTC().Format("15:04:05 UTC"))
		return err
	}
	return cmd
}
