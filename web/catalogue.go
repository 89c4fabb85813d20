package web

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/unicode/bidi"
)

//go:embed translations/*.json
var translations embed.FS

// Translation is all that is built in of a language, in one file, as a start for
// one's own; an error that is fs.ErrNotExist if there is none.
func Translation(tag string) ([]byte, error) {
	names, err := fs.Glob(translations, "translations/*"+tag+".json")
	if err != nil {
		return nil, fmt.Errorf("list translations: %w", err)
	}
	whole := map[string]any{}
	for _, name := range names {
		if base := path.Base(name); base != tag+".json" && !strings.HasSuffix(base, "."+tag+".json") {
			continue
		}
		data, err := translations.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read translation: %w", err)
		}
		var part map[string]any
		if err := json.Unmarshal(data, &part); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for key, v := range part {
			if have, ok := whole[key].(map[string]any); ok {
				maps.Copy(have, v.(map[string]any))
			} else {
				whole[key] = v
			}
		}
	}
	if len(whole) == 0 {
		return nil, fmt.Errorf("translation %s: %w", tag, fs.ErrNotExist)
	}
	return json.MarshalIndent(whole, "", "  ")
}

// A catalogue is all that is said in one language. Its files are translations/TAG.json
// and, for a part of the pages each, translations/PART.TAG.json.
type catalogue struct {
	tag  language.Tag
	Name string `json:"language"` // in that language
	// Texts have {placeholders}; every language has the same ones.
	Texts map[string]text `json:"texts"`
	// Reasons say each reason code to the person that it stopped. A code that
	// is not here is said by its part before the first dot, else by "*".
	Reasons map[string]reason `json:"reasons"`
}

type reason struct {
	Title string `json:"title"`
	Text  string `json:"text"` // what happened
	Do    string `json:"do"`   // what the person can do
}

// A text is one string, or one for each plural form that the language has.
type text struct {
	Zero  string `json:"zero"`
	One   string `json:"one"`
	Two   string `json:"two"`
	Few   string `json:"few"`
	Many  string `json:"many"`
	Other string `json:"other"`
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.Other)
	}
	type plain text
	return json.Unmarshal(b, (*plain)(t))
}

// form is the text for a plural form; the general one where the language does
// not tell them apart.
func (t text) form(f plural.Form) string {
	s := [...]string{plural.Other: t.Other, plural.Zero: t.Zero, plural.One: t.One, plural.Two: t.Two, plural.Few: t.Few, plural.Many: t.Many}[f]
	if s == "" {
		return t.Other
	}
	return s
}

// loadCatalogues reads the built-in languages, and those of more over them.
// English comes first: it is what the others are measured by.
func loadCatalogues(more fs.FS) ([]*catalogue, error) {
	byTag, err := builtIn()
	if err != nil {
		return nil, err
	}
	if more != nil {
		own := map[language.Tag]*catalogue{}
		for tag, c := range byTag {
			own[tag] = &catalogue{tag: c.tag, Name: c.Name, Texts: maps.Clone(c.Texts), Reasons: maps.Clone(c.Reasons)}
		}
		if err := readAll(more, "*.json", true, own); err != nil {
			return nil, err
		}
		byTag = own
	}
	all := slices.SortedFunc(maps.Values(byTag), func(a, b *catalogue) int {
		if a.tag == language.English || b.tag == language.English {
			return map[bool]int{true: -1, false: 1}[a.tag == language.English]
		}
		return strings.Compare(a.tag.String(), b.tag.String())
	})
	var errs []error
	for _, c := range all {
		errs = append(errs, c.differs(all[0]))
	}
	return all, errors.Join(errs...)
}

// builtIn are the languages of the program. Nobody changes them.
var builtIn = sync.OnceValues(func() (map[language.Tag]*catalogue, error) {
	found := map[language.Tag]*catalogue{}
	return found, readAll(translations, "translations/*.json", false, found)
})

// readAll reads all files that a pattern names.
func readAll(files fs.FS, pattern string, over bool, found map[language.Tag]*catalogue) error {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return fmt.Errorf("list translations: %w", err)
	}
	for _, name := range names {
		if err := read(files, name, over, found); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

// read adds a file to the catalogue of its language; over what is said there
// already, or else it is an error to say something twice.
func read(dir fs.FS, name string, over bool, found map[language.Tag]*catalogue) error {
	base := strings.TrimSuffix(path.Base(name), ".json")
	tag, err := language.Parse(base[strings.LastIndexByte(base, '.')+1:])
	if err != nil {
		return fmt.Errorf("the file is not named after a language: %w", err)
	}
	data, err := fs.ReadFile(dir, name)
	if err != nil {
		return err
	}
	part := &catalogue{}
	if err := json.Unmarshal(data, part); err != nil {
		return err
	}
	whole := found[tag]
	if whole == nil {
		whole = &catalogue{tag: tag, Texts: map[string]text{}, Reasons: map[string]reason{}}
		found[tag] = whole
	}
	if part.Name != "" {
		whole.Name = part.Name
	}
	return errors.Join(merge(whole.Texts, part.Texts, over), merge(whole.Reasons, part.Reasons, over))
}

func merge[T any](whole, part map[string]T, over bool) error {
	for key, v := range part {
		if _, twice := whole[key]; twice && !over {
			return fmt.Errorf("%q is said in another file too", key)
		}
		whole[key] = v
	}
	return nil
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// differs reports everything that c lacks, or has too much, beside the model.
func (c *catalogue) differs(model *catalogue) error {
	var errs []error
	wrong := func(key, what string) {
		errs = append(errs, fmt.Errorf("translation %s: %q %s", c.tag, key, what))
	}
	if c.Name == "" {
		wrong("language", "is empty")
	}
	for key, want := range model.Texts {
		have, ok := c.Texts[key]
		switch {
		case !ok || have.Other == "":
			wrong(key, "is missing")
		case !slices.Equal(placeholders(have.Other), placeholders(want.Other)):
			wrong(key, "has other placeholders than "+model.tag.String())
		}
	}
	for key := range c.Texts {
		if _, ok := model.Texts[key]; !ok {
			wrong(key, "is not used")
		}
	}
	for code := range model.Reasons {
		if r := c.Reasons[code]; r.Title == "" || r.Text == "" || r.Do == "" {
			wrong(code, "needs title, text and do")
		}
	}
	for code := range c.Reasons {
		if _, ok := model.Reasons[code]; !ok {
			wrong(code, "is not used")
		}
	}
	return errors.Join(errs...)
}

func placeholders(s string) []string {
	all := placeholder.FindAllString(s, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// rtl is true if the language is written from right to left.
func (c *catalogue) rtl() bool {
	script, _ := c.tag.Script()
	return slices.Contains([]string{"Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"}, script.String())
}

func (c *catalogue) dir() string {
	if c.rtl() {
		return "rtl"
	}
	return "ltr"
}

// t is the text of a key; args are placeholder, value, placeholder, value …
func (c *catalogue) t(key string, args ...any) (string, error) {
	found, ok := c.Texts[key]
	if !ok {
		return "", fmt.Errorf("no text %q", key)
	}
	return c.fill(found.Other, args, c.isolate), nil
}

// tn is the text of a key for n things; {n} is the number as it is written in
// the language.
func (c *catalogue) tn(key string, n int, args ...any) (string, error) {
	found, ok := c.Texts[key]
	if !ok {
		return "", fmt.Errorf("no text %q", key)
	}
	form := plural.Cardinal.MatchPlural(c.tag, n, 0, 0, 0, 0)
	if n == 0 && found.Zero != "" { // also where the grammar has no form for none
		form = plural.Zero
	}
	args = append(args, "n", message.NewPrinter(c.tag).Sprint(n))
	return c.fill(found.form(form), args, c.isolate), nil
}

// th is t with the values made strong. Text and values are escaped here.
func (c *catalogue) th(key string, args ...any) (template.HTML, error) {
	found, ok := c.Texts[key]
	if !ok {
		return "", fmt.Errorf("no text %q", key)
	}
	strong := func(s string) string {
		return "<strong><bdi>" + template.HTMLEscapeString(s) + "</bdi></strong>"
	}
	return template.HTML(c.fill(template.HTMLEscapeString(found.Other), args, strong)), nil
}

// fill puts the values in one pass, so that a value that looks like a
// placeholder stays what it is.
func (c *catalogue) fill(s string, args []any, as func(string) string) string {
	return placeholder.ReplaceAllStringFunc(s, func(name string) string {
		for i := 0; i+1 < len(args); i += 2 {
			if args[i] == name[1:len(name)-1] {
				return as(clean(fmt.Sprint(args[i+1])))
			}
		}
		return name
	})
}

// isolate keeps a value that runs against the language's direction from
// turning the sentence around it (Unicode Annex 9, FSI and PDI).
func (c *catalogue) isolate(s string) string {
	for _, r := range s {
		p, _ := bidi.LookupRune(r)
		switch p.Class() {
		case bidi.L, bidi.R, bidi.AL:
			if (p.Class() != bidi.L) != c.rtl() {
				return "\u2068" + s + "\u2069"
			}
			return s
		}
	}
	return s
}

// reason says a reason code.
func (c *catalogue) reason(code string) reason {
	if r, ok := c.Reasons[code]; ok {
		return r
	}
	family, _, _ := strings.Cut(code, ".")
	if r, ok := c.Reasons[family]; ok {
		return r
	}
	return c.Reasons["*"]
}

// said is what there is to say about a reason code beside the sentence of who
// refused, which is English: nothing in English, and nothing of a code that this
// language has no word of.
func (c *catalogue) said(code string) *reason {
	if c.tag == language.English {
		return nil
	}
	if r := c.reason(code); r != c.Reasons["*"] {
		return &r
	}
	return nil
}

// attribute is what people call an attribute.
func (c *catalogue) attribute(name string) string { return c.word("attribute", name) }

// titled is the catalogue with what a site calls attributes.
func (c *catalogue) titled(attributes map[string]string) *catalogue {
	if len(attributes) == 0 {
		return c
	}
	its := *c
	its.Texts = maps.Clone(c.Texts)
	for name, title := range attributes {
		its.Texts["attribute."+name] = text{Other: title}
	}
	return &its
}

// word is what people call one of a kind of things; its name where there is no word.
func (c *catalogue) word(kind, name string) string {
	if t, ok := c.Texts[kind+"."+name]; ok {
		return t.Other
	}
	return clean(name)
}

// say says a Text.
func (c *catalogue) say(s Text) string {
	found, ok := c.Texts["admin."+s.Key]
	if !ok && s.Else != "" { // it may be one of a kind that other pages have words for
		found, ok = c.Texts[s.Key]
	}
	if !ok {
		return clean(cmp.Or(s.Else, s.Key))
	}
	args := make([]any, len(s.With))
	for i, w := range s.With {
		args[i] = w
	}
	if s.Why != nil {
		args = append(args, "why", c.say(*s.Why))
	}
	if s.Count != nil {
		args = append(args, "n", message.NewPrinter(c.tag).Sprint(*s.Count))
		return c.fill(found.form(plural.Cardinal.MatchPlural(c.tag, *s.Count, 0, 0, 0, 0)), args, c.isolate)
	}
	return c.fill(found.Other, args, c.isolate)
}

// time writes a time in UTC, to the second.
func (c *catalogue) time(t time.Time) (string, error) { return c.dated("time", t) }

// until writes an end: the day alone where that is the last that counts.
func (c *catalogue) until(t time.Time) (string, error) {
	if day, ok := LastDay(t); ok {
		return c.dated("day", day)
	}
	return c.time(t)
}

func (c *catalogue) dated(key string, t time.Time) (string, error) {
	t = t.UTC()
	month, err := c.t(fmt.Sprintf("month.%d", t.Month()))
	if err != nil {
		return "", err
	}
	return c.t(key, "day", t.Day(), "month", month, "year", t.Year(), "clock", t.Format("15:04:05"))
}

// LastDay is the last day that counts whole before an end, if the end comes when
// a day is over in UTC: people chose that day, and not the midnight after it.
func LastDay(end time.Time) (day time.Time, ok bool) {
	const whole = 24 * time.Hour
	if end.IsZero() || !end.Truncate(whole).Equal(end) {
		return time.Time{}, false
	}
	return end.UTC().Add(-whole), true
}

// longest is how much of a stranger's text is shown, in characters.
const longest = 500

// clean takes from a stranger's text what could make the page lie about its
// order (control characters and the marks that turn writing around), and what
// is too much of it.
func clean(s string) string {
	if len(s) > 4*longest {
		s = s[:4*longest]
	}
	s = strings.NewReplacer("\n", " ", "\t", " ").Replace(cleaned(s))
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest]) + "…"
	}
	return s
}

// longestArea bounds what is shown to be read or changed in lines, in bytes.
const longestArea = 16 << 10

// cleaned is clean for text in lines.
func cleaned(s string) string {
	if len(s) > longestArea {
		s = s[:longestArea]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r < ' ', r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
