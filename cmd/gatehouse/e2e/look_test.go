//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/webtest"
)

// modules is the folder in which run.sh installed what is from npm.
func modules() (string, error) {
	dir := os.Getenv("GATEHOUSE_E2E_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "gatehouse-e2e")
	}
	dir = filepath.Join(dir, "node_modules")
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w — `make e2e` installs what these tests need", err)
	}
	return dir, nil
}

var axe = sync.OnceValues(func() (string, error) {
	dir, err := modules()
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "axe-core", "axe.min.js"))
	return string(raw), err
})

// keep saves a picture of the page.
func (p *person) keep(name string) {
	ctx, cancel := p.patient()
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		_ = os.MkdirAll("out", 0o755)
		err = os.WriteFile(filepath.Join("out", name+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Logf("no picture %s: %v", name, err)
	}
}

const axeScript = `axe.run({runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}, resultTypes: ["violations"]}).then(r => ({
  Passes: r.passes.length,
  Violations: r.violations.map(v => v.id + ": " + v.help + "\n" + v.nodes.map(n => "    " + n.html + "\n    " + n.failureSummary).join("\n")),
}))`

type findings struct {
	Passes     int
	Violations []string
}

// judge runs axe-core on the page as it is.
func (p *person) judge() findings {
	p.t.Helper()
	script, err := axe()
	if err != nil {
		p.t.Fatal(err)
	}
	if evaluate[string](p, `typeof axe`) == "undefined" { // another sight of the same page has it
		evaluate[int](p, script+";0")
	}
	return evaluate[findings](p, axeScript, chromedp.EvalAwaitPromise)
}

// A sight is how a page is looked at.
type sight struct {
	theme string
	width int64
}

var sights = []sight{{"light", 1280}, {"dark", 1280}, {"light", 320}, {"dark", 320}}

// look holds the page in front to what every page promises, in both themes,
// wide and narrow.
func (p *person) look(name string) *person {
	p.t.Helper()
	return p.lookIn(name, sights)
}

func (p *person) lookIn(name string, in []sight) *person {
	p.t.Helper()
	if !p.scripts {
		return p // axe-core is one
	}
	for _, s := range in {
		// What moves would be judged on its way from one colour to another.
		call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: s.theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		p.do("viewport", chromedp.EmulateViewport(s.width, 900))
		as := fmt.Sprintf("%s-%s-%d", name, s.theme, s.width)
		if over := evaluate[int](p, fmt.Sprintf("document.documentElement.scrollWidth - %d", s.width)); over > 0 {
			p.t.Errorf("%s: %d pixels stick out", as, over)
		}
		p.keep(as)
		f := p.judge()
		if f.Passes == 0 {
			p.t.Errorf("%s: axe-core found nothing to judge", as)
		}
		for _, v := range f.Violations {
			p.t.Errorf("%s: %s", as, v)
		}
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	p.do("viewport", chromedp.EmulateViewport(1280, 900))
	return p
}

// samples serves every page that there is, at /NAME, and does not let those
// leave that go on by themselves.
func samples(t testing.TB) (*httptest.Server, []webtest.Sample) {
	t.Helper()
	backwards, err := webtest.Backwards()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := web.New(web.Brand{Name: "Uni Example", HelpText: "Help desk", HelpURL: "https://help.uni.example", LanguageURL: "/.gatehouse/language", HomeURL: "/", Translations: backwards})
	if err != nil {
		t.Fatal(err)
	}
	all := webtest.Samples()
	mux := http.NewServeMux()
	mux.Handle(web.AssetsPath, pages.Assets())
	for _, s := range all {
		mux.HandleFunc("/"+s.Name, func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			if lang := r.URL.Query().Get("lang"); lang != "" {
				r.Header.Set("Accept-Language", lang)
			}
			pages.Render(rec, r, s.Status, s.Page)
			for name, vals := range rec.Header() {
				if name != "Refresh" {
					w.Header()[name] = vals
				}
			}
			w.Header().Set("Content-Security-Policy", strings.Replace(rec.Header().Get("Content-Security-Policy"), "script-src 'self'", "script-src 'none'", 1))
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv, all
}

func TestEveryPageIsAccessible(t *testing.T) {
	t.Parallel()
	srv, all := samples(t)
	// German has the longest words, Arabic runs from right to left.
	for lang, in := range map[string][]sight{"en": sights, "de": sights[2:3], "ar": sights[1:2]} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t, true)
			for _, s := range all {
				p.open(srv.URL + "/" + s.Name + "?lang=" + lang)
				if v := p.at(srv.URL + "/" + s.Name + "?lang=" + lang); v.Status != s.Status {
					t.Errorf("%s: status %d, want %d", s.Name, v.Status, s.Status)
				}
				p.lookIn("page-"+s.Name+"-"+lang, in)
			}
		})
	}
}

// The judge can say no: otherwise the tests above would show nothing.
func TestAPageThatIsNotAccessibleIsFound(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<html><title></title><body><img src="/x"><p style="color:#aaa;background:#fff">pale</p><input></body></html>`))
	}))
	t.Cleanup(srv.Close)
	p := newPerson(t, true).open(srv.URL + "/bad")
	p.at(srv.URL + "/bad")
	found := strings.Join(p.judge().Violations, "\n")
	for _, want := range []string{"image-alt", "color-contrast", "html-has-lang", "label", "document-title"} {
		if !strings.Contains(found, want+":") {
			t.Errorf("%s was not found in:\n%s", want, found)
		}
	}
}
