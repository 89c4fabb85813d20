package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func (a *api) tokenRoutes() {
	a.route("GET /v1/tokens", a.tokens, "auditors").doc("Service tokens, without what proves.", []bearer.Token{})
	a.route("POST /v1/tokens", a.createToken).doc("Makes a service token; this answer is the only one that holds it.", webapi.MadeServiceToken{},
		"name! of the program", "service[] a service that it may call, or SERVICE:/PATH for that path and what is below it", "ask[] a service about which it may ask for decisions", "expires after how long it ends, such as 30d; 90 days where nothing is said, at most 366")
	a.route("DELETE /v1/tokens", a.endToken).doc("Ends a service token at once.", bearer.Token{}, "id! its first part, as the list shows it")
}

// tokenLife is how long a service token lives where nobody says.
const tokenLife = 90 * 24 * time.Hour

func (a *api) tokens(r *http.Request) (any, error) {
	list, err := a.p.tokens.List(r.Context())
	return append([]bearer.Token{}, list...), err
}

var tokenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

func (a *api) createToken(r *http.Request) (any, error) {
	name, life := r.FormValue("name"), tokenLife
	if !tokenName.MatchString(name) {
		return nil, errBad(fmt.Sprintf("%q can not be the name of a program — use lower-case letters, digits and hyphens, a letter or digit first and last", name))
	}
	if text := r.FormValue("expires"); text != "" {
		var err error
		if life, err = configs.Duration(text); err != nil {
			return nil, errBad(err.Error())
		}
		if life > bearer.MaxLife {
			return nil, errBad("a service token lives for 366 days at most — write a shorter time, and make another one before it ends")
		}
	}
	var uses []bearer.Scope
	for _, text := range r.Form["service"] {
		id, path, _ := strings.Cut(text, ":")
		s, err := a.serviceNamed(id)
		if err != nil {
			return nil, err
		}
		if !s.Tokens {
			return nil, errNo(fmt.Sprintf("%s takes no service tokens — add tokens: true to it, and a rule with callers: [ \"token:%s\" ]", id, name))
		}
		if path = cmp.Or(path, "/"); path[0] != '/' || strings.ContainsAny(path, "*?#%\\;") || strings.Contains(path+"/", "//") && path != "/" || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
			return nil, errBad(fmt.Sprintf("%q is no path — write it decoded, as in %s:/v1/reports", path, id))
		}
		uses = append(uses, bearer.Scope{Service: id, Path: path})
	}
	for _, id := range r.Form["ask"] {
		if _, err := a.serviceNamed(id); err != nil {
			return nil, err
		}
	}
	if len(uses)+len(r.Form["ask"]) == 0 {
		return nil, errNo("the token would be for nothing — name what it is for with --service or --ask")
	}
	t, text, err := a.p.tokens.Make(r.Context(), name, uses, r.Form["ask"], life, a.serviceTokenEvent("token.made", a.actor(r)))
	return webapi.MadeServiceToken{Token: t, Text: text}, err
}

func (a *api) serviceNamed(id string) (configs.Service, error) {
	i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == id })
	if i < 0 {
		return configs.Service{}, errNone(fmt.Sprintf("there is no service %q — the configuration lists those there are", id))
	}
	return a.s.cfg.Services[i], nil
}

func (a *api) endToken(r *http.Request) (any, error) {
	id := r.FormValue("id")
	t, err := a.p.tokens.Revoke(r.Context(), id, a.serviceTokenEvent("token.revoked", a.actor(r)))
	if !errors.Is(err, bearer.ErrNotFound) {
		return t, err
	}
	list, err := a.p.tokens.List(r.Context())
	if err != nil {
		return nil, err
	}
	var its []string
	for _, t := range list {
		if t.Name == id {
			its = append(its, t.ID)
		}
	}
	if len(its) > 0 {
		return nil, errNone(fmt.Sprintf("%q is a program and no token — end its tokens one by one: %s", id, strings.Join(its, ", ")))
	}
	return nil, errNone(fmt.Sprintf("there is no token %q — `gatehouse tokens list` shows those there are", id))
}

// serviceTokenEvent records for what there is a token, and which; never the token.
func (a *api) serviceTokenEvent(kind, by string) func(store.Tx, bearer.Token) error {
	return func(tx store.Tx, t bearer.Token) error {
		return a.p.audit.Append(tx, audit.Event{Kind: kind, By: by, Text: "token " + t.ID + " of " + t.Name + " for " + purpose(t)})
	}
}

// purpose is what a token is for, in words.
func purpose(t bearer.Token) string {
	var list []string
	for _, s := range t.Uses {
		list = append(list, s.String())
	}
	for _, id := range t.Asks {
		list = append(list, "decisions about "+id)
	}
	return strings.Join(list, ", ")
}

func tokensCommand() *cobra.Command {
	create := adminVerb("create NAME", "Make a service token for a program, and show it this once", cobra.ExactArgs(1),
		func(cmd *cobra.Command, argv []string) (string, string, url.Values) {
			q := url.Values{"name": {argv[0]}, "expires": {cmd.Flags().Lookup("expires").Value.String()}}
			q["service"], _ = cmd.Flags().GetStringArray("service") // it is there
			q["ask"], _ = cmd.Flags().GetStringArray("ask")
			return "POST", "tokens", q
		}, func(w io.Writer, t webapi.MadeServiceToken) {
			fmt.Fprintf(w, "%s\n\nThis is shown once and kept nowhere. It is for %s and ends on %s; `gatehouse tokens revoke %s` ends it at once.\n", t.Text, purpose(t.Token), t.Until.Format(time.DateTime), t.ID)
		})
	create.Flags().StringArray("service", nil, "a service that it may call, or SERVICE:/PATH for that path and what is below it; several times for several")
	create.Flags().StringArray("ask", nil, "a service about which it may ask for decisions (AuthZEN); several times for several")
	create.Flags().String("expires", "90d", "after how long it ends, at most 366d")
	return group("tokens", "Service tokens of programs: create, list, revoke", create,
		adminVerb("list", "List the tokens that were made", cobra.NoArgs,
			func(*cobra.Command, []string) (string, string, url.Values) { return "GET", "tokens", nil },
			func(w io.Writer, list []bearer.Token) {
				fmt.Fprintln(w, "TOKEN\tNAME\tFOR\tMADE\tLAST USED\tENDS")
				for _, t := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, purpose(t), t.Created.Format(time.DateTime), day(t.Used), day(t.Until))
				}
			}),
		adminVerb("revoke TOKEN", "End a token at once; TOKEN is its first part, as list shows it", cobra.ExactArgs(1),
			func(_ *cobra.Command, argv []string) (string, string, url.Values) {
				return "DELETE", "tokens", url.Values{"id": {argv[0]}}
			}, func(w io.Writer, t bearer.Token) { fmt.Fprintf(w, "token %s of %s is ended\n", t.ID, t.Name) }))
}
