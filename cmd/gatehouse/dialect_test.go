package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// curl carries out a line of a document as a shell would, at the port of this
// world: the shell says what its words are, and the request is made here.
func (w *world) curl(line string) (status int, body *scim.Object) {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "sh", "-c", `curl() { printf '%s\0' "$@"; }; `+line).Output()
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	r, err := http.NewRequest(http.MethodPost, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what curl says by itself
	words := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	next := func() string {
		word := words[0]
		words = words[1:]
		return word
	}
	for len(words) > 0 {
		switch word := next(); word {
		case "-k":
		case "--user":
			user, password, _ := strings.Cut(next(), ":")
			r.SetBasicAuth(user, password)
		case "-X":
			r.Method = next()
		case "-d", "--data":
			data := next()
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(data)), int64(len(data))
		case "-H":
			name, value, _ := strings.Cut(next(), ":")
			r.Header.Set(name, strings.TrimSpace(value))
		default:
			u, err := r.URL.Parse(strings.Replace(word, "localhost:8080", fmt.Sprintf("localhost:%d", w.port), 1))
			if err != nil {
				w.t.Fatal(err)
			}
			r.URL = u
		}
	}
	tr := localTransport()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if body, err = scim.Decode(raw); err != nil {
		w.t.Fatalf("%s: %v in %s", line, err, raw)
	}
	return resp.StatusCode, body
}

// wso2Calls are the two that the documents show, as they are written.
func wso2Calls(t *testing.T) (first, second string) {
	t.Helper()
	var lines []string
	for _, f := range fences(readDoc(t, "docs/how-to/wso2-clients.md")) {
		if f.kind == "sh" && strings.HasPrefix(f.body, "curl") {
			lines = strings.Split(strings.TrimSpace(f.body), "\n")
		}
	}
	if len(lines) != 2 {
		t.Fatalf("the calls are %q", lines)
	}
	return lines[0], lines[1]
}

func TestSC07SC20_CallsWrittenForWSO2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := wso2Calls(t)
	status, suresh := w.curl(first)
	ext := suresh.Sub(scim.EnterpriseUserURN)
	if status != http.StatusCreated || suresh.String("userName") != "SureshAtt" || ext.String("department") != "Intigration" || ext.Sub("manager").String("value") != "111000" ||
		suresh.Sub("name").String("familyName") != "SureshAtt" || !strings.Contains(string(suresh.AppendJSON(nil)), "Internal/everyone") || strings.Contains(string(suresh.AppendJSON(nil)), "Wso2@123") {
		t.Errorf("%d %s", status, suresh.AppendJSON(nil))
	}
	status, kim := w.curl(second)
	if status != http.StatusCreated || kim.String("userName") != "mysql/kim" || kim.Sub("name").String("familyName") != "kim" {
		t.Errorf("%d %s", status, kim.AppendJSON(nil))
	}
	u, err := w.p.site.Load().directory.User(t.Context(), kim.String("id"))
	if err != nil || u.Store != "mysql" || u.UserName != "kim" {
		t.Errorf("it is %+v, %v", u, err)
	}
	if status, again := w.curl(second); status != http.StatusConflict || again.String("scimType") != scim.Uniqueness {
		t.Errorf("again: %d %s", status, again.AppendJSON(nil))
	}

	// What was put right is seen, and nothing of a person with it.
	out := httptest.NewRecorder()
	newAPI(w.p, w.p.site.Load()).ServeHTTP(out, httptest.NewRequest("GET", "/v1/client/dialect?client=resident", nil))
	var habits []webapi.Habit
	if err := json.Unmarshal(out.Body.Bytes(), &habits); err != nil {
		t.Fatalf("%v in %s", err, out.Body)
	}
	counts := map[string]int{}
	for _, h := range habits {
		counts[h.Rule] = h.Count.Count
		if h.What == "" || h.Sample == "" || h.First.IsZero() {
			t.Errorf("a habit is %+v", h)
		}
	}
	if want := map[string]int{"schemas.missing": 3, "schema.short-name": 1, "manager.id": 1, "json.quotes": 2, "name.family": 3, "roles.everyone": 3}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("counted are %v, want %v", counts, want)
	}
	for _, secret := range []string{"Suresh", "111000", "Wso2@123", "kim"} {
		if strings.Contains(out.Body.String(), secret) {
			t.Errorf("%s is in %s", secret, out.Body.String())
		}
	}
	// hr speaks as the RFCs say, and nothing else is read for it.
	w.hr().do(400, "POST", "/Users", `{"schemas":[],"userName":"x"}`)
	w.hr().do(400, "POST", "/Users", `{"schemas":["`+scim.UserURN+`"],"userName":'x'}`)
}

func TestSC07_CallWrittenForWSO2WithoutItsStore(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(yaml string) string {
		return yaml + `clients: [ { id: resident, credentials: [ { basic: { user: admin, password: admin } } ], profile: wso2 } ]
`
	})
	first, second := wso2Calls(t)
	status, refused := l.curl(second)
	if status != http.StatusBadRequest || refused.String("scimType") != scim.InvalidValue || !strings.Contains(refused.String("detail"), "user store") {
		t.Errorf("%d %s", status, refused.AppendJSON(nil))
	}
	if status, made := l.curl(first); status != http.StatusCreated {
		t.Errorf("%d %s", status, made.AppendJSON(nil))
	}
	for u, err := range l.p.site.Load().directory.Users(t.Context(), "", 0) {
		if err != nil || u.UserName != "SureshAtt" {
			t.Errorf("there is %+v, %v", u, err)
		}
	}
}
