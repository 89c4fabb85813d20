// Package web is every page that a person can meet: templates, styles, words.
//
//	Page (a struct of values) ──▶ Pages.Render ──▶ language ──▶ template ──▶ headers, HTML
//
// It knows nothing of sign-ins, services or policy; whoever shows a page fills
// a struct and calls [Pages.Render]. All values are strangers' text: names,
// error descriptions and addresses come from identity providers and
// requests. html/template escapes them where they stand, addresses that are
// not http or https become no link, and a Content-Security-Policy allows no
// script, no inline style, no frame and no form to elsewhere.
//
// Every page works without scripts, at 320 pixels, from a keyboard, in light
// and dark. Scripts only make it quicker: that of [PostForm] presses its button,
// and at a [Desk] links and forms fetch the next page without loading all anew.
//
// What is said stands in translations/*.json. [New] refuses a language in
// which something is missing, so a page is never half translated.
package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template/parse"
	"time"

	"golang.org/x/text/language"
)

// A Brand is whose gateway this is. The zero Brand is a plain one, in all languages.
type Brand struct {
	Name    string // shown at the top; empty: Gatehouse
	LogoURL string
	Colours Colours
	Images  []Image // served with the assets
	HomeURL string  // where Name leads, usually the portal; empty: nowhere
	// HelpText and HelpURL stand in the same place of each page.
	HelpText, HelpURL string
	// Languages are offered in this order; the first is spoken to who asks for
	// none of them. Empty: all there are, English first.
	Languages []string
	// LanguageURL is where Language is mounted; empty: no switch is shown.
	LanguageURL string
	// Attributes are the site's own titles of attributes, in all languages alike.
	Attributes map[string]string
	// Translations adds languages, and says single texts otherwise: TAG.json in the
	// form of the built-in ones, which holds all texts of a language that is not
	// built in, and of others those that differ.
	Translations fs.FS
}

// Pages renders pages. It is safe for many goroutines.
type Pages struct {
	brand    Brand
	assets   *assets
	matcher  language.Matcher
	speakers []*speaker // in the order of the matcher
}

// A speaker has the templates in one language.
type speaker struct {
	*catalogue
	funcs template.FuncMap

	mu        sync.Mutex
	templates map[string]*template.Template
}

//go:embed templates/*.html
var templateFiles embed.FS

// New parses everything once. It is an error if a language lacks a text.
func New(b Brand) (*Pages, error) {
	if b.Name == "" {
		b.Name = "Gatehouse"
	}
	all, err := loadCatalogues(b.Translations)
	if err != nil {
		return nil, err
	}
	if len(b.Languages) > 0 {
		if all, err = choose(all, b.Languages); err != nil {
			return nil, err
		}
	}
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	if a, err = a.of(b); err != nil {
		return nil, err
	}
	p := &Pages{brand: b, assets: a}
	var tags []language.Tag
	for _, c := range all {
		s, err := p.speaker(c.titled(b.Attributes))
		if err != nil {
			return nil, fmt.Errorf("language %s: %w", c.tag, err)
		}
		tags = append(tags, c.tag)
		p.speakers = append(p.speakers, s)
	}
	p.matcher = language.NewMatcher(tags)
	return p, nil
}

// UnknownLanguage is the error of New about a language that there are no texts in.
type UnknownLanguage struct {
	Name  string
	There []string
}

func (u UnknownLanguage) Error() string {
	return fmt.Sprintf("there are no texts in the language %q", u.Name)
}

// choose picks languages in the order wanted.
func choose(all []*catalogue, want []string) ([]*catalogue, error) {
	var have []string
	for _, c := range all {
		have = append(have, c.tag.String())
	}
	var chosen []*catalogue
	for _, name := range want {
		i := slices.Index(have, name)
		if i < 0 {
			return nil, UnknownLanguage{Name: name, There: have}
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// speaker says the templates in one language. It is an error if a text is not
// there that a template asks for by name.
func (p *Pages) speaker(c *catalogue) (*speaker, error) {
	asked, err := askedFor()
	if err != nil {
		return nil, err
	}
	var errs []error
	for name, keys := range asked {
		for _, key := range keys {
			if _, ok := c.Texts[key]; !ok {
				errs = append(errs, fmt.Errorf("template %s: no text %q", name, key))
			}
		}
	}
	return &speaker{catalogue: c, funcs: p.funcs(c), templates: map[string]*template.Template{}}, errors.Join(errs...)
}

// Name is what the gateway calls itself.
func (p *Pages) Name() string { return p.brand.Name }

// template is a template in the language, parsed when it is needed: most pages are
// never shown in most languages.
func (s *speaker) template(name string) (*template.Template, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.templates[name]; t != nil {
		return t, nil
	}
	t, err := parseTemplate(name, s.funcs)
	if err == nil {
		s.templates[name] = t
	}
	return t, err
}

func parseTemplate(name string, funcs template.FuncMap) (*template.Template, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/"+name+".html")
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	return t, nil
}

// askedFor are the texts that each template asks for by name: all are parsed
// once, so that none is found broken when it is to be shown.
var askedFor = sync.OnceValues(func() (map[string][]string, error) {
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	asked := map[string][]string{}
	for _, f := range files {
		name, _ := strings.CutSuffix(f.Name(), ".html")
		if name == "layout" {
			continue
		}
		t, err := parseTemplate(name, (&Pages{}).funcs(&catalogue{}))
		if err != nil {
			return nil, err
		}
		asked[name] = keys(t)
	}
	return asked, nil
})

// keys are the texts that the templates ask for by name.
func keys(t *template.Template) []string {
	found := map[string]bool{}
	var walk func(parse.Node)
	pipe := func(n *parse.PipeNode) {
		if n != nil {
			walk(n)
		}
	}
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, c := range n.Nodes {
					walk(c)
				}
			}
		case *parse.ActionNode:
			pipe(n.Pipe)
		case *parse.TemplateNode:
			pipe(n.Pipe)
		case *parse.IfNode:
			pipe(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.WithNode:
			pipe(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.RangeNode:
			pipe(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.PipeNode:
			for _, c := range n.Cmds {
				walk(c)
			}
		case *parse.CommandNode:
			if id, ok := n.Args[0].(*parse.IdentifierNode); ok && slices.Contains([]string{"t", "tn", "th"}, id.Ident) {
				if key, ok := n.Args[1].(*parse.StringNode); ok {
					found[key.Text] = true
				}
			}
			for _, a := range n.Args {
				walk(a)
			}
		}
	}
	for _, t := range t.Templates() {
		if t.Tree != nil {
			walk(t.Tree.Root)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// funcs are the words of the template language.
func (p *Pages) funcs(c *catalogue) template.FuncMap {
	return template.FuncMap{
		"t": c.t, "tn": c.tn, "th": c.th,
		"word":      c.word,
		"reason":    c.reason,
		"said":      c.said,
		"attribute": c.attribute,
		"when":      c.time,
		"iso":       iso,
		"until":     c.until,
		"isountil":  isoUntil,
		"clean":     clean,
		"cleaned":   cleaned,
		"say":       c.say,
		"link":      link,
		"mailto":    mailto,
		"asset":     func(name string) string { return p.assets.urls[name] },
		"brand":     func() Brand { return p.brand },
		"initial":   initial,
	}
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// isoUntil is an end for programs: a day, which counts whole, or a time.
func isoUntil(t time.Time) string {
	if day, ok := LastDay(t); ok {
		return day.Format(time.DateOnly)
	}
	return iso(t)
}

// link is s if a person may be sent there: http, https, or a path on the same
// host; else nothing. html/template would refuse more politely, but a link
// that goes nowhere is worse than none.
func link(s string) string {
	if len(s) > 8<<10 {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	switch {
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Opaque == "":
		return s
	// A backslash or a second slash would make a browser read a host.
	case u.Scheme == "" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.ContainsAny(s, "\\\t\n\r"):
		return s
	}
	return ""
}

// mailto is a link that begins a message to contact, with the support code as
// its subject; nothing if contact is no mail address.
func mailto(contact, subject string) string {
	a, err := mail.ParseAddress(contact)
	if err != nil || a.Address != contact {
		return ""
	}
	return (&url.URL{Scheme: "mailto", Opaque: url.PathEscape(contact), RawQuery: "subject=" + url.PathEscape(clean(subject))}).String()
}

// initial stands in for a logo.
func initial(title string) string {
	for _, r := range clean(title) {
		return strings.ToUpper(string(r))
	}
	return "·"
}

// LanguageCookie holds the language that a person chose.
const LanguageCookie = "gatehouse_language"

// speak finds the language for a request: the cookie, then Accept-Language,
// then the first there is.
func (p *Pages) speak(r *http.Request) *speaker {
	if c, err := r.Cookie(LanguageCookie); err == nil {
		for _, s := range p.speakers {
			if s.tag.String() == c.Value {
				return s
			}
		}
	}
	wish := r.Header.Get("Accept-Language")
	if len(wish) > 500 {
		wish = ""
	}
	if tags, _, err := language.ParseAcceptLanguage(wish); err == nil && len(tags) > 0 {
		if _, i, sure := p.matcher.Match(tags...); sure != language.No {
			return p.speakers[i]
		}
	}
	return p.speakers[0]
}

// Title and Text say a reason code in the language of the request: in a few
// words, and in a sentence or two. A code that is not known gets a general text.
func (p *Pages) Title(r *http.Request, code string) string { return p.speak(r).reason(code).Title }

// Text: see Title.
func (p *Pages) Text(r *http.Request, code string) string { return p.speak(r).reason(code).Text }

// Say is a text for somebody of whom no request says what they read: in the first
// language. values are placeholder, value, placeholder, value …; a time among them
// is an end.
func (p *Pages) Say(key string, values ...any) (string, error) {
	c := p.speakers[0].catalogue
	found, ok := c.Texts[key]
	if !ok {
		return "", fmt.Errorf("no text %q", key)
	}
	values = slices.Clone(values)
	for i, v := range values {
		if at, ok := v.(time.Time); ok {
			text, err := c.until(at)
			if err != nil {
				return "", err
			}
			values[i] = text
		}
	}
	return c.fill(found.Other, values, func(s string) string { return s }), nil
}

// root is what the layout sees.
type root struct {
	Page      Page
	Posts     bool
	Desk      *Desk // nil: the page has none
	Lang, Dir string
	Languages []languageLink
}

type languageLink struct {
	Lang, Dir, Name, URL string
	Here                 bool
}

// Render writes a page in the language of the request. Nothing is written
// before all of it is made: if that fails, which is a mistake of ours, the
// answer is a plain 500.
func (p *Pages) Render(w http.ResponseWriter, r *http.Request, status int, page Page) {
	v := page.view()
	s := p.speak(r)
	forms := "'self'"
	if v.posts || v.confirms {
		to, err := formAction(v.form)
		if err != nil || v.confirms && to != forms {
			status, page = http.StatusInternalServerError, Failed{Code: "internal"}
			v = page.view()
		} else {
			forms = to
		}
	}
	var body bytes.Buffer
	t, err := s.template(v.template)
	if err == nil {
		err = t.ExecuteTemplate(&body, "layout", root{
			Page: page, Posts: v.posts, Desk: v.desk, Lang: s.tag.String(), Dir: s.dir(), Languages: p.switches(r, s),
		})
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy(v.posts, v.desk != nil, forms))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", referrer((v.confirms || v.desk != nil) && !v.secret))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h.Add("Vary", "Accept-Language, Cookie")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", s.tag.String())
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	if v.refresh > 0 {
		h.Set("Refresh", refresh(v.refresh, v.next))
	} else if v.refresh < 0 && link(v.next) != "" {
		h.Set("Refresh", refresh(0, v.next))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a browser that went away is not our trouble
}

// referrer is the Referrer-Policy of a page. With no-referrer a browser sends
// "Origin: null" with a form, even to ourselves (Fetch, section 3.2).
func referrer(confirms bool) string {
	if confirms {
		return "same-origin"
	}
	return "no-referrer"
}

// policy is the Content-Security-Policy of a page.
func policy(script, desk bool, forms string) string {
	var scripts string
	if script || desk {
		scripts = "script-src 'self'; "
	}
	if desk {
		scripts += "connect-src 'self'; "
	}
	return "default-src 'none'; style-src 'self'; img-src 'self' https: data:; " + scripts +
		"form-action " + forms + "; frame-ancestors 'none'; base-uri 'none'"
}

// formAction is where a form may go, as a Content-Security-Policy names it.
// Browsers hold to it what the receiver redirects to as well, and an identity
// provider may send people on to another host of its own: so any https.
func formAction(address string) (string, error) {
	u, err := url.Parse(link(address))
	if err != nil || u.Path == "" && u.Host == "" || strings.ContainsAny(u.Host, "'\";, *") {
		return "", fmt.Errorf("a form can not be sent to %q", address)
	}
	if u.Host == "" {
		return "'self'", nil
	}
	return u.Scheme + "://" + u.Host + " https:", nil
}

// refresh is the header that brings the browser back.
func refresh(seconds int, next string) string {
	s := strconv.Itoa(seconds)
	if next = link(next); next != "" {
		s += "; url=" + next
	}
	return s
}
