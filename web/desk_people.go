package web

import "time"

// People lists users, or those found for a Query.
type People struct {
	Desk
	Query   string
	Rows    []PersonRow
	MoreURL string
}

// A PersonRow is one user in a list.
type PersonRow struct {
	Name, UserName, Mail string
	URL                  string
	Active               bool
	Modified             time.Time
}

func (p People) view() view { return p.desk("people") }
