package external_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/external"
)

// TestMain is also the program that Exec starts: its arguments then are the word
// connector and a file with the accounts, or a way to misbehave.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "connector" {
		os.Exit(program(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

const secret = "a-secret-token"

// accounts are what a small other side holds.
type accounts struct {
	Last int
	All  []external.Account
}

// answer is the other side, as somebody could have written it.
func (h *accounts) answer(q external.Call) any {
	refuse := func(class string) any { return external.Answer{Error: &external.Failure{Class: class, Text: "no"}} }
	at := slices.IndexFunc(h.All, func(a external.Account) bool { return a.ID == q.ID })
	taken := func() bool {
		return slices.ContainsFunc(h.All, func(a external.Account) bool {
			return a.ID != q.ID && strings.EqualFold(a.UserName, q.Account.UserName)
		})
	}
	switch q.Op {
	case "test":
		return external.Answer{}
	case "get":
		if at < 0 {
			return external.Answer{}
		}
		return external.Answer{Account: &h.All[at]}
	case "find":
		found := []*external.Account{}
		for i, a := range h.All {
			if q.ExternalID != "" && a.ExternalID == q.ExternalID || q.UserName != "" && a.UserName == q.UserName {
				found = append(found, &h.All[i])
			}
		}
		return external.Answer{Accounts: found}
	case "create":
		if taken() {
			return refuse("conflict")
		}
		h.Last++
		a := *q.Account
		a.ID = strconv.Itoa(h.Last)
		h.All = append(h.All, a)
		return external.Answer{Account: &a}
	case "update":
		if at < 0 {
			return refuse("gone")
		}
		if taken() {
			return refuse("conflict")
		}
		a := &h.All[at]
		for _, name := range q.Changed {
			switch name {
			case "user_name":
				a.UserName = q.Account.UserName
			case "external_id":
				a.ExternalID = q.Account.ExternalID
			case "active":
				a.Active = q.Account.Active
			default:
				if a.Attributes == nil {
					a.Attributes = map[string][]string{}
				}
				a.Attributes[name] = q.Account.Attributes[name]
			}
		}
		return external.Answer{}
	case "delete":
		if at < 0 {
			return refuse("gone")
		}
		h.All = slices.Delete(h.All, at, at+1)
		return external.Answer{}
	case "list":
		from, _ := strconv.Atoi(q.Cursor)
		to := min(from+10, len(h.All))
		out := external.Answer{Accounts: []*external.Account{}}
		for i := from; i < to; i++ {
			out.Accounts = append(out.Accounts, &h.All[i])
		}
		if to < len(h.All) {
			out.Next = strconv.Itoa(to)
		}
		return out
	}
	return refuse("invalid")
}

func (h *accounts) held() (out []connector.Account) {
	for _, a := range h.All {
		out = append(out, connector.Account{ID: a.ID, ExternalID: a.ExternalID, UserName: a.UserName, Active: a.Active, Attributes: a.Attributes})
	}
	return out
}

// program answers one call, keeping the accounts in a file.
func program(file string) int {
	switch file {
	case "fail":
		return 3
	case "chatter":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 64<<10)); err != nil {
				return 1
			}
		}
	case "hang":
		fmt.Println(`{}`)
		select {}
	case "env":
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"error": map[string]any{"class": "invalid", "text": strings.Join(os.Environ(), " ")}})
		return 0
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 1
	}
	if err := lock(f); err != nil {
		return 1
	}
	var h accounts
	raw, _ := io.ReadAll(f)
	_ = json.Unmarshal(raw, &h)
	var q external.Call
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		return 2
	}
	out := h.answer(q)
	raw, _ = json.Marshal(h)
	if _, err := f.WriteAt(raw, 0); err != nil {
		return 1
	}
	_ = f.Truncate(int64(len(raw)))
	_ = json.NewEncoder(os.Stdout).Encode(out)
	return 0
}

func TestConnectorOverHTTP(t *testing.T) {
	connectortest.Test(t, func(t *testing.T) connectortest.Harness {
		var mu sync.Mutex
		var there accounts
		a := &connectortest.Awkward{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var q external.Call
				if r.Header.Get("Authorization") != "Bearer "+secret || json.NewDecoder(r.Body).Decode(&q) != nil || q.Protocol != external.Protocol {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(there.answer(q))
			}),
			Change: func(s connectortest.Seen) bool {
				var q external.Call
				return json.Unmarshal([]byte(s.Body), &q) != nil || q.Op == "create" || q.Op == "update" || q.Op == "delete"
			},
		}
		s := httptest.NewServer(a)
		t.Cleanup(s.Close)
		carrier, err := external.NewHTTP(s.URL+"/connector", s.Client(), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) })
		if err != nil {
			t.Fatal(err)
		}
		c := external.New(carrier)
		return connectortest.Harness{
			Connector: c, Mail: "mail", Title: "title", Awkward: a, Secret: secret,
			Held: func() []connector.Account { mu.Lock(); defer mu.Unlock(); return there.held() },
			Plant: func(a connector.Account) string {
				mu.Lock()
				defer mu.Unlock()
				there.Last++
				id := strconv.Itoa(there.Last)
				there.All = append(there.All, external.Account{ID: id, ExternalID: a.ExternalID, UserName: a.UserName, Active: a.Active, Attributes: a.Attributes})
				return id
			},
		}
	})
}

// run makes a carrier to this very program.
func run(t *testing.T, e external.Exec, what string) *external.Exec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.Program, e.Args = self, []string{"connector", what}
	c, err := external.NewExec(e, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is on the other side of the carrier is the same as over HTTP, and every
// call starts a process: some laws show that it carries, and with
// GATEHOUSE_FAULTS=1 all are tried.
func TestConnectorOverExec(t *testing.T) {
	t.Parallel()
	some := []string{"SecondCreationIsTheSameAccount", "WhatIsNotNamedStays", "TakenNameIsAConflict", "RemoveTwiceIsOnce", "CancelledContextEndsTheCall"}
	for _, l := range connectortest.Laws() {
		if l.OverHTTP || os.Getenv("GATEHOUSE_FAULTS") == "" && !slices.Contains(some, l.Name) {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			l.Run(t, overExec(t))
		})
	}
}

func overExec(t *testing.T) connectortest.Harness {
	file := filepath.Join(t.TempDir(), "accounts")
	c := external.New(run(t, external.Exec{}, file))
	return connectortest.Harness{
		Connector: c, Mail: "mail", Title: "title",
		Held: func() []connector.Account {
			var there accounts
			raw, err := os.ReadFile(file)
			if err == nil && len(raw) > 0 {
				err = json.Unmarshal(raw, &there)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return there.held()
		},
		Plant: func(a connector.Account) string {
			id, err := c.Sync(context.Background(), a, "")
			if err != nil {
				t.Fatal(err)
			}
			return id
		},
	}
}

func failure(t *testing.T, err error) *connector.Error {
	t.Helper()
	var e *connector.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *connector.Error", err)
	}
	return e
}

func TestProgramThatMisbehavesIsEndedAndJudged(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]connector.Error{
		"fail":    {Class: connector.Transient, Ambiguous: true},
		"chatter": {Class: connector.Route, Ambiguous: true},
		"hang":    {Class: connector.Transient, Ambiguous: true},
	} {
		timeout := 20 * time.Second
		if what == "hang" {
			timeout = 300 * time.Millisecond
		}
		c := external.New(run(t, external.Exec{Timeout: timeout}, what))
		_, err := c.Sync(t.Context(), connector.Account{UserName: "ana"}, "")
		if e := failure(t, err); e.Class != want.Class || e.Ambiguous != want.Ambiguous {
			t.Errorf("%s: %v (ambiguous %v), want %v (ambiguous %v)", what, e, e.Ambiguous, want.Class, want.Ambiguous)
		}
		// A question that changes nothing is never ambiguous.
		_, err = c.Find(t.Context(), connector.Account{UserName: "ana"})
		if e := failure(t, err); e.Class != want.Class || e.Ambiguous {
			t.Errorf("%s when finding: %v (ambiguous %v)", what, e, e.Ambiguous)
		}
	}
	missing, err := external.NewExec(external.Exec{Program: "/nowhere/at/all"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e := failure(t, external.New(missing).Test(t.Context())); e.Class != connector.Route || strings.Contains(e.Error(), "nowhere") {
		t.Errorf("a program that is not there: %v", e)
	}
	if _, err := external.NewExec(external.Exec{Program: "connector"}, 0); err == nil {
		t.Error("a program was taken that PATH would have to find")
	}
}

// A shell starts a child and both hang: when time is up, neither is left; nor is
// the child that went into a session of its own.
func TestWhatAProgramStartedEndsWithIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks for processes under /proc")
	}
	for _, start := range []string{"", "setsid "} {
		t.Run(start+"sleep", func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(strings.TrimSpace(cmp.Or(start, "sh"))); err != nil {
				t.Skip(err)
			}
			endsWithIt(t, start)
		})
	}
}

func endsWithIt(t *testing.T, start string) {
	t.Helper()
	dir := t.TempDir()
	script, pid := filepath.Join(dir, "c"), filepath.Join(dir, "pid")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+start+"sleep 600 >/dev/null 2>&1 </dev/null & echo $! >"+pid+"\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := external.NewExec(external.Exec{Program: script, Timeout: 5 * time.Minute}, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- external.New(e).Test(ctx) }()
	var child string // its number, when the program got as far as that
	for !strings.HasSuffix(child, "\n") {
		select {
		case err := <-ended:
			t.Fatalf("the program ended by itself: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		raw, _ := os.ReadFile(pid)
		child = string(raw)
	}
	end()
	failure(t, <-ended)
	child = strings.TrimSpace(child)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return // gone, or dead and waiting for whoever inherited it
		}
		if time.Now().After(end) {
			t.Fatalf("the child %s is still there: %s", child, stat)
		}
	}
}

func TestProgramHasAnEnvironmentOfItsOwn(t *testing.T) {
	t.Setenv("GATEHOUSE_STORE_KEY", "must-not-be-seen")
	c := external.New(run(t, external.Exec{Env: []string{"TOKEN=given"}}, "env"))
	text := failure(t, c.Test(t.Context())).Text
	text = regexp.MustCompile(external.Mark+`=\w{26} `).ReplaceAllString(text, external.Mark+"=one ")
	if want := "test: PATH=" + external.Path + " LANG=C.UTF-8 TZ=UTC " + external.Mark + "=one TOKEN=…"; text != want {
		t.Errorf("its environment is %q, want %q", text, want)
	}
}

// B12: what the other side says of a call tells our credentials to nobody, in
// whatever form they went out, also where a transport added them.
func TestB12_AnswersTellNoCredentialOfOurs(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		text := fmt.Sprint("do not know ", r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), " of ", user, " with ", password)
		_ = json.NewEncoder(w).Encode(external.Answer{Error: &external.Failure{Class: "auth", Text: text}})
	}))
	t.Cleanup(s.Close)
	for name, c := range map[string]struct {
		auth func(*http.Request)
		tr   http.RoundTripper
		want string
	}{
		"nothing":   {nil, http.DefaultTransport, "test: do not know  of  with "},
		"bearer":    {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, http.DefaultTransport, "test: do not know … of  with "},
		"basic":     {func(r *http.Request) { r.SetBasicAuth("gatehouse", secret) }, http.DefaultTransport, "test: do not know … of gatehouse with …"},
		"key":       {func(r *http.Request) { r.Header.Set("x-api-key", secret) }, http.DefaultTransport, "test: do not know … of  with "},
		"transport": {nil, adding{}, "test: do not know … of  with "},
	} {
		carrier, err := external.NewHTTP(s.URL, &http.Client{Transport: c.tr}, c.auth)
		if err != nil {
			t.Fatal(err)
		}
		if e := failure(t, external.New(carrier).Test(t.Context())); e.Class != connector.Auth || strings.TrimSpace(e.Text) != strings.TrimSpace(c.want) {
			t.Errorf("%s: %q, want %q", name, e.Text, c.want)
		}
	}
}

// adding is a transport that adds credentials, as one of OAuth does.
type adding struct{}

func (adding) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+secret)
	return http.DefaultTransport.RoundTrip(r)
}

// fixed is a carrier whose answer is always the same.
type fixed string

func (f fixed) Carry(context.Context, []byte) ([]byte, error) { return []byte(f), nil }

func TestB07_AnswersOfTheOtherSideAreJudged(t *testing.T) {
	t.Parallel()
	ana := connector.Account{ExternalID: "0199-ana", UserName: "ana@x.test", Attributes: map[string][]string{"title": {"Queen of Spades"}}}
	for answer, want := range map[string]connector.Error{
		`{"error":{"class":"transient","text":"busy","after":7}}`:               {Class: connector.Transient, After: 7 * time.Second, Text: "find: busy"},
		`{"error":{"class":"transient","after":1e300}}`:                         {Class: connector.Transient, After: external.MaxAfter, Text: "find"},
		`{"error":{"class":"transient","after":-5,"ambiguous":true}}`:           {Class: connector.Transient, Text: "find"},
		`{"error":{"class":"auth"}}`:                                            {Class: connector.Auth, Text: "find"},
		`{"error":{"class":"conflict","text":"ana@x.test has it (0199-ana)"}}`:  {Class: connector.Conflict, Text: "find: … has it (…)"},
		`{"error":{"class":"invalid","text":"no Queen of Spades\n\u001b[31m"}}`: {Class: connector.Invalid, Text: "find: no …  [31m"},
		`{"error":{"class":"whatever"}}`:                                        {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		`{"error":{}}`:                                                          {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		``:                                                                      {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		`[]`:                                                                    {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		`{"accounts":"many"}`:                                                   {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		`{"accounts":[]} {"accounts":[]}`:                                       {Class: connector.Route, Text: "find: the answer is not that of a connector"},
		`{"accounts":[{"id":"","external_id":"0199-ana"}]}`:                     {Class: connector.Route, Text: "the answer has an account without an id"},
		`{"accounts":[null]}`:                                                   {Class: connector.Route, Text: "the answer has an account without an id"},
		`{"accounts":[{"id":"1","external_id":"somebody"}]}`:                    {Class: connector.Route, Text: "find: the answer is an account that was not searched for"},
		`{"accounts":[` + strings.Repeat(`{"id":"1"},`, 20) + `{"id":"1"}]}`:                     {Class: connector.Route, Text: "find: the answer is 21 accounts: it does not search"},
		`{"accounts":[{"id":"1","external_id":"0199-ana"},{"id":"2","external_id":"0199-ana"}]}`: {Class: connector.Conflict, Text: "find: 2 accounts have the external ID of this user"},
	} {
		_, err := external.New(fixed(answer)).Sync(t.Context(), ana, "")
		if e := failure(t, err); e.Class != want.Class || e.After != want.After || e.Text != want.Text || e.Ambiguous {
			t.Errorf("%s: %v, after %v (ambiguous %v), want %v: %s, after %v", answer, e, e.After, e.Ambiguous, want.Class, want.Text, want.After)
		}
	}
	for answer, want := range map[string]string{
		`{}`:                                   "list: the answer has no accounts, not even an empty list",
		`{"accounts":[{"id":"1"},{"id":"1"}]}`: "list: an account is there twice, or has no id",
		`{"accounts":[],"next":"x"}`:           "list: the same cursor comes again",
	} {
		var last error
		for _, last = range external.New(fixed(answer)).Accounts(t.Context()) {
		}
		if e := failure(t, last); e.Class != connector.Route || e.Text != want {
			t.Errorf("%s when listing: %v, want %s", answer, last, want)
		}
	}
	for range external.New(fixed(`{"accounts":[]}`)).Accounts(t.Context()) {
		t.Error("an empty list has something in it")
	}
}

// B12, C23: a target that repeats a value in letters of another case tells it all
// the same.
func TestB12_AnErrorTellsNoValueInWhateverCase(t *testing.T) {
	t.Parallel()
	ana := connector.Account{ExternalID: "0199-ana", UserName: "Ana@X.test", Attributes: map[string][]string{"title": {"Queen of Spades"}}}
	_, err := external.New(fixed(`{"error":{"class":"conflict","text":"the name ana@x.test of the QUEEN OF SPADES is taken"}}`)).Sync(t.Context(), ana, "")
	if e := failure(t, err); e.Class != connector.Conflict || e.Text != "find: the name … of the … is taken" {
		t.Errorf("%v", e)
	}
}
