// Package configs turns one YAML file into plain data, or into every mistake
// that is in it, each with its place and a cure:
//
//	gate.yaml:31:13: unknown key "alow" — did you mean "allow"?
//
// It knows the shape of the file and what can be said about it without asking
// anybody: whether keys exist, values can be read, names refer to something and
// choices contradict each other. It does not know what an expression means or
// whether a server answers; it imports no other package of ours, and nobody
// reads it on the request path.
//
//	bytes ──goccy──▶ syntax tree ──decode──▶ Config ──check──▶ Mistakes
//	                                  │         └──────────▶ Surprises
//	                 Mistakes ◀───────┘
//
// The types in config.go are the only description of the file: their yaml tags
// are its keys, their jsonschema tags its defaults, choices and duties, their
// comments the text of gatehouse.schema.json and docs/reference/configuration.md.
//
// Absent values get their defaults; an empty value is a mistake, not an absence,
// so that a rule never grows wider because a line lost its end.
package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MaxSize of a configuration file, in bytes.
const MaxSize = 1 << 20

// maxMistakes bounds what is reported of a file that is something else entirely.
const maxMistakes = 200

// An Option of Load and Parse.
type Option int

const (
	// AllowInlineSecrets accepts secrets written into the file itself: for the demo.
	AllowInlineSecrets Option = iota
	// SkipFiles looks at no other file and no environment variable, so that a
	// file can be checked away from the machine it is for. Secrets stay empty.
	SkipFiles
)

// A Pos is a place in a file. Lines and columns count from 1; columns are
// characters.
type Pos struct {
	File      string
	Line, Col int
}

func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// A Mistake is what is wrong at one place and how to mend it. What surprises
// an administrator without being wrong has the same form.
type Mistake struct {
	File      string
	Line, Col int
	What      string
	Cure      string
}

func (m Mistake) String() string {
	s := Pos{m.File, m.Line, m.Col}.String() + ": " + m.What
	if m.Cure != "" {
		s += " — " + m.Cure
	}
	return s
}

// At makes a Mistake of what another package found at a place that Config.Pos
// named, so that all of them can be printed together.
func At(pos, what, cure string) Mistake {
	file, line, col := pos, 0, 0
	if rest, c, ok := cutLast(pos); ok {
		if name, l, ok := cutLast(rest); ok {
			file, line, col = name, l, c
		}
	}
	return Mistake{file, line, col, what, cure}
}

func cutLast(s string) (string, int, bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.Atoi(s[i+1:])
	return s[:i], n, err == nil
}

// Sort orders mistakes by place and drops those said twice.
func Sort(ms []Mistake) []Mistake {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return slices.Compact(ms)
}

// Merge adds what others found in the parts of c to the mistakes of Load, but
// nothing about a part in which Load found something itself: they looked at
// what could not be read, and would say the same in other words.
func (c *Config) Merge(mistakes, others []Mistake) []Mistake {
	all := slices.Clone(mistakes)
	for _, o := range others {
		from := Pos{o.File, o.Line, o.Col}
		to := c.end(from)
		if !slices.ContainsFunc(mistakes, func(m Mistake) bool {
			pos := Pos{m.File, m.Line, m.Col}
			return !pos.before(from) && (to == Pos{} || pos.before(to))
		}) {
			all = append(all, o)
		}
	}
	return Sort(all)
}

// end is where the value that begins at a place is over, which is where the
// next one begins that is not part of it; zero: at the end of the file.
func (c *Config) end(from Pos) Pos {
	var path string
	for p, pos := range c.positions {
		if pos == from && (path == "" || len(p) < len(path)) {
			path = p
		}
	}
	var end Pos
	for p, pos := range c.positions {
		inside := p == path || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[")
		if from.before(pos) && !inside && (end == Pos{} || pos.before(end)) {
			end = pos
		}
	}
	return end
}

func (p Pos) before(q Pos) bool { return p.Line < q.Line || p.Line == q.Line && p.Col < q.Col }

// Load reads the file at path. If there are mistakes, the Config is what could
// be read of it, so that others can add theirs, and must not be run; it is nil
// if the file is not YAML at all.
func Load(path string, opts ...Option) (*Config, []Mistake) {
	src, err := read(path)
	if err != nil {
		return nil, []Mistake{{File: path, What: err.Error(), Cure: "name a readable configuration file of at most 1 MiB"}}
	}
	return Parse(path, src, opts...)
}

// read reads at most one byte more than MaxSize, which is enough for Parse to
// refuse it.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, errors.New(reason(err))
	}
	return src, nil
}

// Parse is Load for a file that is in memory. Other files are found relative
// to the folder of path.
func Parse(path string, src []byte, opts ...Option) (*Config, []Mistake) {
	d := &decoder{
		file:      path,
		dir:       filepath.Dir(path),
		inline:    slices.Contains(opts, AllowInlineSecrets),
		skip:      slices.Contains(opts, SkipFiles),
		positions: map[string]Pos{},
	}
	c := d.config(src)
	if c == nil {
		return nil, d.mistakes
	}
	d.mistakes = c.Merge(d.mistakes, c.check())
	return c, d.all()
}

// Files are the other files that the configuration names and that are read with it:
// secrets, keys, certificates.
func (c *Config) Files() []string { return c.files }

// Pos is where the value at a path stands, as file:line:col. A path is keys and
// indexes: c.Pos("services", 2, "access", 0, "allow"). If the value is not
// written in the file, it is the place of the nearest thing around it.
func (c *Config) Pos(path ...any) string {
	for n := len(path); n > 0; n-- {
		var p where
		for _, part := range path[:n] {
			switch part := part.(type) {
			case int:
				p = p.index(part)
			default:
				p = p.key(fmt.Sprint(part))
			}
		}
		if pos, ok := c.positions[string(p)]; ok {
			return pos.String()
		}
	}
	return c.file
}

// A where is the path of a value: services[2].access[0].allow
type where string

func (w where) key(k string) where {
	if w == "" {
		return where(k)
	}
	return w + "." + where(k)
}

func (w where) index(i int) where { return w + where("["+strconv.Itoa(i)+"]") }

// last is the last key of the path.
func (w where) last() string { return string(w[strings.LastIndexByte(string(w), '.')+1:]) }
