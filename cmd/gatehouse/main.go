// Command gatehouse is a reverse-proxy single sign-on gateway that provisions.
//
// Verbs are one file each. Exit codes: 0 done, 1 it says no (invalid, denied,
// not found), 2 usage. Errors go to stderr, one sentence, with the cure and, where
// there is one, the reason code in brackets.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(Main()) }

// Main runs the program and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSaid):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "gatehouse: "+err.Error())
		return 2
	default:
		fmt.Fprintln(os.Stderr, "gatehouse: "+withCode(err))
		return 1
	}
}

// withCode is what an error says, with its reason code if it has one: as the API,
// the pages and the audit log have it.
func withCode(err error) string {
	var r interface{ Reason() string }
	if !errors.As(err, &r) || r.Reason() == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v (%s)", err, r.Reason())
}

// errSaid: the answer is no, and has been printed.
var errSaid = errors.New("no")

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "gatehouse",
		Short:         "Single sign-on in front of your web services, with accounts made at first use",
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no verb %q — `gatehouse help` lists those there are", args[0])}
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.AddCommand(runCommand(), upgradeCommand(), demoCommand(), checkCommand(), explainCommand(), usersCommand(), groupsCommand(), sessionsCommand(), clientsCommand(), tokensCommand(), targetsCommand(), reconcileCommand(), sourcesCommand(), tasksCommand(), rolesCommand(), requestsCommand(), releaseCommand(), importCommand(), storeCommand(), keysCommand(), migrateCommand(), auditCommand(), manCommand(), versionCommand(), completionCommand(), adminCommand())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w — `%s --help` shows how", err, cmd.CommandPath())}
	})
	return root
}

// args wraps a check of arguments so that its error counts as usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		err := check(cmd, a)
		if err == nil {
			return nil
		}
		// Cobra only counts.
		if counts := err.Error(); strings.HasPrefix(counts, "accepts ") || strings.HasPrefix(counts, "requires ") {
			_, takes, _ := strings.Cut(cmd.Use, " ")
			err = fmt.Errorf("`%s` takes %s, and got %s", cmd.CommandPath(), takes, listed(a))
		}
		return usageError{fmt.Errorf("%w — `%s --help` shows how", err, cmd.CommandPath())}
	}
}

// redact takes out of a line of the log what must never be in one, whoever put it
// there: attributes that are called as secrets are.
func redact(_ []string, a slog.Attr) slog.Attr {
	key := strings.ToLower(a.Key)
	for _, secret := range []string{"password", "secret", "token", "cookie", "authorization", "assertion", "credential"} {
		if strings.Contains(key, secret) {
			return slog.String(a.Key, "…")
		}
	}
	return a
}
