package idptest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
)

// signInPage is the one page of an identity provider: a question with buttons,
// or a message. It needs no script and loads nothing.
type signInPage struct {
	Title    string // the identity provider's name
	Protocol string // "OpenID Connect", "SAML 2.0"
	Client   string // who asks; empty: not said

	// Action is where the buttons post to; Hidden goes with them. A form to
	// another site (SAML POST binding, form_post) is such a page too: People is
	// empty and Continue is the label of its one button.
	Action   string
	Hidden   url.Values
	People   []Person // one button each: field user
	Hint     string   // the User whose button comes first
	More     int      // people without a button, who are named instead; render sets it
	Confirm  *Person  // asks this person for the second factor: field factor
	Continue string   // label of a single button without a field

	// Heading and Message tell instead of asking.
	Heading, Message string
}

// mostButtons is how many people a page has buttons for.
const mostButtons = 24

// render writes the page. The policy has no form-action: browsers apply that to
// every redirect that follows the form, and where a sign-in ends is the
// gateway's to say.
func (p signInPage) render(w http.ResponseWriter, status int) {
	if i := slices.IndexFunc(p.People, func(who Person) bool { return who.User == p.Hint }); i > 0 {
		p.People = slices.Concat(p.People[i:i+1], p.People[:i], p.People[i+1:])
	}
	if more := len(p.People) - mostButtons; more > 0 {
		p.People, p.More = p.People[:mostButtons], more
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		http.Error(w, "the page can not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+pageStyleHash+"'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// Initial is what stands in the circle beside a name.
func (p Person) Initial() string {
	for _, r := range p.Name {
		return string(r)
	}
	return "?"
}

const pageStyle = `
:root{color-scheme:light dark;--bg:#eef1f6;--card:#fff;--ink:#16202e;--soft:#4a5768;--line:#c3ccd9;--edge:#6b7a90;--accent:#1f4fa3;--on:#fff;--note:#fff3d6;--noteink:#4d3800;--noteline:#d9b65c}
@media (prefers-color-scheme:dark){:root{--bg:#10151d;--card:#1a212c;--ink:#e8edf5;--soft:#aeb9c9;--line:#3a4657;--edge:#8594aa;--accent:#9dbdff;--on:#0d1420;--note:#3a2f12;--noteink:#ffe3a1;--noteline:#8a6d24}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem 1rem;overflow-wrap:anywhere;background:var(--bg);color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{width:100%;max-width:27rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:2rem 1.75rem 1.5rem;box-shadow:0 .5rem 2rem rgb(10 20 40/.12)}
.demo{margin:0 0 1.5rem;padding:.5rem .75rem;border:1px solid var(--noteline);border-radius:.5rem;background:var(--note);color:var(--noteink);font-size:.875rem}
h1{margin:0;font-size:1.6rem;line-height:1.25}
.sub{margin:.25rem 0 1.5rem;color:var(--soft)}
form{display:grid;gap:.75rem;margin:0}
button{display:flex;align-items:center;gap:.9rem;width:100%;min-height:3rem;padding:.7rem .9rem;border:1px solid var(--edge);border-radius:.75rem;background:transparent;color:inherit;font:inherit;text-align:start;cursor:pointer}
button:hover{border-color:var(--accent);background:color-mix(in srgb,var(--accent) 8%,transparent)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.dot{flex:none;display:grid;place-items:center;width:2.5rem;height:2.5rem;border-radius:50%;background:var(--accent);color:var(--on);font-weight:600}
.who{display:grid}
.who small{color:var(--soft);font-size:.875rem}
.main{justify-content:center;background:var(--accent);border-color:var(--accent);color:var(--on);font-weight:600}
.main:hover{background:var(--accent);filter:brightness(1.08)}
.more{margin-top:1.5rem;padding-top:1.25rem;border-top:1px solid var(--line)}
input{width:100%;min-height:3rem;padding:.7rem .9rem;border:1px solid var(--edge);border-radius:.75rem;background:transparent;color:inherit;font:inherit}
input:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.quiet{justify-content:center;border-color:transparent;color:var(--soft)}
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.8125rem}
`

// pageTemplate and pageStyleHash are read only.
var (
	pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{if .Heading}}{{.Heading}}{{else if .Confirm}}Second factor{{else}}Sign in{{end}} – {{.Title}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<p class="demo"><strong>Demo identity provider.</strong>{{if or .People .Confirm}} There are no passwords: choose who you are.{{end}}</p>
<h1>{{if .Heading}}{{.Heading}}{{else}}{{.Title}}{{end}}</h1>
<p class="sub">{{if .Message}}{{.Message}}{{else if .Confirm}}{{.Confirm.Name}}, a second factor was asked for.{{else if .Client}}Sign in to continue to <strong>{{.Client}}</strong>{{else}}Sign in{{end}}</p>
{{- if .Action}}
<form method="post" action="{{.Action}}">
{{- range $name, $values := .Hidden}}{{range $values}}
<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
{{- if .Confirm}}
<button class="main" name="factor" value="yes">Confirm with your second factor</button>
<button class="quiet" name="cancel" value="yes">Cancel</button>
{{- else if .Continue}}
<button class="main">{{.Continue}}</button>
{{- else}}
{{- range .People}}
<button name="user" value="{{.User}}"><span class="dot" aria-hidden="true">{{.Initial}}</span><span class="who"><span>{{.Name}}</span><small>{{.User}}{{with .About}} · {{.}}{{end}}</small></span></button>
{{- end}}
<button class="quiet" name="cancel" value="yes">Cancel</button>
{{- end}}
</form>
{{- if .More}}
<form class="more" method="post" action="{{.Action}}">
{{- range $name, $values := .Hidden}}{{range $values}}
<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<label for="user">Or name one of {{.More}} others</label>
<input id="user" name="user" required autocomplete="username" autocapitalize="none" spellcheck="false">
<button class="main">Sign in</button>
</form>
{{- end}}
{{- end}}
<footer>{{.Title}}{{with .Protocol}} · {{.}}{{end}} · part of the Gatehouse demo</footer>
</main>
</body>
</html>
`))
	pageStyleHash = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	}()
)
