package main

import (
	"net/http"
	"testing"
)

func TestLabWorks(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.person()
	a := p.fetch(l.at("wiki", "/x"), "campus", "alice")
	p.bring(a).wants(http.StatusOK)
	l.refused("login.state_unknown", p, func() { p.bring(a) })
	l.behaves()
}
