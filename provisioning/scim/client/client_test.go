package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

func open(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL+"/scim/v2/", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer t") })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func failure(t *testing.T, err error) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *client.Error", err)
	}
	return e
}

func TestClientSpeaksWithTheServer(t *testing.T) {
	t.Parallel()
	s, err := server.New(server.Config{Base: "https://x.test/scim/v2", Authenticate: server.Bearer("t"), Resources: []server.Resource{{Type: scim.UserType(), Store: memstore.New(scim.UserType(), nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := open(t, s), t.Context()
	made, err := c.Create(ctx, "/Users", scim.NewObject("schemas", []any{scim.UserURN}, "userName", "a b+c/ü"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, "/Users", made.ID())
	if err != nil || !got.Equal(made) || got.Version() != `W/"1"` {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = c.Patch(ctx, "/Users", made.ID(), `W/"1"`, scim.Patch{Operations: []scim.Operation{{Op: "add", Path: "title", Value: "Dr"}}}); err != nil || got.String("title") != "Dr" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = c.Replace(ctx, "/Users", made.ID(), `W/"1"`, scim.NewObject("schemas", []any{scim.UserURN}, "userName", "x"))
	if e := failure(t, err); e.Status != 412 || e.Type != scim.InvalidVers || !e.SCIM || !e.OfOne {
		t.Errorf("%+v", e)
	}
	if _, err = c.Replace(ctx, "/Users", made.ID(), `W/"2"`, scim.NewObject("schemas", []any{scim.UserURN}, "userName", "a b+c/ü")); err != nil {
		t.Error(err)
	}
	p, err := c.List(ctx, "/Users", client.Query{Filter: scim.Compare{Path: scim.Path{Name: "userName"}, Op: scim.Eq, Value: "A B+C/Ü"}, Start: 1, Count: 3})
	if err != nil || p.Total != 1 || len(p.Resources) != 1 {
		t.Errorf("%v, %v", p, err)
	}
	if o, err := c.Config(ctx); err != nil || o.Sub("patch").Get("supported") != true {
		t.Errorf("%v, %v", o, err)
	}
	if err := c.Delete(ctx, "/Users", made.ID()); err != nil {
		t.Error(err)
	}
	if e := failure(t, c.Delete(ctx, "/Users", made.ID())); e.Status != 404 || !e.SCIM {
		t.Errorf("%+v", e)
	}
}

func TestB02_CredentialsGoNowhereElse(t *testing.T) {
	t.Parallel()
	visited := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		n := 0
		c := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n++
			http.SetCookie(w, &http.Cookie{Name: "c", Value: "1", Path: "/"})
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
		}))
		_, err := c.Get(t.Context(), "/Users", "1")
		if e := failure(t, err); e.Status != status || visited || n != 1 {
			t.Errorf("%d: %v, visited %v, asked %d times", status, err, visited, n)
		}
	}
}

func TestB08_IDsAreEscaped(t *testing.T) {
	t.Parallel()
	var asked []string
	c := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		w.WriteHeader(404)
	}))
	for _, id := range []string{"../../Users/1?x=", "a/b", "a%2Fb", "#", "a b", "\r\nX: y", "...", "ü"} {
		if _, err := c.Get(t.Context(), "/Users", id); failure(t, err).Status != 404 {
			t.Errorf("%q: %v", id, err)
		}
	}
	want := []string{"..%2F..%2FUsers%2F1%3Fx=", "a%2Fb", "a%252Fb", "%23", "a%20b", "%0D%0AX:%20y", "...", "%C3%BC"}
	for i := range want {
		want[i] = "/scim/v2/Users/" + want[i]
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Get(t.Context(), "/Users", id); !errors.Is(err, client.ErrID) || failure(t, err).Sent {
			t.Errorf("%q: %v", id, err)
		}
		if err := c.Delete(t.Context(), "/Users", id); !errors.Is(err, client.ErrID) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if len(asked) != len(want) {
		t.Errorf("an id that names another place was asked for: %q", asked[len(want):])
	}
}

func TestB07_AnswersAreBoundedAndJudged(t *testing.T) {
	t.Parallel()
	scimError := `{"schemas":["` + scim.ErrorURN + `"],"status":"404"}`
	for _, c := range []struct {
		name   string
		status int
		ct     string
		body   string
		want   client.Error
	}{
		{"SCIM by type", 404, scim.MediaType + "; charset=utf-8", `{}`, client.Error{Status: 404, SCIM: true}},
		{"SCIM by schema", 404, "application/json", scimError, client.Error{Status: 404, SCIM: true}},
		{"JSON of something else", 404, "application/json", `{"message":"no route"}`, client.Error{Status: 404}},
		{"SCIM's type and no JSON", 404, scim.MediaType, `oops`, client.Error{Status: 404}},
		{"nothing", 404, "", ``, client.Error{Status: 404}},
		{"a page", 404, "text/html", `<p>`, client.Error{Status: 404, HTML: true}},
		{"a scimType", 409, scim.MediaType, `{"scimType":"uniqueness"}`, client.Error{Status: 409, SCIM: true, Type: "uniqueness"}},
		{"a scimType of its own", 409, scim.MediaType, `{"scimType":"ana@x.test"}`, client.Error{Status: 409, SCIM: true}},
		{"a huge error", 500, scim.MediaType, strings.Repeat(" ", 2<<20), client.Error{Status: 500}},
		{"a huge success", 200, scim.MediaType, `{"id":"` + strings.Repeat("x", client.MaxAnswer) + `"}`, client.Error{Status: 200, Unreadable: true}},
		{"a page as success", 200, "text/html", `{"id":"1"}`, client.Error{Status: 200, HTML: true, Unreadable: true}},
		{"duplicate names", 200, scim.MediaType, `{"id":"1","ID":"2"}`, client.Error{Status: 200, Unreadable: true}},
		{"an empty success", 200, scim.MediaType, ``, client.Error{Status: 200, Unreadable: true}},
	} {
		cl := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.ct)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		_, err := cl.Get(t.Context(), "/Users", "1")
		got := *failure(t, err)
		if len(got.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes", c.name, len(got.Error()))
		}
		c.want.Op, c.want.OfOne, c.want.Sent, got.Err = "GET /Users/…", true, true, nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestB07_EndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 500} {
		body := &endless{}
		c, err := client.New("https://x.test", &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
		})}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Get(t.Context(), "/Users", "1"); err == nil || body.n > client.MaxAnswer+1 {
			t.Errorf("%d: %v after %d bytes", status, err, body.n)
		}
	}
}

// endless gives spaces; far beyond the limit it ends, so that a test that fails does so at all.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n > 8*client.MaxAnswer {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	e.n += len(p)
	return len(p), nil
}

func TestB07_RetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for header, want := range map[string]time.Duration{"": 0, "30": 30 * time.Second, " 30 ": 30 * time.Second, "-1": 0, "86401": day, "1000000000": day, "9999999999999999999999": day, "-9999999999999999999999": 0, "-13835058055": 0, "1.5": 0, "x": 0, "Sun, 06 Nov 1994 08:49:37 GMT": 0, "Fri, 31 Dec 9999 23:59:59 GMT": day} {
		c := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(429)
		}))
		if _, err := c.Config(t.Context()); failure(t, err).After != want {
			t.Errorf("%q: %v, want %v", header, failure(t, err).After, want)
		}
	}
}

// A transport that never answers, under a clock of its own.
func TestSilenceEndsAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		slow := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(drip{r.Context()}), Request: r}, nil
		})}
		for name, h := range map[string]*http.Client{"silent": silent, "slow": slow} {
			c, err := client.New("https://x.test", h, nil)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = c.Get(t.Context(), "/Users", "1")
			if e := failure(t, err); e.Status != 0 || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != client.Timeout {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// drip gives a byte a second.
type drip struct{ ctx context.Context }

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}

func TestWhatWasNeverSentIsNotAmbiguous(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close() // nobody listens there
	c, err := client.New(s.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Create(t.Context(), "/Users", scim.NewObject("userName", "a"))
	if e := failure(t, err); e.Sent || e.Status != 0 || strings.Contains(e.Error(), "http://") {
		t.Errorf("%+v: %v", e, err)
	}
	drop := open(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	_, err = drop.Create(t.Context(), "/Users", scim.NewObject("userName", "a"))
	if e := failure(t, err); !e.Sent || e.Status != 0 {
		t.Errorf("%+v: %v", e, err)
	}
}

func TestBadAddressIsRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "x.test", "//x.test", "file:///etc", "https://", "https://u@x.test", "https://x.test?a=1", "https://x.test#a", "https://x.test/%zz"} {
		if _, err := client.New(base, nil, nil); err == nil {
			t.Errorf("%q was taken", base)
		}
	}
}

func ExampleClient_List() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.URL.Query().Get("filter"))
		_, _ = io.WriteString(w, `{"totalResults":0,"Resources":[]}`)
	}))
	defer s.Close()
	c, err := client.New(s.URL, nil, nil)
	if err != nil {
		panic(err)
	}
	p, err := c.List(context.Background(), "/Users", client.Query{Filter: scim.Compare{Path: scim.Path{Name: "userName"}, Op: scim.Eq, Value: `O"Hara`}})
	fmt.Println(p.Total, err)
	// Output:
	// userName eq "O\"Hara"
	// 0 <nil>
}
