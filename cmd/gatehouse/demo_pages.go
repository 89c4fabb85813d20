package main

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// The pages of the demo's services and of its target: what they receive, as it
// arrives.

type demoTemplates struct{ t *template.Template }

func (d demoTemplates) show(w http.ResponseWriter, name string, v any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	if err := d.t.ExecuteTemplate(w, name, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

var demoPages = demoTemplates{template.Must(template.New("").Funcs(template.FuncMap{"plain": plainJSON}).Parse(demoHTML))}

func plainJSON(v any) (string, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	return string(raw), err
}

const demoHTML = `
{{define "head"}}<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.}}</title>
<style>
:root{color-scheme:light dark;--line:#d5d9e0;--ink:#1c2430;--soft:#56606f;--paper:#fbfbfd;--card:#fff}
@media(prefers-color-scheme:dark){:root{--line:#39414d;--ink:#e6e9ee;--soft:#a5afbd;--paper:#14181f;--card:#1b212a}}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.6rem;margin:.2rem 0}p{color:var(--soft)}
.wrap{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line)}
caption{text-align:left;padding:.6rem 0;color:var(--soft)}
th,td{text-align:left;vertical-align:top;padding:.5rem .7rem;border-bottom:1px solid var(--line)}
th{font-weight:600;white-space:nowrap}td{overflow-wrap:anywhere}code,pre{font:.9rem/1.4 ui-monospace,monospace}
a{color:inherit}
</style>{{end}}
{{define "echo"}}{{template "head" .Title}}<main><h1>{{.Title}}</h1>
<p>This is a service behind Gatehouse. It has no sign-in of its own: this is all it was told.</p>
<div class="wrap" tabindex="0" role="region" aria-label="Headers"><table><caption>Headers about you</caption><thead><tr><th scope="col">Header</th><th scope="col">Value</th></tr></thead><tbody>
{{range .Identity}}<tr><th scope="row"><code>{{.Name}}</code></th><td><code>{{.Value}}</code></td></tr>{{else}}<tr><td colspan="2">none</td></tr>{{end}}
</tbody></table></div>
<p><a href="/headers">Everything it received, as JSON</a> · <a href="/.gatehouse/logout">Sign out</a></p></main></html>{{end}}
{{define "target"}}{{template "head" "Accounts at the target"}}<main><h1>Accounts at the target</h1>
<p>This is another system. Gatehouse writes accounts into it over SCIM 2.0 (<code>/scim/v2</code>) when people sign in, and keeps them in step.</p>
<div class="wrap" tabindex="0" role="region" aria-label="Accounts"><table><caption>{{len .}} accounts</caption><thead><tr><th scope="col">User name</th><th scope="col">What it knows</th></tr></thead><tbody>
{{range .}}<tr><th scope="row">{{.String "userName"}}</th><td><pre>{{plain .}}</pre></td></tr>{{else}}<tr><td colspan="2">Nobody yet. Sign in at a service, and come back.</td></tr>{{end}}
</tbody></table></div></main></html>{{end}}
`

type namedValue struct{ Name, Value string }

// echoService answers with what it received: / as a page, everything else as JSON.
func echoService() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var identity []namedValue
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Gatehouse-") || strings.HasPrefix(name, "Remote-") || strings.HasPrefix(name, "X-Forwarded-") {
				for _, v := range values {
					identity = append(identity, namedValue{name, v})
				}
			}
		}
		slices.SortFunc(identity, func(a, b namedValue) int { return strings.Compare(a.Name, b.Name) })
		title := "Wiki"
		if strings.HasPrefix(r.Host, "payroll.") {
			title = "Payroll"
		}
		demoPages.show(w, "echo", map[string]any{"Title": title, "Identity": identity})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(map[string]any{"method": r.Method, "path": r.URL.RequestURI(), "host": r.Host, "headers": r.Header})
	})
	return mux
}
