package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// Directories that people are read from: what the configuration says of them,
// and what the verbs ask.

// compileDirectories turns sources into what is read, but for the connections.
func compileDirectories(cfg *configs.Config) (map[string]ldap.Source, []configs.Mistake) {
	all := map[string]ldap.Source{}
	var out []configs.Mistake
	for i, src := range cfg.Sources {
		if src.LDAP != nil {
			made, errs := compileDirectory(cfg, i)
			all[src.ID] = made
			out = append(out, errs...)
		}
	}
	return all, out
}

func compileDirectory(cfg *configs.Config, i int) (ldap.Source, []configs.Mistake) {
	src, l := cfg.Sources[i], cfg.Sources[i].LDAP
	s := ldap.Source{
		ID: src.ID, Title: cmp.Or(src.Title, src.ID), Dialect: ldapDialect(l.Kind), Base: l.Base, Filter: l.Filter, Method: ldap.Method(l.Changes),
		UserStore: storesOf(cfg, src)[0], AdoptNames: src.Adopt == "user_name", Keep: src.Missing == "keep",
		Every: l.Every, FullEvery: l.FullEvery, DeleteAfter: l.DeleteAfter,
	}
	if g := l.Groups; g != nil {
		s.Groups = &ldap.Groups{Base: g.Base, Filter: g.Filter, Name: g.Name, Member: g.Member}
	}
	var out []configs.Mistake
	// from compiles what names an attribute of theirs or is an expression, and notes what it reads.
	from := func(text string, path ...any) provisioning.From {
		f, err := provisioning.CompileFrom(text)
		if err == nil && len(f.Theirs()) == 0 {
			err = errors.New("it does not say which attributes it reads")
		}
		if err != nil {
			out = append(out, configs.At(cfg.Pos(append([]any{"sources", i, "ldap"}, path...)...), err.Error(), "name one of the directory's attributes, or write an expression over claims such as claims.givenName[0]"))
		}
		s.Attributes = append(s.Attributes, f.Theirs()...)
		return f
	}
	name := map[string]string{"openldap": "uid", "active-directory": "sAMAccountName"}[l.Kind]
	s.UserName = from(cmp.Or(l.UserName, name), "user_name")
	if l.Active != "" {
		f := from(l.Active, "active")
		s.Active = &f
	}
	if l.Links != nil {
		k := slices.IndexFunc(cfg.IdentityProviders, func(p configs.IdentityProvider) bool { return p.ID == l.Links.IdentityProvider })
		s.Links = &ldap.Links{Provider: l.Links.IdentityProvider, Subject: from(l.Links.Subject, "links", "subject")}
		if k >= 0 {
			s.Links.Issuer = issuer(cfg.IdentityProviders[k])
		}
	}
	var rules []provisioning.MapRule
	for attr, m := range l.Attributes {
		rules = append(rules, provisioning.MapRule{Attribute: attr, From: cmp.Or(m.Expr, m.From), Required: m.Required, Pos: cfg.Pos("sources", i, "ldap", "attributes", attr)})
	}
	var errs []configs.Mistake
	s.Mapping, errs = compileMapping(rules, cfg.Pos("sources", i, "ldap", "attributes"))
	for _, m := range s.Mapping.Froms() {
		s.Attributes = append(s.Attributes, m.From.Theirs()...)
	}
	slices.Sort(s.Attributes)
	s.Attributes = slices.Compact(s.Attributes)
	var err error
	s.Form, err = hashed(struct {
		URL            configs.LDAPAddress
		Base, Filter   string
		Name, Active   string
		Store, Adopt   string
		Attributes     map[string]configs.Mapped
		Groups         *configs.LDAPSourceGroups
		AttributeTypes []configs.AttributeType
	}{l.Server.URL, l.Base, l.Filter, l.UserName, l.Active, s.UserStore, src.Adopt, l.Attributes, l.Groups, cfg.AttributeTypes()})
	if err != nil {
		out = append(out, configs.At(cfg.Pos("sources", i, "ldap"), err.Error(), ""))
	}
	return s, append(out, errs...)
}

// newDirectories makes what reads directories.
func (p *process) newDirectories(s *site) (*ldap.Reader, error) {
	c := ldap.Config{Store: p.store, Directory: s.directory, Guard: s.guard, Left: s.endSessions, Log: p.log, Now: p.now}
	for _, src := range s.cfg.Sources {
		if src.LDAP == nil {
			continue
		}
		made := s.rules.directories[src.ID]
		var err error
		if made.Pool, err = s.directoryServer(src.LDAP.Server); err != nil {
			return nil, fmt.Errorf("source %s: %w", src.ID, err)
		}
		c.Sources = append(c.Sources, made)
	}
	return ldap.New(c), nil
}

// sourceRoutes are what the API can do about directories and files that people are
// read from.
func (a *api) sourceRoutes() {
	const takesID = "id! a source"
	takesWho := []string{"source on behalf of this source", "client on behalf of this client"}
	a.route("GET /v1/sources", a.sources, "auditors").doc("Directories that people are read from, and how the last reading went.", []ldap.Status{})
	a.route("GET /v1/source/test", a.testSource).doc("Goes through each step and shows how one entry is understood; changes nothing.", ldap.Diagnosis{}, takesID, "entry its name in the directory; the first where nothing is said")
	a.route("GET /v1/source/preview", a.previewSource).doc("What reading everything would do to people now; changes nothing.", ldap.Report{}, takesID)
	a.route("POST /v1/source/run", a.runSource).doc("Reads a source now and waits until it is read.", ldap.Status{}, takesID, "full:boolean everything, and not only what changed")
	a.route("GET /v1/source/held", a.held).doc("Whom a source would take away beyond what may be at once; that waits for a person.", webapi.Held{}, takesID, takesNext, takesLimit)
	a.route("POST /v1/source/held", a.decideHeld).doc("Lets people be taken away that are held, or keeps them.", map[string]int{},
		takesID, "name[] these users; all where none is named", "answer:approve|reject approve where nothing is said")
	a.route("GET /v1/imports", a.imports, "auditors").doc("Files that were taken in.", []files.Import{}, takesAfter, takesLimit)
	a.route("POST /v1/imports", a.importFile).doc("Takes people in from a file.", files.Import{},
		append(takesWho, "file its name", "content:full|delta what the file means", "preview:boolean only say what it would do", "shrunk:boolean it is right that it is much shorter than the last one")...).reads("text/csv")
	a.route("GET /v1/import", a.oneImport, "auditors").doc("One file and how far it is.", files.Import{}, "id! of the import")
	a.raw("GET /v1/import/result", a.importResult).doc("What became of each row.", nil, "id! of the import").file("text/csv")
}

// sourceSays makes an answer of no of what is not there.
func sourceSays(err error, id string) error {
	if errors.Is(err, ldap.ErrNotFound) {
		return errNone(fmt.Sprintf("there is no directory %q among the sources — `gatehouse sources list` shows those there are", id))
	}
	return err
}

func (a *api) sources(r *http.Request) (any, error) {
	list, err := a.s.directories.Statuses(r.Context())
	return append([]ldap.Status{}, list...), err
}

func (a *api) testSource(r *http.Request) (any, error) {
	d, err := a.s.directories.Test(r.Context(), r.FormValue("id"), r.FormValue("entry"))
	return d, sourceSays(err, r.FormValue("id"))
}

func (a *api) previewSource(r *http.Request) (any, error) {
	rep, err := a.s.directories.Preview(r.Context(), r.FormValue("id"))
	return rep, sourceSays(err, r.FormValue("id"))
}

// runSource reads a source now, all of it if asked for, and waits until it is read.
func (a *api) runSource(r *http.Request) (any, error) {
	id := r.FormValue("id")
	err := a.p.store.Update(r.Context(), func(tx store.Tx) error {
		if r.FormValue("full") == "true" {
			return a.s.directories.AskFull(tx, id)
		}
		return a.s.directories.Ask(tx, id)
	})
	if err != nil {
		return nil, sourceSays(err, id)
	}
	err = a.p.runner.Now(r.Context(), ldap.Kind, id)
	var again *task.Retry
	if err != nil && !errors.As(err, &again) {
		return nil, err
	}
	st, err := a.s.directories.StateOf(context.WithoutCancel(r.Context()), id)
	if err != nil {
		return nil, sourceSays(err, id)
	}
	if st.State.Error != "" {
		return nil, errNo(fmt.Sprintf("%s can not be read: %s — `gatehouse sources test %s` shows each step", id, st.State.Error, id))
	}
	return st, nil
}
