package authz

import "context"

type subjectKey struct{}

// WithSubject gives a handler in this process the subject it serves.
func WithSubject(ctx context.Context, s Subject) context.Context {
	return context.WithValue(ctx, subjectKey{}, s)
}

// SubjectFrom is the subject that WithSubject put there; the zero Subject,
// nobody, if there is none.
func SubjectFrom(ctx context.Context) Subject {
	s, _ := ctx.Value(subjectKey{}).(Subject)
	return s
}

// DisplayName is what a person is called on pages; their user name where nobody
// said.
func (s Subject) DisplayName() string {
	if n := s.Attributes["display_name"]; len(n) > 0 {
		return n[0]
	}
	return s.UserName
}
