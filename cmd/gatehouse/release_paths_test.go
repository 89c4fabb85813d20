package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// Whichever way somebody comes, what was published is in force on their next
// request: by the proxy, by a WebSocket, by another proxy that asks, and for a
// program with a token. Decisions that services ask for say nothing about people,
// before and after.
func TestAPublishedReleaseIsInForceOnEveryPath(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		s = strings.Replace(s, "\nstore: ", "\n  forward_auth: [ { id: front, kind: nginx, from: [127.0.0.1/32] } ]\nstore: ", 1)
		s = strings.Replace(s, "    access: [ { id: everyone, text: The wiki is for everyone who is signed in., allow: { signed_in: true } } ]\n",
			"    tokens: true\n    access:\n      - { id: everyone, allow: { signed_in: true } }\n      - { id: ci, allow: { callers: \"token:ci\" } }\n", 1)
		return strings.Replace(s, "    release: [ user_name, mail, display_name, groups ]\n", "    release: [ user_name, mail, display_name, groups ]\n    release_in: editor\n", 1)
	})
	var made, asks webapi.MadeServiceToken
	l.verb("POST", "tokens", url.Values{"name": {"ci"}, "service": {"wiki"}, "expires": {"1h"}}, &made)
	l.verb("POST", "tokens", url.Values{"name": {"asks"}, "ask": {"wiki"}, "expires": {"1h"}}, &asks)
	alice := l.in("campus", "alice")

	// told is what arrives of a request by each path, as headers.
	ask := func(to string, want int, lines ...string) (http.Header, string) {
		t.Helper()
		method, question, header := http.MethodGet, "", http.Header{}
		for _, line := range lines {
			if name, value, _ := strings.Cut(line, ": "); name == "Question" {
				method, question = http.MethodPost, value
			} else {
				header.Set(name, value)
			}
		}
		r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		c := &http.Client{Transport: localTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		if r.Header.Get("Authorization") == "" {
			c.Jar = alice.client.Jar
		}
		defer c.CloseIdleConnections()
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s: status %d", to, resp.StatusCode)
		}
		raw, _ := io.ReadAll(resp.Body)
		return resp.Header, string(raw)
	}
	mirrored := func(_ http.Header, body string) http.Header {
		var got struct{ Headers http.Header }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return got.Headers
	}
	paths := map[string]func() http.Header{
		"proxy": func() http.Header { return mirrored(ask(l.at("wiki", "/"), http.StatusOK)) },
		"websocket": func() http.Header {
			return mirrored(ask(l.at("wiki", "/socket"), http.StatusSwitchingProtocols, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: "+strings.TrimSuffix(l.at("wiki", "/"), "/")))
		},
		"forward-auth": func() http.Header {
			h, _ := ask(l.at("wiki", "/.gatehouse/verify"), http.StatusOK, "X-Original-Method: GET", "X-Original-URL: "+l.at("wiki", "/"), "X-Forwarded-For: 192.0.2.7")
			return h
		},
		"program": func() http.Header {
			return mirrored(ask(l.at("wiki", "/"), http.StatusOK, "Authorization: Bearer "+made.Text))
		},
	}
	decision := func() string {
		_, body := ask(l.at("", "/.gatehouse/access/v1/evaluation"), http.StatusOK, "Authorization: Bearer "+asks.Text, "Content-Type: application/json",
			`Question: {"subject":{"type":"user","id":"alice"},"action":{"name":"GET"},"resource":{"type":"service","id":"wiki"}}`)
		return body
	}
	check := func(when string, released bool) {
		t.Helper()
		for name, path := range paths {
			h := path()
			claims := tokenOf(t, h.Get("X-Gatehouse-Jwt"))
			_, inToken := claims["user_name"]
			if inHeader := h.Get("X-Forwarded-User") != ""; inHeader != released || inToken != released {
				t.Errorf("%s, by %s: the name is in the headers: %t, in the token: %t; want %t", when, name, inHeader, inToken, released)
			}
			if mail := h.Get("X-Forwarded-Email") != ""; mail != (released && name != "program") {
				t.Errorf("%s, by %s: the mail address is there: %t", when, name, mail)
			}
		}
		if body := decision(); !strings.Contains(body, `"decision":true`) || strings.Contains(body, "alice@campus.example") {
			t.Errorf("%s: the decision is %s", when, body)
		}
	}
	check("before", true)
	e := editor{t: t, w: l.world}
	for _, name := range []string{"mail", "user_name", "display_name"} {
		e.must("DELETE /v1/release/rule", url.Values{"to": {"service:wiki"}, "name": {name}, "revision": {e.revision()}}, nil)
	}
	check("with a draft", true)
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil)
	check("published", false)
	e.must("POST /v1/release/rollback", url.Values{"version": {"0"}}, nil)
	check("rolled back", true)
	for i := range 2 { // and again, so that nothing of the first time is remembered
		e.must("POST /v1/release/rollback", url.Values{"version": {fmt.Sprint(1 - i)}}, nil)
		check(fmt.Sprintf("version %d again", 1-i), i == 1)
	}
}
