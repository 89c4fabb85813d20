package connector_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

func TestNamesStayAndValuesGo(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`{"userName":"ana","emails":[{"value":"ana@x.test","type":"work"}],"active":true,"n":7,"none":null}`:                             `{userName emails[{value type}] active n none}`,
		`{"Operations":[{"op":"replace","path":"emails[type eq \"work\"].value","value":"secret"},{"op":"add","value":{"title":"Dr"}}]}`: `{Operations[{op=replace path=emails[type eq "…"].value value} {op=add value{title}}]}`,
		`"just a secret"`:            ``,
		`<html>secret</html>`:        ``,
		`{"a":{"b":{"c":["x","y"]}}`: `{a{b{c[]}}`,
		`]`:                          ``,
		``:                           ``,
	} {
		if got := connector.Names([]byte(doc)); got != want {
			t.Errorf("%s\n got %s\nwant %s", doc, got, want)
		}
	}
	if got := connector.Names([]byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)); got != "{a}" {
		t.Errorf("a long value: %.40q", got)
	}
	if got := connector.Names([]byte(strings.Repeat(`{"abcdefgh":`, 1<<12))); len(got) > 600 {
		t.Errorf("deep nonsense is kept in %d bytes", len(got))
	}
}

func TestACallIsKeptWithoutItsValues(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"4711","userName":"ana"}`)
	}))
	defer srv.Close()
	var tr connector.Trace
	c := http.Client{Transport: connector.Traced(srv.Client().Transport)}
	r, err := http.NewRequestWithContext(connector.WithTrace(t.Context(), &tr), http.MethodPost, srv.URL+"/scim/v2/Users/0199a7c1-0001-7000/ana%20b?filter=userName+eq+%22ana%22&count=2", strings.NewReader(`{"userName":"ana","password":"secret"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer a-token")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != `{"id":"4711","userName":"ana"}` {
		t.Errorf("the answer became %s", b)
	}
	resp.Body.Close()
	calls := tr.Calls()
	if len(calls) != 1 {
		t.Fatalf("calls %+v", calls)
	}
	got := calls[0]
	if got.Method != "POST" || got.Path != "/scim/v2/Users/…/…?filter&count" || got.Status != 201 || got.Sent != "{userName password}" || got.Got != "{id userName}" {
		t.Errorf("kept is %+v", got)
	}
	raw, _ := json.Marshal(calls)
	for _, value := range []string{"ana", "secret", "4711", "token", "0199"} {
		if strings.Contains(string(raw), value) {
			t.Errorf("kept is %q: %s", value, raw)
		}
	}
	// Without a trace nothing is kept and nothing is different.
	if resp, err = c.Get(srv.URL); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for range 20 {
		r, _ := http.NewRequestWithContext(connector.WithTrace(t.Context(), &tr), http.MethodGet, srv.URL, nil)
		if resp, err = c.Do(r); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n := len(tr.Calls()); n != 8 {
		t.Errorf("%d calls are kept", n)
	}
}

// B12, C23: what a target says back of a request is in no record: neither under a
// name that means something in a request, nor as a name.
func TestB12_AnEchoInAnAnswerIsNotKept(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": 404, "path": "/Users/ana@x.test", "op": auth, auth: 1, "zoe@x.test": map[string]any{"path": []string{"/home/ana"}}})
	}))
	defer srv.Close()
	var tr connector.Trace
	c := http.Client{Transport: connector.Traced(http.DefaultTransport)}
	r, err := http.NewRequestWithContext(connector.WithTrace(t.Context(), &tr), http.MethodPost, srv.URL, strings.NewReader(`{"op":"find","attributes":{"path":["/home/ana"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer s3cr3t")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	calls := tr.Calls()
	if len(calls) != 1 || calls[0].Sent != "{op=find attributes{path[]}}" || calls[0].Got != "{… op path status …{path[]}}" {
		t.Errorf("kept is %+v", calls)
	}
}
