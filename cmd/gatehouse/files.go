package main

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
)

// importsDir is where files are kept while people are taken in from them, and the
// results, beside the store.
func importsDir(cfg *configs.Config) string {
	return filepath.Join(filepath.Dir(cfg.Store.Bolt()), "imports")
}

// newFiles makes what takes people in from files: those of the sources that are
// configured, and those that are brought on behalf of a client.
func (p *process) newFiles(s *site) (*files.Files, error) {
	multi := multi(s.cfg)
	attributes := s.cfg.AttributeTypes()
	c := files.Config{
		Store: p.store, Directory: s.directory, Guard: s.guard, Dir: importsDir(s.cfg), Log: p.log, Now: p.now, Left: s.endSessions,
		Attribute: func(name string) bool {
			return slices.ContainsFunc(attributes, func(a configs.AttributeType) bool { return a.ID == name })
		},
		Multi: func(name string) bool { return multi[name] },
	}
	for _, src := range s.cfg.Sources {
		if src.CSV == nil {
			continue
		}
		c.Sources = append(c.Sources, files.Source{
			ID: src.ID, By: provisioning.SourceFeed(src.ID), UserStores: storesOf(s.cfg, src), AdoptNames: src.Adopt == "user_name", Keep: src.Missing == "keep",
			Place: s.place(src.CSV.Folder, src.CSV.SFTP), Pattern: src.CSV.Files, Poll: src.CSV.Poll, Content: files.Content(src.CSV.Content),
			Columns: src.CSV.Columns, Threads: src.CSV.Threads,
		})
	}
	for _, cl := range s.cfg.Clients {
		by := provisioning.SourceClient(cl.ID)
		c.Sources = append(c.Sources, files.Source{ID: string(by), By: by, UserStores: s.clients.Of(by).UserStores})
	}
	return files.New(c)
}

// storesOf are the user stores in which a source's people may be.
func storesOf(cfg *configs.Config, src configs.Source) []string {
	if len(src.UserStores) > 0 {
		return src.UserStores
	}
	return storeIDs(cfg)[:1]
}

// place is a folder where files are handed over.
func (s *site) place(local configs.Folder, over *configs.SFTP) folder.Place {
	if over == nil {
		return folder.Local(string(local))
	}
	return folder.SFTP{
		Address: over.Address, User: over.User, Dir: over.Folder, KnownHosts: string(over.KnownHosts), Key: []byte(over.Key.Value()), Password: over.Password.Value(),
		Timeout: over.Timeout, Dial: outboundDialer(s.cfg.Outbound.Allow).DialContext,
	}
}

// sourceID is what files calls a source or a client.
func sourceID(source, client string) string {
	if client != "" {
		return string(provisioning.SourceClient(client))
	}
	return source
}

func (a *api) imports(r *http.Request) (any, error) {
	list, err := a.s.files.Imports(r.Context(), r.FormValue("after"), limitOf(r))
	return append([]files.Import{}, list...), err
}

// importFile takes the file that is the body. What it is to do stands in the
// query, so that the body is not read for it.
func (a *api) importFile(r *http.Request) (any, error) {
	q := r.URL.Query()
	imp, err := a.s.files.Receive(r.Context(), files.Upload{
		Source: sourceID(q.Get("source"), q.Get("client")), File: q.Get("file"), Content: files.Content(q.Get("content")),
		Preview: q.Get("preview") == "true", Shrunk: q.Get("shrunk") == "true",
	}, r.Body)
	var no *files.Refusal
	switch {
	case errors.Is(err, files.ErrNotFound):
		return nil, errNone("there is no such source or client — the configuration lists those there are")
	case errors.As(err, &no):
		return nil, errNo(no.Error())
	}
	return imp, err
}

func (a *api) oneImport(r *http.Request) (any, error) {
	imp, err := a.s.files.Import(r.Context(), r.FormValue("id"))
	if errors.Is(err, files.ErrNotFound) {
		err = errNone("there is no such import")
	}
	return imp, err
}

// importResult says what became of each row, as CSV.
func (a *api) importResult(w http.ResponseWriter, r *http.Request) {
	imp, err := a.s.files.Import(r.Context(), r.FormValue("id"))
	if err != nil || !imp.State.Final() {
		a.no(w, r, errNone("there is no result of such an import"))
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	http.ServeFile(w, r, a.s.files.ResultFile(imp.ID))
}
