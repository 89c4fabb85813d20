package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/sheet"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// auditRoutes are what the API can do about the record of what happened.
func (a *api) auditRoutes() {
	a.route("GET /v1/audit", a.events, "auditors").doc("Events, the newest first.", webapi.Events{}, append(takesEvents, takesLimit)...)
	a.raw("GET /v1/audit/export", a.export, "auditors").doc("All of these events, to keep elsewhere: as lines of JSON, or as CSV that is safe to open in a spreadsheet.", nil, append(takesEvents, "format:jsonl|csv! how")...).file("application/jsonl")
	a.route("GET /v1/flow", a.flow, "helpdesk", "auditors").doc("All that a support code leads to, without values of attributes.", webapi.Flow{}, "code! the support code on a page")
	a.route("GET /v1/audit/verify", a.verify, "auditors").doc("Follows the chain of hashes from its end to its beginning.", map[string]bool{})
}

// takesEvents says which events are wanted.
var takesEvents = []string{
	"flow the support code of a page", "user ID of a user", "kind login, login.refused, denied, user.changed, session.ended, …",
	"service about this service", "provider about this identity provider", "target about this target",
	"before:integer only events with a lower number",
}

// wanted are the events that a request asks for, the newest first. passed, if not
// nil, is asked about each that is none of them, and ends it by a no.
func (a *api) wanted(r *http.Request, passed func(audit.Event) bool) iter.Seq2[audit.Event, error] {
	q := audit.Query{Flow: r.FormValue("flow"), UserID: r.FormValue("user"), Kind: r.FormValue("kind")}
	if n, err := strconv.ParseUint(r.FormValue("before"), 10, 64); err == nil {
		q.Before = n
	}
	among := func(e audit.Event) bool {
		return cmp.Or(r.FormValue("service"), e.Service) == e.Service && cmp.Or(r.FormValue("provider"), e.Provider) == e.Provider && cmp.Or(r.FormValue("target"), e.Target) == e.Target
	}
	return func(yield func(audit.Event, error) bool) {
		for e, err := range audit.Events(r.Context(), a.p.store, q) {
			if err == nil && !among(e) {
				if passed != nil && !passed(e) {
					return
				}
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (a *api) events(r *http.Request) (any, error) {
	v, err := a.someEvents(r, limitOf(r))
	v.Names = a.namesIn(r.Context(), v.Events)
	return v, err
}

// namesIn are the names of the users whom events are about, and of those who did it.
func (a *api) namesIn(ctx context.Context, events []audit.Event) map[string]string {
	names := map[string]string{}
	for _, e := range events {
		names[e.UserID], names[e.By] = "", ""
	}
	for id := range names {
		names[id] = a.who(ctx, id)
	}
	maps.DeleteFunc(names, func(id, name string) bool { return name == id })
	return names
}

// someEvents are a page of those that a request asks for.
func (a *api) someEvents(r *http.Request, limit int) (webapi.Events, error) {
	v, skim := webapi.Events{Events: []audit.Event{}}, a.skim()
	passed := func(e audit.Event) bool {
		on := skim.on()
		if !on {
			v.Next = e.Seq
		}
		return on
	}
	for e, err := range a.wanted(r, passed) {
		if err != nil {
			return v, err
		}
		if len(v.Events) == limit {
			v.Next = v.Events[limit-1].Seq
			break
		}
		v.Events = append(v.Events, e)
	}
	return v, nil
}

// export sends events as lines of JSON, or as CSV that a spreadsheet can open:
// what it would take for a formula has an apostrophe before it.
func (a *api) export(w http.ResponseWriter, r *http.Request) {
	name := "audit-" + a.p.now().UTC().Format("20060102T150405Z")
	if r.FormValue("format") == "csv" {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
	} else {
		w.Header().Set("Content-Type", "application/jsonl")
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.jsonl"`)
	}
	if err := a.exportTo(w, r); err != nil {
		a.p.log.ErrorContext(r.Context(), "export of the audit log", "error", err)
		panic(http.ErrAbortHandler) // half a record must not look whole
	}
}

func (a *api) exportTo(w io.Writer, r *http.Request) error {
	out := csv.NewWriter(w)
	write := func(e audit.Event) error { return json.NewEncoder(w).Encode(e) }
	if r.FormValue("format") == "csv" {
		write = func(e audit.Event) error {
			row := []string{
				strconv.FormatUint(e.Seq, 10), e.At.Format(time.RFC3339), e.Kind, e.Code, e.Flow, e.UserID, e.By, e.Service, e.Provider, e.Target, e.From, e.Text, sheet.Join(e.Names), e.Prev, e.Hash,
			}
			for i, cell := range row {
				row[i] = sheet.Harmless(cell)
			}
			return out.Write(row)
		}
		if err := out.Write(strings.Split("seq,at,kind,code,flow,user,by,service,provider,target,from,text,names,prev,hash", ",")); err != nil {
			return err
		}
	}
	for e, err := range a.wanted(r, nil) {
		if err != nil {
			return err
		}
		if err := write(e); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// verify follows the hash chain of the audit log from its beginning.
func (a *api) verify(r *http.Request) (any, error) {
	err := audit.Verify(r.Context(), a.p.store)
	var tampered *audit.TamperedError
	if errors.As(err, &tampered) {
		err = errNo(err.Error() + " — compare with a backup, and find out who can write the store")
	}
	return map[string]bool{"whole": err == nil}, err
}
