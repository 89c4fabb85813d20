// Package sheet is how values stand in the cells of a CSV file (RFC 4180).
//
// Several values of one attribute share a cell: a;b;c. A semicolon or a backslash
// that belongs to a value has a backslash before it. So every list of values has
// one spelling, and Split of Join is the list; a backslash before anything else,
// as spreadsheets and people leave it, stands for itself.
package sheet

import "strings"

// Join writes values into one cell.
func Join(values []string) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(';')
		}
		for _, r := range []byte(v) {
			if r == ';' || r == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(r)
		}
	}
	return b.String()
}

// Split reads the values of a cell, without those that are empty.
func Split(cell string) []string {
	var values []string
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			values = append(values, b.String())
		}
		b.Reset()
	}
	for i := 0; i < len(cell); i++ {
		switch c := cell[i]; {
		case c == '\\' && i+1 < len(cell) && (cell[i+1] == ';' || cell[i+1] == '\\'):
			i++
			b.WriteByte(cell[i])
		case c == ';':
			end()
		default:
			b.WriteByte(c)
		}
	}
	end()
	return values
}

// Harmless makes a cell that a spreadsheet would run as a formula text, by an
// apostrophe before it. That alters what stands in the file.
func Harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
