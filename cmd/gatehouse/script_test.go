package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// TestStories runs testdata/*.txtar: what people type, what they see, and the
// exit code. `gatehouse` is the real program, a process of its own. Beside it
// stand an OpenID provider at $CAMPUS and a service at $SERVICE.
//
//	render FILE…         puts the environment into files
//	exits CODE PROG …    runs a program that must end with this code
//	answers STATUS URL   waits until GET answers with this status
//	signin URL USER      signs in with a browser of its own, which must reach URL
//	logged FILE TEXT     waits until a file holds a text
//	signal NAME          signals the program in the background: HUP, TERM, INT
func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error { return setUpStory(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"render": renderFiles, "exits": exits, "answers": answers, "logged": logged, "signal": signalGateway,
			"signin": func(ts *testscript.TestScript, neg bool, args []string) { signInOnce(t, ts, neg, args) },
		},
	})
}

func setUpStory(t *testing.T, env *testscript.Env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, "gatehouse")); err != nil {
		return err
	}
	service := httptest.NewServer(&mirror{})
	h := &later{}
	campus := httptest.NewServer(h)
	env.Defer(service.Close)
	env.Defer(campus.Close)
	port := porttest.Free(t, 4)
	h.Handler = idptest.NewOP(idptest.OPConfig{
		Issuer: campus.URL, Title: "Campus", People: idptest.Campus(), Algorithm: "ES256",
		Clients: []idptest.OPClient{{ID: "gatehouse", Secret: "secret-of-campus", RedirectURIs: []string{fmt.Sprintf("http://localhost:%d/.gatehouse/oidc/campus/callback", port)}}},
	}).Handler()
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv(asProgram, "yes")
	env.Setenv("CAMPUS", campus.URL)
	env.Setenv("SERVICE", service.URL)
	env.Setenv("PORT", strconv.Itoa(port))
	env.Setenv("ADMIN_PORT", strconv.Itoa(port+1))
	return nil
}

func renderFiles(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROG …")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("it ended with %d, want %s", got, args[0])
	}
}

func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: answers STATUS URL")
	}
	tr := localTransport()
	defer tr.CloseIdleConnections()
	last := ""
	for range 3000 {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, args[1], nil)
		ts.Check(err)
		resp, err := tr.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
			if last = strconv.Itoa(resp.StatusCode); last == args[0] {
				return
			}
		} else {
			last = err.Error()
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s answers %s, not %s", args[1], last, args[0])
}

func logged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: logged FILE TEXT")
	}
	for range 3000 {
		if raw, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(raw), args[1]) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never said %q:\n%s", args[0], args[1], ts.ReadFile(args[0]))
}

func signInOnce(t *testing.T, ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signin URL USER")
	}
	p := (&world{t: t}).person()
	if p.open(args[0]).signIn("campus", args[1]); p.status != http.StatusOK || p.url.String() != args[0] {
		ts.Fatalf("%s came to %s: %d %s", args[1], p.url, p.status, p.body)
	}
}

func signalGateway(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	running := ts.BackgroundCmds()
	if neg || len(args) != 1 || signals[args[0]] == 0 || len(running) == 0 {
		ts.Fatalf("usage: signal HUP|TERM|INT, with a program in the background")
	}
	ts.Check(running[len(running)-1].Process.Signal(signals[args[0]]))
}
