package guard

import "fmt"

// A Walk is what came of reading all that a source or a target has.
type Walk struct {
	Had  int   // how many there were the last time; 0: it is the first time
	Got  int   // how many were read
	Err  error // why the walk ended before its end
	More bool  // there are more than were read: a cap was reached
	// TotalBefore and TotalAfter are how many it said there are, when the walk
	// began and when it ended; 0: it did not say.
	TotalBefore, TotalAfter int
	Shrink                  float64 // Limits.Shrink; 0: 50 percent
}

// moved is by how many percent a total may change during a walk.
const moved = 2

// An Unsound says why a list is not to be believed. What is in it may still be
// used; nobody is taken away because they are not in it.
type Unsound struct{ Code, Text string }

func (u *Unsound) Error() string { return u.Code + ": " + u.Text }

// Reason is the reason code.
func (u *Unsound) Reason() string { return u.Code }

// Sound is nil if whoever was not read can be taken to be gone; otherwise it is
// an *Unsound.
func (w Walk) Sound() error {
	shrink := w.Shrink
	if shrink <= 0 {
		shrink = Defaults.Shrink
	}
	diff := max(w.TotalAfter-w.TotalBefore, w.TotalBefore-w.TotalAfter)
	switch {
	case w.Err != nil:
		return &Unsound{ReasonPartial, fmt.Sprintf("reading ended after %d: %v", w.Got, w.Err)}
	case w.More:
		return &Unsound{ReasonPartial, fmt.Sprintf("only the first %d could be read", w.Got)}
	case w.Got == 0 && (w.Had > 0 || w.TotalBefore > 0 || w.TotalAfter > 0):
		return &Unsound{ReasonEmpty, fmt.Sprintf("there is nobody in it, and there were %d", max(w.Had, w.TotalBefore, w.TotalAfter))}
	case float64(diff)*100 > moved*float64(max(w.TotalBefore, w.TotalAfter)):
		return &Unsound{ReasonUnstable, fmt.Sprintf("there were %d when reading began and %d when it ended", w.TotalBefore, w.TotalAfter)}
	case float64(w.TotalAfter-w.Got)*100 > moved*float64(w.TotalAfter):
		return &Unsound{ReasonPartial, fmt.Sprintf("%d of %d were read", w.Got, w.TotalAfter)}
	case float64(w.Had-w.Got)*100 > shrink*float64(w.Had):
		return &Unsound{ReasonShrunk, fmt.Sprintf("there are %d in it, and there were %d", w.Got, w.Had)}
	}
	return nil
}
