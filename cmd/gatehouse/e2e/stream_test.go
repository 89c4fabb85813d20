//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

func TestWebSocketAndServerSentEventsInTheBrowser(t *testing.T) {
	t.Parallel()
	s, p := newStaff(t, "20s"), newPerson(t, true)
	p.open(s.at("wiki", "/page"))
	p.press("Alice")
	p.sees("Service page")
	got := evaluate[string](p, `new Promise((resolve, reject) => {
		const ws = new WebSocket("ws://" + location.host + "/ws");
		ws.onopen = () => ws.send("good morning");
		ws.onmessage = m => { resolve(m.data); ws.close(); };
		ws.onerror = () => reject(new Error("the WebSocket broke"));
	})`, chromedp.EvalAwaitPromise)
	if want := "alice said good morning"; got != want {
		t.Errorf("the WebSocket said %q, want %q", got, want)
	}
	got = evaluate[string](p, `new Promise((resolve, reject) => {
		const es = new EventSource("/events"), all = [];
		es.onmessage = m => { all.push(m.data); if (all.length === 3) { es.close(); resolve(all.join(", ")); } };
		es.onerror = () => reject(new Error("the event stream broke"));
	})`, chromedp.EvalAwaitPromise)
	if want := "alice 1, alice 2, alice 3"; got != want {
		t.Errorf("the events are %q, want %q", got, want)
	}
	// Who is signed out hears no more.
	evaluate[int](p, `(() => {
		window.ended = false;
		const ws = new WebSocket("ws://" + location.host + "/ws");
		ws.onopen = () => { window.opened = true; };
		ws.onclose = () => { window.ended = true; };
		return 0;
	})()`)
	p.until("an open WebSocket", func(view) bool { return evaluate[bool](p, "window.opened === true") })
	s.verb(t, "sessions", "end", "--user", "alice")
	p.until("the end of the WebSocket", func(view) bool { return evaluate[bool](p, "window.ended") })
}

var residentNow = regexp.MustCompile(`Vm(RSS|HWM):\s+(\d+) kB`)

// memory is what the gateway holds now and held at most, in MiB.
func (g *gate) memory(t testing.TB) (now, most int) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range residentNow.FindAllStringSubmatch(string(raw), -1) {
		n, _ := strconv.Atoi(m[2]) // digits
		if m[1] == "RSS" {
			now = n >> 10
		} else {
			most = n >> 10
		}
	}
	return now, most
}

// secure is a gateway that speaks TLS, so HTTP/2, with a signed-in client.
func secure(t *testing.T) (*gate, *http.Client) {
	t.Helper()
	dir, port := t.TempDir(), porttest.Free(t, 2)
	site.issue(t, dir, "gate.test", "*.gate.test")
	_, issuer := campusOP(t, func(path string) string { return fmt.Sprintf("https://gate.test:%d%s", port, path) })
	write(t, dir, "secret", "e2e")
	g := &gate{scheme: "https", domain: "gate.test", port: port, config: write(t, dir, "gatehouse.yaml", fmt.Sprintf(`version: 1
server: { listen: "127.0.0.1:%d", public_url: "https://gate.test:%d", admin_listen: "127.0.0.1:%d", tls: { cert: cert.pem, key: key.pem } }
store: bolt:./gatehouse.db
outbound: { allow: [127.0.0.0/8] }
identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "%s", client_id: gatehouse, client_secret: { file: secret } }
    attributes: { mail: email }
    provisioning: { mode: async, user_name: preferred_username }
%s`, port, port, port+1, issuer, wikiService(t, "gate.test")))}
	g.restart(t)
	c := g.client()
	c.Timeout = 0 // a gibibyte takes its time
	resp, page := signIn(t, c, g.at("wiki", "/headers"), "alice")
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Fatalf("%s %s %s:\n%s", resp.Proto, resp.Request.URL, resp.Status, page)
	}
	return g, c
}

// A gibibyte goes up and comes down, over HTTP/2, and the gateway holds none of
// it.
func TestMuchGoesThroughAndNothingIsKept(t *testing.T) {
	t.Parallel()
	g, c := secure(t)
	before, _ := g.memory(t)
	const room = 64 // MiB
	fits := func(what string) {
		t.Helper()
		if _, most := g.memory(t); most > before+room {
			t.Errorf("after %s the gateway held up to %d MiB, %d at rest", what, most, before)
		}
	}

	r, err := http.NewRequest(http.MethodPut, g.at("wiki", "/upload"), io.LimitReader(zeros{}, gibibyte))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(body(t, resp)); got != fmt.Sprint(gibibyte) || resp.ProtoMajor != 2 {
		t.Errorf("the service took %q bytes by %s (%s)", got, resp.Proto, resp.Status)
	}
	fits("the upload")

	resp, err = c.Get(g.at("wiki", "/download"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if n != gibibyte || err != nil {
		t.Errorf("%d bytes came down: %v", n, err)
	}
	fits("the download")

	r, err = http.NewRequest(http.MethodGet, g.at("wiki", "/download"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=1000000000-1000000099")
	if resp, err = c.Do(r); err != nil {
		t.Fatal(err)
	}
	if raw := body(t, resp); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(raw, make([]byte, 100)) || resp.Header.Get("Content-Range") != fmt.Sprintf("bytes 1000000000-1000000099/%d", gibibyte) {
		t.Errorf("a range: %s %q, %d bytes", resp.Status, resp.Header.Get("Content-Range"), len(raw))
	}
	now, most := g.memory(t)
	t.Logf("resident: %d MiB at rest, %d after, %d at most", before, now, most)
}

// A stream that never ends has its beginning here at once.
func TestBytesArriveAsTheyAreSent(t *testing.T) {
	t.Parallel()
	g, c := secure(t)
	resp, err := c.Get(g.at("wiki", "/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("by %s", resp.Proto)
	}
	first := make([]byte, len("data: alice 1\n\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: alice 1\n\n" {
		t.Errorf("the first event is %q: %v", first, err)
	}
}

func TestACallWithoutASessionGetsAnAnswerInItsOwnTongue(t *testing.T) {
	t.Parallel()
	g, _ := secure(t)
	c := g.client()
	for _, call := range []struct {
		name, kind, accept string
		check              func(resp *http.Response, text string) bool
	}{
		{"gRPC", "application/grpc+proto", "", func(resp *http.Response, _ string) bool {
			return resp.StatusCode == 200 && (resp.Header.Get("Grpc-Status") == "16" || resp.Trailer.Get("Grpc-Status") == "16") && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc")
		}},
		{"JSON", "application/json", "application/json", func(resp *http.Response, text string) bool {
			return resp.StatusCode == 401 && resp.Header.Get("Content-Type") == "application/problem+json" && strings.Contains(text, `"session.required"`)
		}},
	} {
		r, err := http.NewRequest(http.MethodPost, g.at("wiki", "/pkg.Service/Method"), strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", call.kind)
		r.Header.Set("Te", "trailers")
		if call.accept != "" {
			r.Header.Set("Accept", call.accept)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(body(t, resp)); resp.ProtoMajor != 2 || !call.check(resp, text) {
			t.Errorf("%s: %s %s %v %v\n%s", call.name, resp.Proto, resp.Status, resp.Header, resp.Trailer, text)
		}
	}
}
