package main

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// auditRoutes are what the API can do about the record of what happened.
func (a *api) auditRoutes() {
	a.route("GET /v1/audit", a.events, "auditors").doc("Events, the newest first.", []audit.Event{}, append(takesEvents, takesLimit)...)
	a.route("GET /v1/audit/verify", a.verify, "auditors").doc("Follows the chain of hashes from its end to its beginning.", map[string]bool{})
}

// takesEvents says which events are wanted.
var takesEvents = []string{
	"flow the support code of a page", "user ID of a user", "kind login, login.refused, denied, user.changed, session.ended, …",
	"before:integer only events with a lower number",
}

func (a *api) events(r *http.Request) (any, error) {
	q := audit.Query{Flow: r.FormValue("flow"), UserID: r.FormValue("user"), Kind: r.FormValue("kind"), Limit: limitOf(r)}
	if n, err := strconv.ParseUint(r.FormValue("before"), 10, 64); err == nil {
		q.Before = n
	}
	list := []audit.Event{}
	for e, err := range audit.Events(r.Context(), a.p.store, q) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
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
