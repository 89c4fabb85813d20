package files

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/sheet"
)

// Columns that are not attributes.
const (
	colName     = "user_name"
	colExternal = "external_id"
	colStore    = "user_store"
	colActive   = "active"
	colOp       = "_op"  // what a delta file of the connector csv says of a row
	colSeq      = "_seq" // and its number, which is not read
)

// maxRow bounds a row, in bytes: without it one quote too many would swallow the
// file.
const maxRow = 1 << 20

// A row is one person as a file has them.
type row struct {
	N          int64 // from 1; the heading is not counted
	Store      string
	Name       string
	ExternalID string
	Active     bool
	Attributes map[string][]string // of every column; no values: the cell is empty
	Refusal    *Refusal            // why it can not be used
}

// key is by what a source knows a person again: its own number for them, which
// stays when the name changes, or else the name.
func (r row) key() string {
	if r.ExternalID != "" {
		return "x:" + r.ExternalID
	}
	return r.name()
}

// numbered: a key is a source's own number of a person.
func numbered(key string) bool { return strings.HasPrefix(key, "x:") }

func (r row) name() string { return "n:" + r.Store + "/" + provisioning.Fold(r.Name) }

// read yields the rows of a file. A row that can not be used says why, and the
// others go on; an error means that this is no such file at all, or breaks off.
func (s *source) read(file io.Reader) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		t, err := s.open(file)
		if err != nil {
			yield(row{}, err)
			return
		}
		seen := map[[16]byte]bool{}
		for n := int64(1); ; n++ {
			cells, err := t.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(row{}, err)
				return
			}
			r := s.row(n, cells, t.columns)
			if r.Refusal == nil {
				for _, k := range slices.Compact([]string{r.key(), r.name()}) {
					if seen[short(k)] {
						r.Refusal = refuse(ReasonTwice, "another row of the file is about the same person")
					}
					seen[short(k)] = true
				}
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A table is a file under its heading.
type table struct {
	csv     *csv.Reader
	bound   *bound
	columns []string // by position: what it is to us; empty: not read
}

// open reads the heading.
func (s *source) open(file io.Reader) (*table, error) {
	buf := bufio.NewReaderSize(file, 64<<10)
	if bom, _ := buf.Peek(3); string(bom) == "\ufeff" {
		_, _ = buf.Discard(3)
	}
	first, err := buf.Peek(buf.Size())
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	if len(first) == 0 {
		return nil, refuse(ReasonEmpty, "the file is empty")
	}
	t := &table{bound: &bound{r: buf, left: maxRow}}
	t.csv = csv.NewReader(t.bound)
	t.csv.Comma = separator(first)
	heads, err := t.next()
	if errors.Is(err, io.EOF) {
		return nil, refuse(ReasonEmpty, "the file is empty")
	}
	if err != nil {
		return nil, err
	}
	t.columns, err = s.heading(heads)
	return t, err
}

// separator is what stands most often in the first line: a comma, or what
// spreadsheets write where a comma is in numbers.
func separator(first []byte) rune {
	line, _, _ := strings.Cut(string(first), "\n")
	best, count := ',', strings.Count(line, ",")
	for _, c := range ";\t" {
		if n := strings.Count(line, string(c)); n > count {
			best, count = c, n
		}
	}
	return best
}

// heading says what each column is.
func (s *source) heading(heads []string) ([]string, error) {
	columns := make([]string, len(heads))
	at := map[string]int{}
	for i, h := range heads {
		h = strings.TrimSpace(h)
		if _, twice := at[h]; twice && h != "" {
			return nil, refuse(ReasonForm, fmt.Sprintf("the heading has the column %q twice", h))
		}
		at[h] = i
	}
	if len(s.Columns) > 0 {
		for _, ours := range slices.Sorted(maps.Keys(s.Columns)) {
			i, ok := at[s.Columns[ours]]
			if !ok {
				return nil, refuse(ReasonForm, fmt.Sprintf("the heading has no column %q, which is to become %s; it has %s", s.Columns[ours], ours, listed(heads)))
			}
			columns[i] = ours
		}
		if i, ok := at[colOp]; ok {
			columns[i] = colOp
		}
		return columns, nil
	}
	for h, i := range at {
		switch {
		case h == colName || h == colExternal || h == colStore || h == colActive || h == colOp || s.c.Attribute(h):
			columns[i] = h
		case h != colSeq && h != "":
			return nil, refuse(ReasonForm, fmt.Sprintf("the column %q is no attribute here", h))
		}
	}
	if _, ok := at[colName]; !ok {
		return nil, refuse(ReasonForm, "the heading has no column user_name; it has "+listed(heads))
	}
	return columns, nil
}

func listed(heads []string) string {
	if len(heads) > 12 {
		heads = append(slices.Clone(heads[:12]), "…")
	}
	return strings.Join(heads, ", ")
}

// next is the next record.
func (t *table) next() ([]string, error) {
	t.bound.left = maxRow
	cells, err := t.csv.Read()
	var form *csv.ParseError
	switch {
	case errors.Is(err, errLongRow):
		line, _ := t.csv.FieldPos(0)
		return nil, refuse(ReasonForm, fmt.Sprintf("a row that begins near line %d is longer than %d bytes; is a quote missing?", line, maxRow))
	case errors.As(err, &form) && errors.Is(err, csv.ErrFieldCount):
		return nil, refuse(ReasonForm, fmt.Sprintf("line %d has another number of cells than the heading; the file may be cut off", form.Line))
	case errors.As(err, &form):
		return nil, refuse(ReasonForm, fmt.Sprintf("line %d: %v; the file may be cut off", form.Line, form.Err))
	case err != nil:
		return nil, err
	}
	for i, c := range cells {
		if !utf8.ValidString(c) {
			line, _ := t.csv.FieldPos(i)
			return nil, refuse(ReasonForm, fmt.Sprintf("line %d is not UTF-8; save the file in that encoding", line))
		}
	}
	return cells, nil
}

var errLongRow = errors.New("the row is too long")

// bound lets so many bytes through until somebody allows more.
type bound struct {
	r    io.Reader
	left int
}

func (b *bound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongRow
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

// row makes a person of the cells of a row.
func (s *source) row(n int64, cells, columns []string) row {
	r := row{N: n, Active: true, Attributes: map[string][]string{}}
	where, op := "", ""
	for i, cell := range cells {
		switch col := columns[i]; col {
		case "":
		case colName:
			r.Name = strings.TrimSpace(cell)
		case colExternal:
			r.ExternalID = strings.TrimSpace(cell)
		case colStore:
			where = strings.TrimSpace(cell)
		case colOp:
			op = strings.ToLower(strings.TrimSpace(cell))
		case colActive:
			on, ok := truth(cell)
			if !ok {
				r.Refusal = refuse(ReasonRow, fmt.Sprintf("active is %q, which is neither true nor false", cell))
			}
			r.Active = on
		default:
			if s.c.Multi(col) {
				r.Attributes[col] = nil
				for _, v := range sheet.Split(cell) {
					if v = strings.TrimSpace(v); v != "" {
						r.Attributes[col] = append(r.Attributes[col], v)
					}
				}
			} else if v := strings.TrimSpace(cell); v != "" {
				r.Attributes[col] = []string{v}
			} else {
				r.Attributes[col] = nil
			}
		}
	}
	switch op {
	case "", "add", "update":
	case "disable", "delete": // only a person deletes a user here
		r.Active = false
	default:
		r.Refusal = refuse(ReasonRow, fmt.Sprintf("%s is %q, and can be add, update, disable or delete", colOp, op))
	}
	s.place(&r, where)
	return r
}

// place finds the user store: its own column, or what stands before the name.
func (s *source) place(r *row, where string) {
	if where == "" {
		where = s.UserStores[0]
		for _, id := range s.UserStores {
			if rest, ok := strings.CutPrefix(r.Name, id+"/"); ok {
				where, r.Name = id, rest
			}
		}
	}
	r.Store = where
	switch {
	case r.Name == "":
		r.Refusal = refuse(ReasonNameless, "the row has no user name")
	case !slices.Contains(s.UserStores, where):
		r.Refusal = refuse(ReasonRow, fmt.Sprintf("%q is not a user store of this source", where))
	}
}

// truth reads what files say instead of yes and no; an empty cell is yes.
func truth(cell string) (yes, ok bool) {
	switch strings.ToLower(strings.TrimSpace(cell)) {
	case "", "true", "yes", "y", "1", "active":
		return true, true
	case "false", "no", "n", "0", "inactive", "disabled":
		return false, true
	}
	return false, false
}
