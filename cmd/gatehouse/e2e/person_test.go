//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// A person sits at a browser with cookies of its own, in one tab.
type person struct {
	t       testing.TB
	ctx     context.Context // of the tab
	scripts bool
}

// newPerson opens a browser window that has no past. Without scripts, pages
// can not run any; what the test itself asks of a page still works.
func newPerson(t testing.TB, scripts bool) *person {
	t.Helper()
	return openTab(t, browser, scripts, chromedp.WithNewBrowserContext())
}

// tab is one more tab of the same person: the same cookies.
func (p *person) tab() *person {
	p.t.Helper()
	return openTab(p.t, p.ctx, p.scripts)
}

func openTab(t testing.TB, parent context.Context, scripts bool, opts ...chromedp.ContextOption) *person {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	p := &person{t: t, ctx: ctx, scripts: scripts}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome", AcceptLanguage: "en"})
	if !scripts {
		call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	return p
}

// patient is the tab's context for one step.
func (p *person) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

// do takes steps, which have to work.
func (p *person) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// call is one command of the protocol, which has to work.
func call[P, R any](p *person, cmd cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	res, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		p.t.Fatalf("%s: %v", cmd.Method, err)
	}
	return res
}

// evaluate asks the page something.
func evaluate[T any](p *person, expression string, opts ...chromedp.EvaluateOption) T {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, opts...))
	if err != nil {
		p.t.Fatalf("%v in %s", err, abridged(expression))
	}
	return v
}

func abridged(s string) string { return s[:min(len(s), 200)] }

// view is what a person has before them.
type view struct {
	URL, Ready, Title, Text string
	Status                  int
}

const viewScript = `({URL: location.href, Ready: document.readyState, Title: document.title,
  Text: document.body ? document.body.innerText : "",
  Status: (performance.getEntriesByType("navigation")[0] || {}).responseStatus || 0})`

// open goes to an address. It does not wait: see sees, at and until.
func (p *person) open(to string) *person {
	p.t.Helper()
	res := call(p, page.Navigate, page.NavigateParams{URL: to})
	// A page that goes on by itself aborts the visit; where it leads is seen later.
	if res.ErrorText != "" && res.ErrorText != "net::ERR_ABORTED" {
		p.t.Fatalf("open %s: %s", to, res.ErrorText)
	}
	return p
}

// until waits for a page that is complete and fits.
func (p *person) until(what string, fits func(view) bool) view {
	p.t.Helper()
	ctx, cancel := p.patient()
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var v view
	for {
		// While one page goes and the next comes, asking fails.
		if now, err := chromedp.Run(ctx, chromedp.Evaluate[view](viewScript)); err == nil {
			if v = now; v.Ready == "complete" && fits(v) {
				return v
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.keep("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
			p.t.Fatalf("never came to %s; the page is %d %s %q:\n%s", what, v.Status, v.URL, v.Title, v.Text)
		}
	}
}

// sees waits for a page on which all of this is to be read.
func (p *person) sees(parts ...string) view {
	p.t.Helper()
	return p.until(fmt.Sprintf("a page with %q", parts), func(v view) bool {
		for _, part := range parts {
			if !strings.Contains(v.Text, part) {
				return false
			}
		}
		return true
	})
}

// at waits for an address.
func (p *person) at(to string) view {
	p.t.Helper()
	return p.until(to, func(v view) bool { return v.URL == to })
}

// A click before the page's first picture can be thrown away by the browser, and
// nobody clicks on what they do not see.
const findScript = `(label => {
  if (!performance.getEntriesByType("paint").length) return {X: 0, Y: 0, Found: false};
  for (const e of document.querySelectorAll("a, button, input[type=submit], input[type=button]")) {
    if (!(e.innerText || e.value || "").includes(label) || !e.checkVisibility({visibilityProperty: true})) continue;
    e.scrollIntoView({block: "center"});
    const r = e.getClientRects()[0], x = r.left + r.width / 2, y = r.top + r.height / 2, hit = document.elementFromPoint(x, y);
    if (hit && (e === hit || e.contains(hit))) return {X: x, Y: y, Found: true};
  }
  return {X: 0, Y: 0, Found: false};
})(%s)`

// press clicks the first button or link that bears the label, where it is to
// be seen.
func (p *person) press(label string) *person {
	p.t.Helper()
	quoted, _ := json.Marshal(label)
	type place struct {
		X, Y  float64
		Found bool
	}
	var at place
	p.until("a page with a button "+label, func(view) bool {
		ctx, cancel := p.patient()
		defer cancel()
		var err error
		at, err = chromedp.Run(ctx, chromedp.Evaluate[place](fmt.Sprintf(findScript, quoted)))
		return err == nil && at.Found
	})
	p.do("press "+label, chromedp.MouseClickXY(at.X, at.Y))
	return p
}

// types writes into the field with that name.
func (p *person) types(field, text string) *person {
	p.t.Helper()
	p.do("field "+field, chromedp.SendKeys(chromedp.CSS(fmt.Sprintf("input[name=%q]", field)), text))
	return p
}

// signIn chooses an identity provider, if there is a choice, and a person of
// ours there. Where a form would post itself, whoever has no scripts presses
// its button.
func (p *person) signIn(provider, who string) *person {
	p.t.Helper()
	p.until("a choice of identity providers or people", func(v view) bool {
		return strings.Contains(v.Text, provider)
	})
	p.press(provider)
	p.press(who)
	if provider == partner && !p.scripts {
		p.sees("sends you back")
		p.press("Continue")
	}
	return p
}

// Titles of the demo's identity providers.
const (
	campus  = "Campus"
	partner = "Partner University"
)

// cookies are those that the browser would send to an address.
func (p *person) cookies(to string) map[string]*network.Cookie {
	p.t.Helper()
	all := map[string]*network.Cookie{}
	for _, ck := range call(p, network.GetCookies, network.GetCookiesParams{URLs: []string{to}}).Cookies {
		all[ck.Name] = ck
	}
	return all
}

// cookie is the one whose name begins so.
func (p *person) cookie(to, prefix string) *network.Cookie {
	p.t.Helper()
	for name, ck := range p.cookies(to) {
		if strings.HasPrefix(name, prefix) {
			return ck
		}
	}
	p.t.Fatalf("there is no cookie %s… at %s among %v", prefix, to, p.cookies(to))
	return nil
}

// A meddler changes requests on their way out: it gets method, address and
// form, and returns another address and form.
type meddler func(to string, form url.Values) (string, url.Values)

// meddles lets m at every request whose address matches pattern (with * for
// anything), until what is returned is called.
func (p *person) meddles(pattern string, m meddler) (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.ctx)
	paused := chromedp.Events(ctx, fetch.RequestPaused)
	call(p, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: pattern}}})
	go func() {
		for ev, err := range paused {
			if err != nil {
				return
			}
			form := url.Values{}
			var body strings.Builder
			for _, part := range ev.Request.PostDataEntries {
				body.Write(part.Bytes)
			}
			if body.Len() > 0 {
				form, _ = url.ParseQuery(body.String()) // what is no form has no fields
			}
			to, changed := m(ev.Request.URL, form)
			next := fetch.ContinueRequestParams{RequestID: ev.RequestID, URL: to}
			if body.Len() > 0 {
				next.PostData = []byte(changed.Encode())
			}
			_, _ = chromedp.Call(ctx, fetch.ContinueRequest, next) // fails when the test is over
		}
	}()
	return func() {
		cancel()
		_, _ = chromedp.Call(p.ctx, fetch.Disable, cdp.Empty{})
	}
}
