//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// client is a browser's network without the browser: cookies, redirects, every
// name on this machine, and this run's authority.
func (g *gate) client() *http.Client {
	jar, _ := cookiejar.New(nil) // can not fail without options
	tr := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: site.pool()},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr, Timeout: patience}
}

func body(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// visit opens an address as a browser does.
func visit(t testing.TB, c *http.Client, to string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, c, r)
}

func send(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body(t, resp))
}

// hidden fields and the action of a form.
var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	formAction  = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
)

// signIn opens an address and signs in at an OpenID provider of ours that is
// the only one. It returns where that ended.
func signIn(t testing.TB, c *http.Client, to, user string) (*http.Response, string) {
	t.Helper()
	resp, page := visit(t, c, to)
	action := formAction.FindStringSubmatch(page)
	if action == nil {
		t.Fatalf("%s: no form to sign in with:\n%s", resp.Request.URL, page)
	}
	at, err := resp.Request.URL.Parse(html.UnescapeString(action[1]))
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"user": {user}}
	for _, f := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(f[1], html.UnescapeString(f[2]))
	}
	r, err := http.NewRequest(http.MethodPost, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, c, r)
}
