package web

// A Desk is what stands around pages at which somebody works: the ways to the
// others, and what became of what was just asked for. Its forms are posted to
// ourselves.
type Desk struct {
	Who    Who
	Places []Place
	// Done names what was just done: its text is "done." and the name; empty:
	// nothing was.
	Done    string
	Problem *Problem // nil: nothing was refused

	PortalURL, LogoutURL string
}

// A Place is another page of a desk.
type Place struct {
	Key   string // its text is "place." and the key
	URL   string
	Here  bool
	Count int // of what waits there; 0: nothing
}

// A Problem is why something was not done. Nothing of it was.
type Problem struct {
	Code, Text string
	Fields     []FieldProblem
	// AgainURL leads to a fresh sign-in and back, where that is what is missing.
	AgainURL string
}

// A FieldProblem says what is wrong in one field of a form.
type FieldProblem struct {
	Field string // its id in the page
	Text  string
}

// desk is what rendering needs to know of a page at a desk.
func (d Desk) desk(template string) view { return view{template: template, desk: &d} }
