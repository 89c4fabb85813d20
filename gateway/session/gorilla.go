package session

import (
	"errors"
	"net/http"

	"github.com/gorilla/sessions"
)

var _ sessions.Store = (*Store)(nil)

// value is where the typed session is in a gorilla session's Values.
type value struct{}

// From returns the sign-in inside a gorilla session; nil: nobody is signed in.
func From(g *sessions.Session) *Session {
	switch s := g.Values[value{}].(type) {
	case *Session:
		return s
	case *Row:
		return &s.Session
	}
	return nil
}

// Sign puts a sign-in into a gorilla session. Save then begins it, under a new
// ID whatever the browser had before.
func Sign(g *sessions.Session, s Row) {
	g.Values[value{}] = &s
	g.IsNew = true
}

// Get is New: what one request sees is in its own hands.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) { return s.New(r, name) }

// New returns the session of the host named name. An unknown, ended or planted
// cookie is no error but a session in which nobody is signed in.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	g := sessions.NewSession(s, name)
	ck := s.Cookie("x")
	g.Options = &sessions.Options{Path: ck.Path, Secure: ck.Secure, HttpOnly: ck.HttpOnly, SameSite: ck.SameSite}
	g.IsNew = true
	got, err := s.Lookup(r, name)
	switch {
	case err == nil:
		g.ID, g.IsNew = got.ID, false
		g.Values[value{}] = got
	case errors.Is(err, ErrNone), errors.Is(err, ErrAmbiguous):
		err = nil
	}
	return g, err
}

// Save begins a session that Sign put there and sets its cookie, or, if
// Options.MaxAge is negative, ends the one that is there and takes the cookie
// away. Otherwise there is nothing to save.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	there := From(g)
	row, signed := g.Values[value{}].(*Row)
	switch {
	case g.Options.MaxAge < 0:
		// The cookie goes last: while the session lives, its browser must be able to end it.
		if there != nil {
			if err := s.End(r.Context(), there.ID, ReasonSignedOut); err != nil {
				return err
			}
		}
		http.SetCookie(w, s.c.Cookie.Make("", ""))
		return nil
	case !signed || !g.IsNew:
		return nil
	}
	b := s.Beginning(*row, g.Name(), g.ID)
	if err := s.Begin(r.Context(), b); err != nil {
		return err
	}
	*row = b.Row
	g.ID, g.IsNew = row.ID, false
	http.SetCookie(w, s.Cookie(b.Cookie))
	return nil
}

// Cookie is the session cookie with this value.
func (s *Store) Cookie(value string) *http.Cookie {
	ck := s.c.Cookie.Make("", value)
	if s.c.Strict {
		ck.SameSite = http.SameSiteStrictMode
	}
	return ck
}
