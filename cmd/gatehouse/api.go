package main

import "net/http"

// The verbs that look into the store or change it speak to this handler: over
// admin.sock when a gateway runs, in their own process when none does. Whoever
// can open the socket or the store is an administrator.
//
// People meet the same routes at /.gatehouse/api/v1/, signed in, and may what
// their duties say: each route names those that may use it, and administrators
// may use all. The document at openapi.json is made from this table.

type api struct {
	mux    *http.ServeMux // only raw adds to it, so nothing is outside the table
	p      *process
	s      *site
	people bool // it answers people, who have duties, and not the machine
	looks  int  // see skim
	routes []*apiRoute
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// newAPI is for the machine.
func newAPI(p *process, s *site) http.Handler { return routesOf(p, s, false) }

func routesOf(p *process, s *site, people bool) *api {
	a := &api{mux: http.NewServeMux(), p: p, s: s, people: people, looks: mostLooked}
	a.peopleRoutes()
	a.sessionRoutes()
	a.accessRoutes()
	a.askRoutes()
	a.consentRoutes()
	a.meRoutes()
	a.ownedRoutes()
	a.releaseRoutes()
	a.explainRoutes()
	a.deskRoutes()
	a.serviceRoutes()
	a.groupRoutes()
	a.providerRoutes()
	a.targetRoutes()
	a.taskRoutes()
	a.sourceRoutes()
	a.clientRoutes()
	a.tokenRoutes()
	a.auditRoutes()
	a.storeRoutes()
	a.keyRoutes()
	a.documentRoutes()
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.no(w, r, errNone("the API has no "+r.Method+" "+r.URL.Path+" — /.gatehouse/api/v1/openapi.json lists what it has"))
	})
	return a
}
