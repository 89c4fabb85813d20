package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/external"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
)

// conformance is what `targets conformance` was asked for.
type conformance struct {
	program, url  string
	args, env     []string
	bearerEnv     string
	mail, title   string
	timeout       time.Duration
	only          string
	out, messages io.Writer
}

func conformanceCommand() *cobra.Command {
	var c conformance
	cmd := &cobra.Command{
		Use: "conformance (--exec PROGRAM | --http URL)", Short: "Try whether a connector that you wrote keeps the laws of every connector", Args: args(cobra.NoArgs),
		Long: "Runs the laws that Gatehouse's own connectors keep against yours, one after the other. The target behind it must be\n" +
			"empty, and is emptied again after each law: use one that is for trying alone. What the target holds is read through the\n" +
			"connector itself. Exit code 1 if a law is broken.",
	}
	f := cmd.Flags()
	f.StringVar(&c.program, "exec", "", "program that speaks the connector protocol; what it writes to standard error is shown")
	f.StringVar(&c.url, "http", "", "address that speaks the connector protocol")
	f.StringArrayVar(&c.args, "arg", nil, "an argument of the program; once for each")
	f.StringArrayVar(&c.env, "env", nil, "NAME=VALUE for the program's environment; once for each")
	f.StringVar(&c.bearerEnv, "bearer-env", "", "variable that holds the token for the address")
	f.StringVar(&c.mail, "mail", "mail", "an attribute with one value that it keeps")
	f.StringVar(&c.title, "title", "title", "another")
	f.DurationVar(&c.timeout, "timeout", 30*time.Second, "of one call")
	f.StringVar(&c.only, "law", "", "only the laws with this in their name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c.out, c.messages = cmd.OutOrStdout(), cmd.ErrOrStderr()
		carrier, err := c.carrier()
		if err != nil {
			return usageError{fmt.Errorf("%w — `%s --help` shows how", err, cmd.CommandPath())}
		}
		return c.run(cmd.Context(), external.New(carrier))
	}
	return cmd
}

func (c *conformance) carrier() (external.Carrier, error) {
	switch {
	case (c.program == "") == (c.url == ""):
		return nil, errors.New("exactly one of --exec and --http says what to try")
	case c.program != "":
		program, err := filepath.Abs(c.program)
		if err != nil {
			return nil, err
		}
		return external.NewExec(external.Exec{Program: program, Args: c.args, Env: c.env, Timeout: c.timeout, Stderr: c.messages}, 0)
	}
	var auth func(*http.Request)
	if c.bearerEnv != "" {
		auth = scim2.Bearer(os.Getenv(c.bearerEnv))
	}
	return external.NewHTTP(c.url, &http.Client{Timeout: c.timeout}, auth)
}

// run tries law after law, and prints how each went.
func (c *conformance) run(ctx context.Context, conn *external.Connector) error {
	if err := conn.Test(ctx); err != nil {
		return fmt.Errorf("it does not answer as a connector: %w", err)
	}
	held, err := accountsOf(ctx, conn)
	if err != nil {
		return err
	}
	if n := len(held); n > 0 {
		return fmt.Errorf("it holds %d %s: try it with an empty target, since it is emptied after each law", n, plural(n, "account", "accounts"))
	}
	var good, broken int
	for _, l := range connectortest.Laws() {
		if l.OverHTTP || !strings.Contains(l.Name, c.only) {
			continue // those try how Gatehouse asks, which here is Gatehouse's own part
		}
		j := &judge{ctx: ctx}
		j.try(l, connectortest.Harness{
			Connector: conn, Mail: c.mail, Title: c.title,
			Held: func() []connector.Account {
				held, err := accountsOf(ctx, conn)
				if err != nil {
					j.Fatal(err)
				}
				return held
			},
			Plant: func(a connector.Account) string {
				id, err := conn.Sync(ctx, a, "")
				if err != nil {
					j.Fatalf("make an account as somebody else would: %v", err)
				}
				return id
			},
		})
		switch {
		case j.skipped != "":
			continue
		case len(j.said) == 0:
			good++
			fmt.Fprintln(c.out, "ok     ", sentence(l.Name))
		default:
			broken++
			fmt.Fprintln(c.out, "broken ", sentence(l.Name))
			for _, line := range j.said[:min(len(j.said), 5)] {
				fmt.Fprintln(c.out, "          "+line)
			}
		}
		if err := empty(ctx, conn); err != nil {
			return fmt.Errorf("the target can not be emptied after this law, so there is no other: %w", err)
		}
	}
	fmt.Fprintf(c.out, "%d %s kept, %d broken\n", good, plural(good, "law is", "laws are"), broken)
	if broken > 0 {
		return errSaid
	}
	return nil
}

func accountsOf(ctx context.Context, c connector.Connector) (list []connector.Account, err error) {
	for a, err := range c.Accounts(ctx) {
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// empty removes what a law left at the target.
func empty(ctx context.Context, c connector.Connector) error {
	list, err := accountsOf(ctx, c)
	for _, a := range list {
		err = errors.Join(err, c.Remove(ctx, a.ID))
	}
	return err
}

// sentence is a name in words: "one account is read by its ID".
func sentence(name string) string {
	var list []string
	rs := []rune(name)
	for from, i := 0, 1; i <= len(rs); i++ {
		// A word ends before a capital, unless that one goes on with a row of them.
		if i == len(rs) || unicode.IsUpper(rs[i]) && (!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && !unicode.IsUpper(rs[i+1])) {
			word := string(rs[from:i])
			if len(word) == 1 || strings.ToUpper(word) != word {
				word = strings.ToLower(word)
			}
			list, from = append(list, word), i
		}
	}
	return strings.Join(list, " ")
}

// A judge is told by a law what is wrong.
type judge struct {
	ctx     context.Context
	mu      sync.Mutex
	said    []string
	skipped string
}

// try runs a law to its end, which it may reach by Fatal or Skip.
func (j *judge) try(l connectortest.Law, h connectortest.Harness) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(j, h)
	}()
	<-done
}

func (j *judge) say(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Contains(j.said, text) {
		j.said = append(j.said, text)
	}
}

// Helper, Context and those below are what a law needs.
func (j *judge) Helper()                   {}
func (j *judge) Context() context.Context  { return j.ctx }
func (j *judge) Error(a ...any)            { j.say(fmt.Sprint(a...)) }
func (j *judge) Errorf(f string, a ...any) { j.say(fmt.Sprintf(f, a...)) }
func (j *judge) Fatal(a ...any)            { j.Error(a...); runtime.Goexit() }
func (j *judge) Fatalf(f string, a ...any) { j.Errorf(f, a...); runtime.Goexit() }
func (j *judge) Skip(a ...any)             { j.skipped = fmt.Sprint(a...); runtime.Goexit() }
