package configs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// guess is the cure for a word that is none of those known: the nearest one, if
// one is near enough to be meant, else what there is.
func guess(word string, known []string) string {
	if k := nearest(word, known); k != "" {
		return fmt.Sprintf("did you mean %q?", k)
	}
	if len(known) == 0 {
		return "remove it"
	}
	list := slices.Clone(known)
	if len(list) > 12 {
		list = append(list[:12], "…")
	}
	return "write one of " + strings.Join(list, ", ")
}

// nearest is the known word that is probably meant; empty: none is near. Of very
// many it looks at the first, because comparing takes its time.
func nearest(word string, known []string) string {
	best, least := "", max(2, len(word)/4)+1
	for _, k := range first(known, 500) {
		// A word of three letters is not meant by one that shares a single one.
		if n := distance(squash(word), squash(k), least); n < least && n < len(k)-1 {
			best, least = k, n
		}
	}
	return best
}

// squash takes away in what people who mean the same word differ.
func squash(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// distance is how many letters must be added, removed, changed or swapped with
// their neighbour to make b of a; at least most where it is not less.
func distance(a, b string, most int) int {
	if len(a) > 128 || len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	// Three rows of the table of distances between beginnings of a and of b.
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], most)
}
