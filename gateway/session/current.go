package session

import "context"

type currentKey struct{}

// WithCurrent gives a handler in this process the session that a request came with.
func WithCurrent(ctx context.Context, s *Row) context.Context {
	return context.WithValue(ctx, currentKey{}, s)
}

// Current is the session that WithCurrent put there; nil: there is none.
func Current(ctx context.Context) *Row {
	s, _ := ctx.Value(currentKey{}).(*Row)
	return s
}
