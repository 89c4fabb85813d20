package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// admin speaks to the API of api.go: over the socket if a gateway answers
// there, else with a store that it opens itself.
type admin struct {
	do    func(*http.Request) (*http.Response, error)
	close func() error
	// work runs a task, where no gateway does. nil: one does.
	work func(ctx context.Context, kind, key string) error
}

func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func openAdmin(ctx context.Context, file string) (*admin, error) {
	cfg, mistakes := loadAll(file, configs.AllowInlineSecrets)
	if len(mistakes) > 0 {
		printMistakes(mistakes)
		return nil, errSaid
	}
	path := socketPath(cfg)
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
		return &admin{do: c.Do, close: func() error { c.CloseIdleConnections(); return nil }}, nil
	}
	// Where one was, opening it says that it is lost.
	if !there(cfg.Store.Bolt()) && !there(cfg.Store.Bolt()+".id") {
		return nil, fmt.Errorf("there is no store at %s yet — start the gateway once, or name another configuration with -c", cfg.Store.Bolt())
	}
	p, err := openProcess(ctx, cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		return nil, err
	}
	return p.admin(ctx, cfg)
}

// admin speaks to the API of a process that serves nobody; closing it closes the store.
func (p *process) admin(ctx context.Context, cfg *configs.Config) (*admin, error) {
	s, err := p.newSite(ctx, cfg, nil)
	if err == nil {
		err = s.clients.Admit(ctx) // a token may be made of one that is new
	}
	if err != nil {
		return nil, errors.Join(err, p.store.Close())
	}
	p.site.Store(s)
	h := newAPI(p, s)
	return &admin{
		do: func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result(), nil
		},
		close: p.store.Close,
		work:  p.runner.Now,
	}, nil
}

// call asks the API and decodes its answer into v.
func (a *admin) call(ctx context.Context, method, path string, q url.Values, v any) (raw []byte, err error) {
	return a.send(ctx, method, path, q, nil, v)
}

// tellGateway has the gateway that runs here do what no store alone could, and
// decodes its answer into v.
func tellGateway(ctx context.Context, file, path string, v any) error {
	a, err := openAdmin(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = a.close() }()
	if a.work != nil {
		return errors.New("no gateway runs here — start it with `gatehouse run`, then ask again")
	}
	_, err = a.call(ctx, http.MethodPost, path, nil, v)
	return err
}

// send is call with something to send; v is nil if the answer is no JSON.
func (a *admin) send(ctx context.Context, method, path string, q url.Values, body io.Reader, v any) (raw []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://admin.sock/v1/"+path+"?"+q.Encode(), body)
	if err != nil {
		return nil, err
	}
	resp, err := a.do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, webapi.Refused(resp.StatusCode, raw)
	}
	if v == nil {
		return raw, nil
	}
	return raw, json.Unmarshal(raw, v)
}

// adminVerb makes a command that asks the API one thing and prints it, as a
// table or, with --json, as it came.
func adminVerb[T any](use, short string, check cobra.PositionalArgs, ask func(cmd *cobra.Command, a []string) (method, path string, q url.Values), show func(io.Writer, T)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(check)}
	file := configFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		method, path, q := ask(cmd, argv)
		var v T
		raw, err := a.call(cmd.Context(), method, path, q, &v)
		if err != nil {
			return err
		}
		if *asJSON {
			var pretty bytes.Buffer
			if err = json.Indent(&pretty, raw, "", "  "); err == nil {
				_, err = pretty.WriteTo(cmd.OutOrStdout())
			}
		} else {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			show(w, v)
			err = w.Flush()
		}
		if most, at := cmd.Flags().GetInt("limit"); at == nil && err == nil && full(v, most) {
			fmt.Fprintf(cmd.ErrOrStderr(), "these are the first %d; if there are more, --limit and --after show them\n", most)
		}
		if no, ok := any(v).(interface{ No() bool }); ok && no.No() && err == nil {
			return errSaid
		}
		return err
	}
	return cmd
}

// full reports whether a list has as many as it may have, so that there may be more.
func full(list any, most int) bool {
	v := reflect.ValueOf(list)
	return v.Kind() == reflect.Slice && v.Len() == most
}

func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// Flags are those of its verbs: of a verb that there is not, that is what is said.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// page adds --after and --limit, and what else a list can be asked for.
func page(cmd *cobra.Command, q url.Values) url.Values {
	for _, name := range []string{"after", "limit", "user", "flow", "kind", "before"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "0" {
			q.Set(name, f.Value.String())
		}
	}
	return q
}

func pageFlags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("after", "", "continue after this one")
	cmd.Flags().Int("limit", pageOf, "at most so many")
	return cmd
}

func usersCommand() *cobra.Command {
	one := func(method, path string, more url.Values) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, a []string) (string, string, url.Values) {
			q := url.Values{"name": {a[0]}}
			for k, v := range more {
				q[k] = v
			}
			return method, path, q
		}
	}
	said := func(what string) func(io.Writer, webapi.User) {
		return func(w io.Writer, u webapi.User) { fmt.Fprintf(w, "%s %s\n", u.UserName, what) }
	}
	attributes := func(path string) func(*cobra.Command, []string) (string, string, url.Values) {
		return func(_ *cobra.Command, a []string) (string, string, url.Values) {
			return "POST", path, url.Values{"name": a[:1], "attribute": a[1:]}
		}
	}
	return group("users", "People: list, show, create, set, disable, enable, link, unlink, delete",
		pageFlags(adminVerb("list [PREFIX]", "List users, those whose name begins with PREFIX", cobra.MaximumNArgs(1),
			func(cmd *cobra.Command, a []string) (string, string, url.Values) {
				q := page(cmd, url.Values{})
				if len(a) > 0 {
					q.Set("q", a[0])
				}
				return "GET", "users", q
			}, func(w io.Writer, list []webapi.User) {
				fmt.Fprintln(w, "NAME\tACTIVE\tMODIFIED\tID")
				for _, u := range list {
					fmt.Fprintf(w, "%s\t%t\t%s\t%s\n", u.UserName, u.Active, u.Modified.Format(time.DateTime), u.ID)
				}
			})),
		adminVerb("show NAME", "Show one user: who said what, roles, sign-ins, accounts", cobra.ExactArgs(1), one("GET", "user", nil), showUser),
		adminVerb("create NAME [ATTRIBUTE=VALUE]…", "Make a user who can be linked, given roles and put into groups before they ever sign in", cobra.MinimumNArgs(1), attributes("users"), said("is made")),
		adminVerb("set NAME ATTRIBUTE=VALUE…", "Say attributes of a user in the name of administrators; several of one for several values, an empty one to say it no more", cobra.MinimumNArgs(2),
			attributes("user/attributes"), said("is changed")),
		adminVerb("disable NAME", "Keep a user out, and end their sessions", cobra.ExactArgs(1), one("POST", "user/active", url.Values{"active": {"false"}}), said("is disabled")),
		adminVerb("enable NAME", "Let a user in again", cobra.ExactArgs(1), one("POST", "user/active", url.Values{"active": {"true"}}), said("is enabled")),
		adminVerb("link NAME PROVIDER ISSUER SUBJECT", "Let a user sign in as the person whom an identity provider calls so", cobra.ExactArgs(4), linked("POST"), said("can sign in there")),
		adminVerb("unlink NAME PROVIDER ISSUER SUBJECT", "Take that back, and end the user's sessions", cobra.ExactArgs(4), linked("DELETE"), said("can not sign in there any more")),
		adminVerb("delete NAME", "Delete a user, and end their sessions", cobra.ExactArgs(1), one("DELETE", "user", nil), said("is deleted")),
	)
}

func linked(method string) func(*cobra.Command, []string) (string, string, url.Values) {
	return func(_ *cobra.Command, a []string) (string, string, url.Values) {
		return method, "user/link", url.Values{"name": {a[0]}, "provider": {a[1]}, "issuer": {a[2]}, "subject": {a[3]}}
	}
}

func showUser(w io.Writer, u webapi.User) {
	fmt.Fprintf(w, "name\t%s\nid\t%s\nactive\t%t\nversion\t%d\ncreated\t%s\nmodified\t%s\n", u.UserName, u.ID, u.Active, u.Version, u.Created.Format(time.DateTime), u.Modified.Format(time.DateTime))
	fmt.Fprintf(w, "roles\t%s\ngroups\t%s\n", strings.Join(u.Roles, ", "), strings.Join(u.Groups, ", "))
	for _, l := range u.Links {
		fmt.Fprintf(w, "signs in at\t%s\t%s\t%s\n", l.Provider, l.Ref.Issuer, l.Ref.Subject)
	}
	for attr, claims := range u.Claims {
		for _, c := range claims {
			fmt.Fprintf(w, "%s\t%s\tsaid by %s\t%s\n", attr, strings.Join(c.Values, ", "), c.Source, c.At.Format(time.DateTime))
		}
	}
	for _, a := range u.Accounts {
		fmt.Fprintf(w, "account at %s\t%s\t%s\t%s\n", a.Target, a.Status, a.RemoteID, a.Error)
	}
	for _, e := range u.Evidence {
		fmt.Fprintf(w, "evidence\t%s\tby %s, %d times, since %s\t%s\t%s\n", e.Kind, e.By, e.Count, e.First.Format(time.DateTime), e.Text, e.Outcome)
	}
}

func sessionsCommand() *cobra.Command {
	which := func(cmd *cobra.Command, q url.Values) url.Values {
		for flag, key := range map[string]string{"user": "name", "idp": "idp", "service": "service"} {
			if v := cmd.Flags().Lookup(flag).Value.String(); v != "" {
				q.Set(key, v)
			}
		}
		return q
	}
	flags := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().String("user", "", "of this user: name or ID")
		cmd.Flags().String("idp", "", "begun at this identity provider")
		cmd.Flags().String("service", "", "with which this service's host was opened")
		return cmd
	}
	list := pageFlags(adminVerb("list", "List sessions", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
			q := page(cmd, url.Values{})
			q.Del("user")
			return "GET", "sessions", which(cmd, q)
		}, func(w io.Writer, list []webapi.Session) {
			fmt.Fprintln(w, "USER\tIDENTITY PROVIDER\tBEGUN\tLAST USED\tENDS\tID")
			for _, s := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.User, s.Provider, s.Created.Format(time.DateTime), s.Seen.Format(time.DateTime), s.Until.Format(time.DateTime), s.ID)
			}
		}))
	end := adminVerb("end [ID]", "End a session, or all of a user, an identity provider, a service", cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			q := url.Values{}
			if len(a) > 0 {
				q.Set("id", a[0])
			}
			if all, _ := cmd.Flags().GetBool("all"); all { // it is defined below
				q.Set("all", "true")
			}
			return "DELETE", "sessions", which(cmd, q)
		}, func(w io.Writer, v map[string]int) {
			fmt.Fprintf(w, "%d %s ended\n", v["ended"], plural(v["ended"], "session", "sessions"))
		})
	end.Flags().Bool("all", false, "all there are: everybody signs in again")
	return group("sessions", "Sign-ins: list, end", flags(list), flags(end))
}

func auditCommand() *cobra.Command {
	cmd := adminVerb("audit", "What happened: by support code, user or kind, newest first", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
			return "GET", "audit", page(cmd, url.Values{})
		},
		func(w io.Writer, v webapi.Events) {
			fmt.Fprintln(w, "TIME\tKIND\tCODE\tSUPPORT\tUSER\tWHERE\tTEXT")
			for _, e := range v.Events {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.At.Format(time.DateTime), e.Kind, e.Code, e.Flow, e.UserID, strings.TrimSpace(e.Service+" "+e.Provider+" "+e.Target), e.Text)
			}
			if v.Next > 0 {
				fmt.Fprintf(w, "there may be more: --before %d\n", v.Next)
			}
		})
	cmd.Flags().Int("limit", pageOf, "at most so many")
	cmd.Flags().Uint64("before", 0, "only events with a lower number")
	cmd.AddCommand(adminVerb("verify", "Check that no event was changed, removed or put elsewhere", cobra.NoArgs,
		func(*cobra.Command, []string) (string, string, url.Values) { return "GET", "audit/verify", nil },
		func(w io.Writer, _ map[string]bool) { fmt.Fprintln(w, "the chain is whole") }))
	cmd.Flags().String("flow", "", "the support code on a page")
	cmd.Flags().String("user", "", "ID of a user")
	cmd.Flags().String("kind", "", "login, login.refused, denied, user.changed, session.ended, …")
	return cmd
}

func explainCommand() *cobra.Command {
	named := func(cmd *cobra.Command, a []string) error {
		if cmd.Flags().Lookup("service").Value.String() == "" {
			return errors.New("--service is missing")
		}
		return cobra.NoArgs(cmd, a)
	}
	var amr []string
	cmd := adminVerb("explain", "Why a person may or may not use a service, and what it would learn", named,
		func(cmd *cobra.Command, _ []string) (string, string, url.Values) {
			q := url.Values{}
			for flag, key := range map[string]string{"user": "name", "service": "service", "method": "method", "path": "path", "from": "from", "acr": "acr", "idp": "idp", "signed-in": "signed_in"} {
				q.Set(key, cmd.Flags().Lookup(flag).Value.String())
			}
			q["amr"] = amr
			return "GET", "explain", q
		}, showExplanation)
	cmd.Flags().String("user", "", "whom: user name or ID; empty: nobody signed in")
	cmd.Flags().String("service", "", "which service")
	cmd.Flags().String("method", "GET", "HTTP method")
	cmd.Flags().String("path", "/", "path")
	cmd.Flags().String("from", "127.0.0.1", "address of the caller")
	cmd.Flags().String("acr", "", "authentication context of the sign-in")
	cmd.Flags().StringSliceVar(&amr, "amr", nil, "methods of the sign-in, as pwd,otp")
	cmd.Flags().String("signed-in", "", "when: a time (2026-12-31T17:00:00Z) or how long ago (5m); empty: now")
	cmd.Flags().String("idp", "", "identity provider of the sign-in; empty: that of the first link")
	return cmd
}

// namingText says what sub of a token is.
var namingText = map[string]string{
	authz.Unnamed.String(): "a name of one session", authz.Pairwise.String(): "a name that no other service knows", authz.Named.String(): "our ID of the user",
}

func showExplanation(w io.Writer, x webapi.Explanation) {
	fmt.Fprintf(w, "%s", strings.ToUpper(x.Outcome))
	if x.Code != "" {
		fmt.Fprintf(w, " (%s)", x.Code)
	}
	who := x.User.UserName
	if who == "" {
		who = "nobody signed in"
	}
	fmt.Fprintf(w, ": %s at %s\n\n", who, x.Service)
	for _, r := range x.Reasons {
		mark := "does not apply"
		if r.Matched {
			mark = "applies"
		}
		fmt.Fprintf(w, "%s rule %s %s\t%s\n", r.Effect, r.Rule, mark, r.Pos)
		if r.Text != "" {
			fmt.Fprintf(w, "    %s\n", r.Text)
		}
		for _, c := range r.Unmet {
			fmt.Fprintf(w, "    %s: wants %s, has %s\n", c.Kind, listed(c.Want), listed(c.Have))
		}
		if r.Err != "" {
			fmt.Fprintf(w, "    can not be evaluated: %s\n", r.Err)
		}
	}
	if len(x.Needs.ACR) > 0 || x.Needs.MaxAge > 0 {
		fmt.Fprintf(w, "needs a sign-in with %s\n", listed(x.Needs.ACR))
	}
	if x.User.ID == "" {
		return
	}
	fmt.Fprintln(w, "\nreleased to the service:")
	for _, v := range x.Sent {
		fmt.Fprintf(w, "  %s\tas %s\t%s\t%s\n", v.Attribute, v.Name, listed(v.Values), v.Purpose)
	}
	for _, v := range x.Withheld {
		fmt.Fprintf(w, "  %s\twithheld\t%s\n", v.Attribute, v.Why)
	}
	if text, ok := namingText[x.Naming]; ok {
		fmt.Fprintf(w, "the token names them by %s\n", text)
	}
	if len(x.Sent) == 0 && len(x.Withheld) == 0 {
		fmt.Fprintln(w, "  nothing")
	}
	if len(x.Headers) > 0 {
		fmt.Fprintln(w, "in headers:")
	}
	for _, h := range x.Headers {
		fmt.Fprintf(w, "  %s\t%s\n", h.Name, strings.Join(h.Values, " | "))
	}
	for _, t := range x.Targets {
		fmt.Fprintf(w, "target %s: account: %t\n", t.Target, t.Account)
		for _, v := range t.Sent {
			fmt.Fprintf(w, "  %s\tas %s\t%s\n", v.Attribute, v.Name, listed(v.Values))
		}
	}
}

func listed(s []string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, ", ")
}
