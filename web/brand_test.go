package web_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-sso/gatehouse/web"
)

const plainSVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1" style="fill:#123456"/></svg>`

func TestA12_ImagesOfOnesOwnRunNothing(t *testing.T) {
	t.Parallel()
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00", 64)
	for name, good := range map[string]string{"image/svg+xml": plainSVG, "image/png": png, "image/jpeg": "\xff\xd8\xff\xe0" + png} {
		image, err := web.ReadImage([]byte(good))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := pages(t, web.Brand{Images: []web.Image{image}, LogoURL: image.URL()})
		w := httptest.NewRecorder()
		p.Assets().ServeHTTP(w, httptest.NewRequest("GET", image.URL(), nil))
		csp := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || w.Header().Get("Content-Type") != name || w.Body.String() != good || !strings.Contains(csp, "sandbox") || strings.Contains(csp, "script-src") {
			t.Errorf("%s: status %d, %v", name, w.Code, w.Header())
		}
		if body := render(p, "en", 200, web.SignedOut{}).Body.String(); !strings.Contains(body, `<img src="`+image.URL()) {
			t.Errorf("%s is not on the page", name)
		}
	}
	for name, bad := range map[string]string{
		"a script":          strings.Replace(plainSVG, "<rect", "<script>alert(1)</script><rect", 1),
		"a foreign object":  strings.Replace(plainSVG, "<rect", "<foreignObject/><rect", 1),
		"HTML":              "<html><body>x</body></html>",
		"entities":          `<!DOCTYPE svg [<!ENTITY a "b">]>` + plainSVG,
		"half an SVG":       plainSVG[:60],
		"nothing":           "",
		"words":             "logo",
		"more than it need": plainSVG + strings.Repeat(" ", web.MaxImage),
	} {
		if _, err := web.ReadImage([]byte(bad)); err == nil {
			t.Errorf("%s is an image", name)
		}
	}
}

func TestAccentsThatCanNotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	for colour, want := range map[string][2]bool{ // light, dark
		"#0f6b6b": {true, false}, "#6cc9c4": {false, true}, "#003366": {true, false}, "#ffcc00": {false, true},
		"#777777": {false, false}, "teal": {false, false}, "#12345": {false, false}, "0f6b6b": {false, false}, "#0f6b6g": {false, false},
	} {
		if light, dark := web.CheckLight(colour) == nil, web.CheckDark(colour) == nil; light != want[0] || dark != want[1] {
			t.Errorf("%s: light %v, dark %v; want %v", colour, light, dark, want)
		}
	}
}

func TestColoursReachEveryPage(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{Colours: web.Colours{Light: "#003366"}})
	for _, e := range tags(t, render(p, "en", 200, web.SignedOut{}).Body.String()) {
		if e.name != "link" || !strings.Contains(e.attrs["href"], "brand-") {
			continue
		}
		w := httptest.NewRecorder()
		p.Assets().ServeHTTP(w, httptest.NewRequest("GET", e.attrs["href"], nil))
		if body := w.Body.String(); !strings.Contains(body, "--pico-primary: #003366;") || strings.Contains(body, "%!") {
			t.Errorf("styles: %s", body)
		}
		return
	}
	t.Error("the page has no styles of the brand")
}

func TestATextOfOnesOwnTakesThePlaceOfOurs(t *testing.T) {
	t.Parallel()
	p := pages(t, web.Brand{Translations: fstest.MapFS{"de.json": {Data: []byte(`{"texts": {"help": "Hilfe vom Rechenzentrum"}}`)}}, HelpURL: "https://help.uni.example"})
	if body := render(p, "de", 200, web.SignedOut{}).Body.String(); !strings.Contains(body, "Hilfe vom Rechenzentrum") {
		t.Error("the text is not on the page")
	}
	if body := render(p, "en", 200, web.SignedOut{}).Body.String(); !strings.Contains(body, ">Help<") {
		t.Error("another language changed")
	}
	for name, bad := range map[string]string{"an unknown text": `{"texts": {"halp": "x"}}`, "a placeholder": `{"texts": {"help": "{name}"}}`, "half a language": `{}`} {
		file := "de.json"
		if bad == "{}" {
			file = "nl.json"
		}
		if _, err := web.New(web.Brand{Translations: fstest.MapFS{file: {Data: []byte(bad)}}}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
