package web_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/webtest"
)

func brand(t *testing.T) web.Brand {
	t.Helper()
	more, err := webtest.Backwards()
	if err != nil {
		t.Fatal(err)
	}
	return web.Brand{
		Name: "Uni Example", LogoURL: "https://uni.example/logo.svg", HomeURL: "https://gate.uni.example/",
		HelpText: "Help desk", HelpURL: "https://help.uni.example", LanguageURL: "/.gatehouse/language", Translations: more,
	}
}

func pages(t *testing.T, b web.Brand) *web.Pages {
	t.Helper()
	p, err := web.New(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func render(p *web.Pages, lang string, status int, page web.Page) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "https://wiki.uni.example/report?year=2026", nil)
	r.Header.Set("Accept-Language", lang)
	w := httptest.NewRecorder()
	p.Render(w, r, status, page)
	return w
}

// A tag is an element's beginning in a page.
type tag struct {
	name  string
	attrs map[string]string
}

// tags reads a page strictly: every element is closed by its own end tag.
func tags(t *testing.T, body string) []tag {
	t.Helper()
	void := []string{"meta", "link", "img", "input", "br"}
	var list []tag
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	foreign := 0 // inside svg, where <path/> closes itself
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF || len(open) != 0 {
				t.Errorf("the page ends with %v open: %v", open, z.Err())
			}
			return list
		case html.StartTagToken:
			tok := z.Token()
			list = append(list, tag{tok.Data, attributes(t, tok)})
			if !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
			if tok.Data == "svg" {
				foreign++
			}
		case html.SelfClosingTagToken:
			tok := z.Token()
			list = append(list, tag{tok.Data, attributes(t, tok)})
			if foreign == 0 {
				t.Errorf("<%s/> closes itself outside of svg", tok.Data)
			}
		case html.EndTagToken:
			name := z.Token().Data
			if len(open) == 0 || open[len(open)-1] != name {
				t.Errorf("</%s> ends %v", name, open)
				return list
			}
			open = open[:len(open)-1]
			if name == "svg" {
				foreign--
			}
		}
	}
}

func attributes(t *testing.T, tok html.Token) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, a := range tok.Attr {
		if _, twice := m[a.Key]; twice {
			t.Errorf("<%s> has %s twice", tok.Data, a.Key)
		}
		m[a.Key] = a.Val
	}
	return m
}

// shape is a page without its words: elements and the names of their attributes.
func shape(t *testing.T, body string) []string {
	t.Helper()
	var s []string
	for _, e := range tags(t, body) {
		s = append(s, e.name+" "+strings.Join(slices.Sorted(maps.Keys(e.attrs)), " "))
	}
	return s
}

func count(list []tag, name string) (n int) {
	for _, e := range list {
		if e.name == name {
			n++
		}
	}
	return n
}

func TestEveryPageIsSoundInEveryLanguage(t *testing.T) {
	t.Parallel()
	p := pages(t, brand(t))
	for _, lang := range []string{"en", "cs", "de", "fr", "ar"} {
		for _, s := range webtest.Samples() {
			t.Run(lang+"/"+s.Name, func(t *testing.T) {
				w := render(p, lang, s.Status, s.Page)
				if w.Code != s.Status {
					t.Errorf("status %d, want %d", w.Code, s.Status)
				}
				if got := w.Header().Get("Content-Language"); got != lang {
					t.Errorf("Content-Language %q, want %q", got, lang)
				}
				sound(t, p, lang, w)
			})
		}
	}
}

// unfilled is a place in a text that nobody gave a value for.
var unfilled = regexp.MustCompile(`\{[a-z_]+\}`)

// sound checks what holds for every page.
func sound(t *testing.T, p *web.Pages, lang string, w *httptest.ResponseRecorder) {
	t.Helper()
	body := w.Body.String()
	list := tags(t, body)
	for _, one := range []string{"html", "title", "h1", "main"} {
		if n := count(list, one); n != 1 {
			t.Errorf("%d <%s>, want 1", n, one)
		}
	}
	for _, hole := range []string{"ZgotmplZ", "<no value>"} {
		if strings.Contains(body, hole) {
			t.Errorf("%s in it:\n%s", hole, body)
		}
	}
	for _, hole := range unfilled.FindAllString(body, -1) {
		t.Errorf("a text of which %s was not filled in", hole)
	}
	ids := map[string]bool{}
	level := 0
	for i, e := range list {
		for name, val := range e.attrs {
			switch {
			case name == "style", strings.HasPrefix(name, "on"):
				t.Errorf("<%s %s=%q>", e.name, name, val)
			case name == "id" && ids[val]:
				t.Errorf("two elements are called %q", val)
			case name == "id":
				ids[val] = true
			case name == "href", name == "src", name == "action":
				reachable(t, p, val)
			}
		}
		switch e.name {
		case "html":
			want := map[string]string{"ar": "rtl"}[lang]
			if want == "" {
				want = "ltr"
			}
			if e.attrs["lang"] != lang || e.attrs["dir"] != want {
				t.Errorf("lang=%q dir=%q", e.attrs["lang"], e.attrs["dir"])
			}
		case "style":
			t.Error("a <style> in the page")
		case "script":
			if !strings.HasPrefix(e.attrs["src"], web.AssetsPath) {
				t.Error("an inline script")
			}
		case "img":
			if _, ok := e.attrs["alt"]; !ok {
				t.Error("an image without alt")
			}
		case "body":
			if next := list[i+1]; next.name != "a" || next.attrs["href"] != "#main" {
				t.Error("the page does not begin with a way to skip its head")
			}
		case "h1", "h2", "h3":
			n, _ := strconv.Atoi(e.name[1:])
			if n > level+1 {
				t.Errorf("<%s> after <h%d>", e.name, level)
			}
			level = n
		}
	}
	for _, e := range list {
		if e.name == "select" || e.name == "textarea" || e.name == "input" && e.attrs["type"] != "hidden" {
			labelled := slices.ContainsFunc(list, func(l tag) bool { return l.name == "label" && l.attrs["for"] == e.attrs["id"] })
			if !labelled {
				t.Errorf("input %q has no label", e.attrs["name"])
			}
		}
	}
}

// reachable checks an address in a page: ours must be there, others must be web or mail.
func reachable(t *testing.T, p *web.Pages, address string) {
	t.Helper()
	u, err := url.Parse(address)
	switch {
	case err != nil:
		t.Errorf("address %q: %v", address, err)
	case strings.HasPrefix(address, "#"):
	case u.Scheme == "mailto", u.Scheme == "https" && u.Host != "", u.Scheme == "http" && u.Host != "":
	case u.Scheme != "" || !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.Contains(address, `\`):
		t.Errorf("address %q", address)
	case strings.HasPrefix(address, web.AssetsPath):
		w := httptest.NewRecorder()
		p.Assets().ServeHTTP(w, httptest.NewRequest("GET", address, nil))
		if w.Code != http.StatusOK {
			t.Errorf("asset %q: status %d", address, w.Code)
		}
	}
}

func TestPagesWithNothingInThemAreSound(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	for _, page := range []web.Page{
		web.Chooser{}, web.Denied{}, web.MissingAttribute{}, web.Preparing{}, web.Failed{}, web.SignedOut{},
		web.Portal{}, web.GoOn{}, web.ReturnByGet{}, web.Board{Blocks: []web.Block{{Table: &web.Table{}, Chart: &web.Chart{}, Facts: make([]web.Fact, 1), Forms: make([]web.Form, 1)}}}, web.Welcome{Action: "/"},
		web.Portal{Services: make([]web.Tile, 1)}, web.Chooser{Search: true, Choices: make([]web.Choice, 1)},
	} {
		w := render(p, "en", http.StatusOK, page)
		if w.Code != http.StatusOK {
			t.Fatalf("%T: status %d", page, w.Code)
		}
		list := tags(t, w.Body.String())
		if count(list, "h1") != 1 || count(list, "html") != 1 {
			t.Errorf("%T is not a page", page)
		}
	}
}

func TestA02_TextsOfStrangersStayText(t *testing.T) {
	t.Parallel()
	// A name that no payload changes the meaning of: codes and states that are
	// not known take the same path as a payload does.
	const harmless = "word"
	english := brand(t)
	english.Languages = []string{"en"}
	calm := pages(t, english)
	want := map[string][]string{}
	for _, s := range webtest.Samples() {
		want[s.Name] = shape(t, render(calm, "en", s.Status, webtest.With(s.Page, harmless, "")).Body.String())
	}
	// Many payloads stand in one text, as far as texts are shown: whichever of them
	// breaks out, the page has an element that is not ours.
	for _, payloads := range together(webtest.Payloads()) {
		b := english
		b.Name, b.HelpText = payloads, payloads
		for i, s := range webtest.Samples() {
			p := calm
			if i == 0 { // the brand stands in what all pages share
				p = pages(t, b)
			}
			body := render(p, "en", s.Status, webtest.With(s.Page, payloads, "")).Body.String()
			if diff := cmp.Diff(want[s.Name], shape(t, body)); diff != "" {
				t.Errorf("%s with %q has other elements (-want +got):\n%s", s.Name, payloads, diff)
			}
		}
	}
}

// together are texts that hold all payloads between them, none longer than what a
// page shows of a text.
func together(payloads []string) (texts []string) {
	const shown = 480 // characters; a page shows 500
	for _, p := range payloads {
		if n := len(texts) - 1; n >= 0 && len([]rune(texts[n]+p))+1 <= shown {
			texts[n] += " " + p
		} else {
			texts = append(texts, p)
		}
	}
	return texts
}

// The texts that are tried hold every payload, and a page shows them whole.
func TestA02_NoPayloadIsLeftOut(t *testing.T) {
	t.Parallel()
	all, p := webtest.Payloads(), pages(t, web.Brand{})
	shown := ""
	for _, text := range together(append(slices.Clone(all), "the last")) {
		body := render(p, "en", 200, web.Failed{Text: text}).Body.String()
		shown += html.UnescapeString(body[strings.Index(body, "<blockquote>"):strings.Index(body, "</blockquote>")])
	}
	control := strings.NewReplacer("\x00", "", "\x01", "", "\r", "", "\n", " ", "\t", " ", "\u202e", "", "\u2066", "", "\xff\xfe", "\ufffd")
	for _, payload := range append(all, "the last") {
		if !strings.Contains(shown, strings.TrimSpace(control.Replace(payload))) {
			t.Errorf("no page was shown with %q", payload)
		}
	}
}

// The check above must be able to fail.
func TestA02_ShapeSeesAnElementThatIsNotOurs(t *testing.T) {
	t.Parallel()
	if cmp.Equal(shape(t, `<p>word</p>`), shape(t, `<p><img src=x onerror=alert(1)></p>`)) {
		t.Error("an element more has the same shape")
	}
	if cmp.Equal(shape(t, `<p title="word"></p>`), shape(t, `<p title="" onmouseover="alert(1)"></p>`)) {
		t.Error("an attribute more has the same shape")
	}
}

// A03: what stands between the tags of a script is read by other rules than a page,
// and no rule of escaping is right for both. So no page has anything there: each script
// is a file of ours, and none is data.
func TestA03_NoPageHoldsJSONOrAScript(t *testing.T) {
	t.Parallel()
	p, scripts := pages(t, brand(t)), 0
	for _, s := range webtest.Samples() {
		body := render(p, "en", s.Status, s.Page).Body.String()
		for rest := body; ; {
			_, after, found := strings.Cut(rest, "<script")
			if !found {
				break
			}
			tag, inside, _ := strings.Cut(after, ">")
			inside, rest, _ = strings.Cut(inside, "</script>")
			if scripts++; inside != "" || !strings.HasPrefix(tag, ` src="/.gatehouse/assets/`) || strings.Contains(tag, "type=") {
				t.Errorf("%s: <script%s>%s", s.Name, tag, inside)
			}
		}
	}
	if scripts == 0 {
		t.Error("no page has a script: this test sees nothing")
	}
}

func TestA02A12_AddressesOfStrangersLeadToTheWebOrNowhere(t *testing.T) {
	t.Parallel()
	b := brand(t)
	b.Languages = []string{"en"}
	calm := pages(t, b)
	// A link is a link on any page: that each goes through what stops all of these is
	// seen by those that would get by without it. What else is done with an address,
	// in headers and forms, is done by pages that are no desks.
	worst := []string{"//evil.example/", "javascript:alert(1)", `/\evil.example/`}
	for _, payload := range webtest.Payloads() {
		b.LogoURL, b.HelpURL, b.HomeURL = payload, payload, payload
		for i, s := range webtest.Samples() {
			p := calm
			if among := slices.Contains(worst, payload); atDesk(s.Page) && !among {
				continue
			} else if i == 0 && among { // the brand stands in what all pages share
				p = pages(t, b)
			}
			w := render(p, "en", s.Status, webtest.With(s.Page, "word", payload))
			for _, e := range tags(t, w.Body.String()) {
				for name, val := range e.attrs {
					if name == "href" || name == "src" || name == "action" || name == "hx-get" {
						if reachable(t, p, val); val == "#ZgotmplZ" {
							t.Errorf("%s with %q: only the template stopped it", s.Name, payload)
						}
					}
				}
			}
			if h := w.Header().Get("Refresh"); strings.Contains(strings.ToLower(h), "script") || strings.ContainsAny(h, "\r\n") {
				t.Errorf("%s with %q: Refresh: %s", s.Name, payload, h)
			}
			for _, csp := range w.Header()["Content-Security-Policy"] {
				if strings.Count(csp, ";") > 7 || strings.Contains(csp, "unsafe") {
					t.Errorf("%s with %q: %s", s.Name, payload, csp)
				}
			}
		}
	}
}

func TestAddressesThatAreFineBecomeLinks(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	for _, good := range []string{"https://a.example/x?y=1#z", "http://wiki.localhost:8080/", "/.gatehouse/login?return=%2F"} {
		body := render(p, "en", 200, web.SignedOut{AgainURL: good}).Body.String()
		found := slices.ContainsFunc(tags(t, body), func(e tag) bool { return e.name == "a" && e.attrs["href"] == good })
		if !found {
			t.Errorf("no link to %q", good)
		}
	}
}

func TestAFormThatWouldGoToAScriptIsNotMade(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	for _, bad := range []string{"javascript:alert(1)", "", "//evil.example", "https://a.example;script-src *", "data:text/html,x"} {
		w := render(p, "en", 200, web.PostForm{Action: bad, Fields: url.Values{"SAMLRequest": {"secret"}}})
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "<form") {
			t.Errorf("action %q: status %d\n%s", bad, w.Code, w.Body)
		}
		if w := render(p, "en", 200, web.Confirm{Action: bad}); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "<form") {
			t.Errorf("confirm, action %q: status %d\n%s", bad, w.Code, w.Body)
		}
	}
}

func TestWhoConfirmsConfirmsToUs(t *testing.T) {
	t.Parallel()
	if w := render(pages(t, web.Brand{}), "en", 200, web.Confirm{Action: "https://evil.example/logout"}); w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
}

func TestAFormCarriesItsFieldsUnchanged(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	long := strings.Repeat("PHNhbWw+", 10_000)
	want := url.Values{"SAMLRequest": {long}, "RelayState": {`a"b'c<d>&amp;` + "\n é"}, "again": {"1", "2"}}
	w := render(p, "de", 200, web.PostForm{Action: "https://idp.example/sso?x=1&y=2", Fields: want, To: "Campus"})
	got := url.Values{}
	for _, e := range tags(t, w.Body.String()) {
		if e.name == "input" {
			got.Add(e.attrs["name"], e.attrs["value"])
		}
		if e.name == "form" && (e.attrs["action"] != "https://idp.example/sso?x=1&y=2" || e.attrs["method"] != "post") {
			t.Errorf("form %v", e.attrs)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestO23_TooMuchTextIsCutAndControlCharactersGo(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	flood := strings.Repeat("ä<\u202e\r\n\x07", 100_000)
	for _, s := range webtest.Samples() {
		if _, form := s.Page.(web.PostForm); form {
			continue // what it carries must arrive whole
		}
		page := s.Page
		switch c := page.(type) { // fields that are sent back are not for reading
		case web.Chooser:
			c.Keep = nil
			page = c
		case web.Confirm:
			c.Fields = nil
			page = c
		case web.Consent:
			c.Fields = nil
			page = c
		case web.Recover:
			c.Fields = nil
			page = c
		case web.Welcome:
			c.Fields = nil
			page = c
		}
		body := render(p, "en", 200, webtest.With(page, flood, "")).Body.String()
		if len(body) > 500_000 { // one text that is not cut has more
			t.Errorf("%s: %d bytes", s.Name, len(body))
		}
		if strings.ContainsAny(body, "\u202e\r\x07") {
			t.Errorf("%s: control characters are in the page", s.Name)
		}
	}
}

func TestNamesThatRunTheOtherWayDoNotTurnTheSentence(t *testing.T) {
	t.Parallel()
	p := pages(t, brand(t))
	const hebrew = "ויקי"
	if body := render(p, "en", 403, web.Denied{Service: hebrew}).Body.String(); !strings.Contains(body, "\u2068"+hebrew+"\u2069") {
		t.Error("a Hebrew name is not isolated in an English title")
	}
	if body := render(p, "en", 403, web.Denied{Service: "Wiki"}).Body.String(); strings.Contains(body, "\u2068") {
		t.Error("an English name is isolated in an English title")
	}
	if body := render(p, "ar", 403, web.Denied{Service: "Wiki"}).Body.String(); !strings.Contains(body, "\u2068Wiki\u2069") {
		t.Error("an English name is not isolated in an Arabic title")
	}
}

func TestA04_HeadersOfEveryPage(t *testing.T) {
	t.Parallel()
	p := pages(t, brand(t))
	for _, s := range webtest.Samples() {
		h := render(p, "en", s.Status, s.Page).Header()
		want := http.Header{
			"Content-Type":                 {"text/html; charset=utf-8"},
			"Content-Language":             {"en"},
			"Content-Length":               h["Content-Length"],
			"Cache-Control":                {"no-store"},
			"Vary":                         {"Accept-Language, Cookie"},
			"X-Content-Type-Options":       {"nosniff"},
			"Referrer-Policy":              {"no-referrer"},
			"Cross-Origin-Opener-Policy":   {"same-origin"},
			"Cross-Origin-Resource-Policy": {"same-origin"},
			"Content-Security-Policy": {"default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; " +
				"frame-ancestors 'none'; base-uri 'none'"},
		}
		if atDesk(s.Page) {
			want.Set("Referrer-Policy", "same-origin")
			want.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' https: data:; script-src 'self'; connect-src 'self'; "+
				"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		}
		switch s.Name {
		case "post-form":
			want.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' https: data:; script-src 'self'; "+
				"form-action https://idp.partner.example https:; frame-ancestors 'none'; base-uri 'none'")
		case "confirm", "welcome", "welcome-taken", "welcome-again":
			want.Set("Referrer-Policy", "same-origin")
		case "preparing":
			want.Set("Refresh", "2; url=/.gatehouse/login?flow=1")
		case "denied-waiting":
			want.Set("Refresh", "20")
		case "go-on":
			want.Set("Refresh", "0; url=https://idp.uni.example/logout")
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
	}
}

// atDesk reports whether somebody works at a page.
func atDesk(p web.Page) bool {
	v := reflect.ValueOf(p)
	return v.Kind() == reflect.Struct && v.FieldByName("Desk").IsValid()
}

func TestOnlyDesksAndThePageThatPostsItselfHaveScripts(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	for _, s := range webtest.Samples() {
		_, posts := s.Page.(web.PostForm)
		want := map[bool]int{true: 1}[posts] + map[bool]int{true: 2}[atDesk(s.Page)]
		if got := count(tags(t, render(p, "en", 200, s.Page).Body.String()), "script"); got != want {
			t.Errorf("%s: %d scripts", s.Name, got)
		}
	}
}

func TestThePagePostingToUsStaysWithUs(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	csp := render(p, "en", 200, web.PostForm{Action: "/.gatehouse/session"}).Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "form-action 'self';") {
		t.Error(csp)
	}
}

func TestLanguageIsThatOfTheCookieThenTheBrowserThenTheFirst(t *testing.T) {
	t.Parallel()
	all := pages(t, web.Brand{})
	german := pages(t, web.Brand{Languages: []string{"de", "en"}})
	for _, tt := range []struct {
		name, cookie, accept string
		pages                *web.Pages
		want                 string
	}{
		{"nothing", "", "", all, "en"},
		{"nothing, German first", "", "", german, "de"},
		{"browser", "", "de-AT,de;q=0.9,en;q=0.5", all, "de"},
		{"weights", "", "de;q=0.3,en;q=0.8", all, "en"},
		{"refused", "", "de;q=0, en", all, "en"},
		{"unknown falls to the next", "", "ja, de;q=0.1", all, "de"},
		{"unknown alone", "", "ja", german, "de"},
		{"cookie wins", "de", "en", all, "de"},
		{"cookie is rubbish", "'><script>", "de", all, "de"},
		{"cookie is unknown", "tlh", "de", all, "de"},
		{"header is rubbish", "", "-----;;;q=q", all, "en"},
		{"header is a flood", "", strings.Repeat("de-", 100_000), all, "en"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if tt.cookie != "" {
			r.Header.Set("Cookie", web.LanguageCookie+"="+tt.cookie)
		}
		r.Header.Set("Accept-Language", tt.accept)
		w := httptest.NewRecorder()
		tt.pages.Render(w, r, 200, web.SignedOut{})
		if got := w.Header().Get("Content-Language"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLanguageSwitchRemembersAndComesBack(t *testing.T) {
	t.Parallel()
	p := pages(t, brand(t))
	var to string
	for _, e := range tags(t, render(p, "en", 200, web.SignedOut{}).Body.String()) {
		if e.attrs["hreflang"] == "de" {
			to = e.attrs["href"]
		}
	}
	w := httptest.NewRecorder()
	p.Language().ServeHTTP(w, httptest.NewRequest("GET", to, nil))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/report?year=2026" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%q: %d %v", to, w.Code, w.Header())
	}
	if c := w.Result().Cookies(); len(c) != 1 || c[0].Name != web.LanguageCookie || c[0].Value != "de" || !c[0].HttpOnly {
		t.Errorf("cookies %v", c)
	}
	for _, away := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "javascript:alert(1)", "", "evil"} {
		w := httptest.NewRecorder()
		p.Language().ServeHTTP(w, httptest.NewRequest("GET", "/.gatehouse/language?"+url.Values{"to": {"de"}, "return": {away}}.Encode(), nil))
		if got := w.Header().Get("Location"); got != "/" {
			t.Errorf("return %q leads to %q", away, got)
		}
	}
	w = httptest.NewRecorder()
	p.Language().ServeHTTP(w, httptest.NewRequest("GET", "/.gatehouse/language?to=tlh", nil))
	if w.Code != http.StatusBadRequest || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("an unknown language: %d %v", w.Code, w.Header())
	}
}

func TestThereIsNoSwitchWithoutAnAddressOrAWayBack(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{"/report": true, "/.gatehouse/login?return=x": true, "/.gatehouse/oidc/campus/callback?code=x": false} {
		w := httptest.NewRecorder()
		pages(t, brand(t)).Render(w, httptest.NewRequest("GET", path, nil), 200, web.SignedOut{})
		if got := strings.Contains(w.Body.String(), "hreflang"); got != want {
			t.Errorf("%s: switch %v, want %v", path, got, want)
		}
	}
	if body := render(pages(t, web.Brand{}), "en", 200, web.SignedOut{}).Body.String(); strings.Contains(body, "hreflang") {
		t.Error("a link to a handler that is nowhere")
	}
}

func TestReasonsAreSaidAsExactlyAsTheyAreKnown(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	r := httptest.NewRequest("GET", "/", nil)
	general := p.Text(r, "")
	for code, family := range map[string]string{
		"login.replayed": "login", "login.provider_refused": "login", "jit.off": "jit", "jit.conflict": "jit",
		"access.step_up": "access", "access.no_rule": "access", "access.denied_by_rule": "access", "user.inactive": "user",
		"provisioning.timeout": "provisioning", "session.revoked": "session", "upstream.timeout": "upstream",
		"host.unknown": "host", "internal": "", "request.body": "request", "saml.expired": "saml",
	} {
		if text := p.Text(r, code); text == "" || text == general || text == p.Text(r, family+".of_which_nobody_knows") {
			t.Errorf("%s has no words of its own: %q", code, text)
		}
		if p.Title(r, code) == "" {
			t.Errorf("%s has no title", code)
		}
	}
	for _, code := range []string{"saml.signature", "oidc.nonce", "proxy.untrusted", "path.ambiguous", "login.of_which_nobody_knows"} {
		if p.Text(r, code) == general {
			t.Errorf("%s is said in general", code)
		}
	}
	for _, code := range []string{"", "x", "martian.landed", "<script>"} {
		if p.Text(r, code) != general {
			t.Errorf("%q is not said in general", code)
		}
	}
	german := httptest.NewRequest("GET", "/", nil)
	german.Header.Set("Accept-Language", "de")
	if p.Text(german, "internal") == p.Text(r, "internal") {
		t.Error("German is English")
	}
}

// The order in which a person reads why they are not let in.
// What was refused at a desk is said in the reader's language by its code; the
// sentence of who refused it is English, and marked so.
func TestARefusalAtADeskIsSaidInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	board := web.Board{Desk: web.Desk{Problem: &web.Problem{Code: "release.changed_meanwhile", Text: "the draft was changed meanwhile"}}}
	for lang, want := range map[string]string{"de": "Jemand anders war schneller", "fr": "Quelqu’un a été plus rapide", "cs": "Někdo byl rychlejší", "en": "That was not done"} {
		body := render(p, lang, 409, board).Body.String()
		at := strings.Index(body, `role="alert"`)
		if at < 0 {
			t.Fatalf("%s: no alert", lang)
		}
		body = body[at:]
		body = body[:strings.Index(body, "</section>")]
		if !strings.Contains(body, want) || !strings.Contains(body, `<p lang="en" dir="auto">the draft was changed meanwhile</p>`) || !strings.Contains(body, "release.changed_meanwhile") {
			t.Errorf("%s: no %q, no English sentence, or no code in\n%s", lang, want, body)
		}
	}
	board.Problem.Code = "nobody.thought.of.this"
	if body := render(p, "de", 409, board).Body.String(); !strings.Contains(body, "Das wurde nicht getan") {
		t.Errorf("a code without a word has no heading:\n%s", body)
	}
}

func TestDenialTellsWhatWhoWhyAndWhatToDo(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	at := time.Date(2026, time.May, 4, 3, 2, 1, 0, time.FixedZone("CEST", 2*60*60))
	w := render(p, "en", 403, web.Denied{
		Service: "Payroll", Who: web.Who{Name: "bob", Provider: "Campus"}, Code: "access.no_rule", Support: "7F3K-92QD", At: at,
		Rules: []web.Unmet{{Text: "For the finance office.", Have: []string{"student"}}}, Contact: "help@uni.example", SwitchURL: "/switch",
	})
	inOrder(t, w.Body.String(), "You can’t open Payroll yet", "bob", "Campus", "What is missing", "For the finance office.", "student",
		"What you can do", `href="mailto:help@uni.example?subject=Support%20code%207F3K-92QD"`, `href="/switch"`,
		"7F3K-92QD", `<time datetime="2026-05-04T01:02:01Z">4 May 2026, 01:02:01 UTC</time>`, "access.no_rule")
	w = render(p, "de", 403, web.Denied{Service: "Payroll", At: at})
	inOrder(t, w.Body.String(), "Sie können Payroll noch nicht öffnen", "4. Mai 2026, 01:02:01 UTC")
}

// A day that was chosen is kept as the midnight after it, and told as that day.
func TestAnEndIsTheDayThatWasChosenOrATime(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	const last, midday = `<time datetime="2026-12-31">31 December 2026</time>`, `<time datetime="2027-01-01T12:00:00Z">1 January 2027, 12:00:00 UTC</time>`
	day := time.Date(2027, time.January, 1, 2, 0, 0, 0, time.FixedZone("EET", 2*60*60))
	noon := day.Add(12 * time.Hour)
	for name, page := range map[string]func(end time.Time) web.Page{
		"requests": func(end time.Time) web.Page { return web.Requests{Rows: []web.RequestRow{{Until: end}}} },
		"granted": func(end time.Time) web.Page {
			return web.Requests{Rows: []web.RequestRow{{Until: day.Add(time.Hour), Granted: end}}}
		},
		"deciding": func(end time.Time) web.Page { return web.Deciding{Rows: []web.DecisionRow{{Until: end}}} },
		"denied":   func(end time.Time) web.Page { return web.Denied{Waiting: &web.Waiting{Until: end}} },
		"me":       func(end time.Time) web.Page { return web.Me{Grants: []web.GrantRow{{Until: end}}} },
		"board": func(end time.Time) web.Page {
			return web.Board{Blocks: []web.Block{{Facts: []web.Fact{{Cell: web.Cell{Until: end}}}}}}
		},
	} {
		for end, want := range map[time.Time]string{day: last, noon: midday} {
			if body := render(p, "en", 200, page(end)).Body.String(); !strings.Contains(body, want) {
				t.Errorf("%s: %s is not in\n%s", name, want, body)
			}
		}
	}
	if body := render(p, "de", 200, web.Requests{Rows: []web.RequestRow{{Until: day}}}).Body.String(); !strings.Contains(body, ">31. Dezember 2026<") {
		t.Error("a German page does not write the day as German does")
	}
	for end, want := range map[time.Time]string{day: "until 31 December 2026.", noon: "until 1 January 2027, 12:00:00 UTC."} {
		if text, err := p.Say("mail.pending.body", "name", "Bob", "role", "Library", "until", end, "url", "https://gate.uni.example/"); err != nil || !strings.Contains(text, want) {
			t.Errorf("a message says %q, %v; want %q", text, err, want)
		}
	}
}

func inOrder(t *testing.T, body string, parts ...string) {
	t.Helper()
	_, body, _ = strings.Cut(body, "<main")
	for _, part := range parts {
		_, after, ok := strings.Cut(body, part)
		if !ok {
			t.Fatalf("%q is not there, or not in its place:\n%s", part, body)
		}
		body = after
	}
}

func TestAnAccountIsReadyOnlyWhenAllOfItIs(t *testing.T) {
	t.Parallel()
	done, pending := web.TargetState{State: "done"}, web.TargetState{State: "pending"}
	for _, tt := range []struct {
		page web.Preparing
		want string
	}{
		{web.Preparing{}, "ready"},
		{web.Preparing{Targets: []web.TargetState{done}}, "ready"},
		{web.Preparing{Targets: []web.TargetState{done, pending}}, "working"},
		{web.Preparing{RefreshSeconds: 2, Code: "provisioning.pending"}, "working"},
		{web.Preparing{Code: "provisioning.timeout", Targets: []web.TargetState{done}}, "failed"},
	} {
		if got := tt.page.Stage(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.page, got, tt.want)
		}
	}
}

func TestNumbersHaveTheirPlural(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	for n, want := range map[int]string{0: "Nothing found for “x”.", 1: "One institution found for “x”.", 2: "2 institutions found", 1200: "1,200 institutions found"} {
		if body := render(p, "en", 200, web.Chooser{Query: "x", Choices: make([]web.Choice, n)}).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%d: no %q", n, want)
		}
	}
	if body := render(p, "de", 200, web.Chooser{Query: "x", Choices: make([]web.Choice, 1200)}).Body.String(); !strings.Contains(body, "1.200 Einrichtungen") {
		t.Error("German does not write 1.200")
	}
	for n, want := range map[int]string{0: "nebylo nic nalezeno", 1: "nalezena jedna instituce", 3: "nalezeny 3 instituce", 5: "nalezeno 5 institucí", 22: "nalezeno 22 institucí"} {
		if body := render(p, "cs", 200, web.Chooser{Query: "x", Choices: make([]web.Choice, n)}).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%d in Czech: no %q", n, want)
		}
	}
}

func TestAssetsAreKeptForEverUnderNamesThatSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{})
	var style string
	for _, e := range tags(t, render(p, "en", 200, web.SignedOut{}).Body.String()) {
		if e.attrs["rel"] == "stylesheet" {
			style = e.attrs["href"]
		}
	}
	get := func(method, path, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		p.Assets().ServeHTTP(w, r)
		return w
	}
	plain := get("GET", style, "")
	if plain.Code != 200 || plain.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" ||
		plain.Header().Get("Content-Type") != "text/css; charset=utf-8" || plain.Header().Get("X-Content-Type-Options") != "nosniff" ||
		plain.Header().Get("Vary") != "Accept-Encoding" || plain.Header().Get("Set-Cookie") != "" {
		t.Errorf("%s: %d %v", style, plain.Code, plain.Header())
	}
	for encoding, want := range map[string]string{"gzip, br": "gzip", "br;q=1.0, gzip;q=0.5": "gzip", "gzip;q=0": "", "br": "", "gzip;q=x": ""} {
		w := get("GET", style, encoding)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: %q, want %q", encoding, got, want)
		}
		if want == "gzip" && w.Body.Len() >= plain.Body.Len() {
			t.Errorf("compressed %d bytes to %d", plain.Body.Len(), w.Body.Len())
		}
	}
	for _, path := range []string{web.AssetsPath, web.AssetsPath + "gatehouse.css", web.AssetsPath + "pico.LICENSE.md", web.AssetsPath + "../web.go", style + "x"} {
		if w := get("GET", path, ""); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := get("POST", style, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestEachKindOfPageHasASample(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	names := map[string]bool{}
	for _, s := range webtest.Samples() {
		kinds[strings.TrimPrefix(fmt.Sprintf("%T", s.Page), "web.")] = true
		if names[s.Name] {
			t.Errorf("two samples are called %s", s.Name)
		}
		names[s.Name] = true
	}
	for _, kind := range pageKinds(t) {
		if !kinds[kind] {
			t.Errorf("no sample of %s", kind)
		}
	}
}

// pageKinds are the types of this package that are pages.
func pageKinds(t *testing.T) (kinds []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "view" && fn.Recv != nil {
				kinds = append(kinds, fn.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	if len(kinds) < 10 {
		t.Fatalf("there are only the pages %v", kinds)
	}
	return kinds
}
