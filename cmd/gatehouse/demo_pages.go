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
{{define "head"}}<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.}}</title>
<style>
:root{color-scheme:light dark;--line:#d5dcdc;--ink:#2b3337;--strong:#14191c;--soft:#566268;--paper:#f3f5f5;--card:#fff;--accent:#0f6b6b}
@media(prefers-color-scheme:dark){:root{--line:#37444a;--ink:#d3dadd;--strong:#f1f4f5;--soft:#9fabb1;--paper:#11171a;--card:#1a2226;--accent:#6cc9c4}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:52rem;margin:0 auto;padding:2.5rem 1rem}
h1,h2{margin:0 0 .25rem;color:var(--strong);line-height:1.25}h1{font-size:1.8rem}h2{font-size:1.1rem}
p{margin:.25rem 0 1rem;color:var(--soft)}
section{margin:1rem 0;padding:1.25rem 1.5rem;background:var(--card);border:1px solid var(--line);border-radius:.9rem}
dl{margin:.75rem 0 0}dl>div{display:grid;grid-template-columns:17rem 1fr;gap:0 1rem;padding:.5rem 0;border-top:1px solid var(--line)}
dt{color:var(--soft)}dd{margin:0}dt,dd,code,pre{font:.875rem/1.5 ui-monospace,monospace}
pre{margin:.5rem 0 0;white-space:pre-wrap}
a{color:var(--accent)}nav a{display:inline-block;margin-inline-end:1.25rem;padding:.25rem 0}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
@media(max-width:40rem){section{padding:1rem}dl>div{grid-template-columns:1fr}dd{color:var(--strong)}}
</style></head>{{end}}
{{define "echo"}}{{template "head" .Title}}<body><main><h1>{{.Title}}</h1>
<p>This is a service behind Gatehouse. It has no sign-in of its own: what it knows about you is what it was told.</p>
<section><h2>What it was told</h2>
<dl>{{range .Identity}}<div><dt>{{.Name}}</dt><dd>{{.Value}}</dd></div>{{else}}<div><dt>nothing</dt><dd></dd></div>{{end}}</dl></section>
<nav aria-label="On"><a href="/headers">Everything it received, as JSON</a><a href="/.gatehouse/logout">Sign out</a></nav></main></body></html>{{end}}
{{define "target"}}{{template "head" "Accounts at the target"}}<body><main><h1>Accounts at the target</h1>
<p>This is another system. Gatehouse writes accounts into it over SCIM 2.0 (<code>/scim/v2</code>) when people sign in, and keeps them in step.</p>
{{if gt .Total (len .Resources)}}<section><p>There are {{.Total}} accounts. The first {{len .Resources}} are shown.</p></section>{{end}}
{{range .Resources}}<section><h2>{{.String "userName"}}</h2><pre>{{plain .}}</pre></section>
{{else}}<section><p>Nobody yet. Sign in at a service, and come back.</p></section>{{end}}
</main></body></html>{{end}}
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
