// Package expr is the one expression language of Gatehouse: CEL with a fixed,
// small set of variables and functions. Conditions of rules, mappings of what
// identity providers say and transforms of what is released all use it.
//
// An expression is compiled once, with a type, a cost limit and a list of the
// variables it reads; it runs without a clock, a network or a store.
package expr
