package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/external"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
)

// example is the path of a program of docs/examples, which the machine must be
// able to run.
func example(t *testing.T, name string, needs ...string) string {
	t.Helper()
	for _, n := range needs {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("this machine has no %s; the end-to-end tests install it", n)
		}
	}
	path, err := filepath.Abs(filepath.Join(repository, "docs", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// broken copies a program with one thing in it changed.
func broken(t *testing.T, path, old, with string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s does not have %q: %v", path, old, err)
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(out, []byte(strings.Replace(string(text), old, with, 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	return out
}

// conform tries a connector and returns what is printed and the error.
func conform(t *testing.T, c conformance) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c.out, c.messages, c.timeout, c.mail, c.title = &out, &out, 30*time.Second, "mail", "title"
	carrier, err := c.carrier()
	if err != nil {
		t.Fatal(err)
	}
	err = c.run(t.Context(), external.New(carrier))
	return out.String(), err
}

// All laws take a process for each call; with GATEHOUSE_FAULTS=1 they are all
// tried, otherwise those that show most.
func TestExamplesKeepTheLawsOfConnectors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		needs []string
		state string
	}{
		"connector.py": {[]string{"python3"}, "accounts.db"},
		"connector.sh": {[]string{"jq", "flock"}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			laws := []string{"SecondCreation", "WhatIsNotNamed", "TakenName"}
			if os.Getenv("GATEHOUSE_FAULTS") != "" {
				laws = []string{""}
			}
			program := example(t, name, c.needs...)
			for _, law := range laws {
				out, err := conform(t, conformance{program: program, args: []string{filepath.Join(t.TempDir(), c.state)}, only: law})
				if err != nil || !strings.Contains(out, " 0 broken\n") || strings.Count(out, "ok ") < 1 || law == "" && strings.Count(out, "ok ") < 18 {
					t.Errorf("%v\n%s", err, out)
				}
			}
		})
	}
}

// Over HTTP all laws cost little.
func TestExampleServesOverHTTP(t *testing.T) {
	t.Parallel()
	program := example(t, "connector.py", "python3")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, program, filepath.Join(t.TempDir(), "accounts.db"), "--http", fmt.Sprint(port))
	cmd.Env = append(os.Environ(), "CONNECTOR_TOKEN=a-token")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	address := fmt.Sprintf("http://127.0.0.1:%d/", port)
	if out, err := conform(t, conformance{url: address}); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without the token: %v\n%s", err, out)
	}
	c := conformance{url: address}
	var out bytes.Buffer
	c.out, c.mail, c.title = &out, "mail", "title"
	carrier, err := external.NewHTTP(address, nil, scim2.Bearer("a-token"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.run(t.Context(), external.New(carrier)); err != nil || !strings.Contains(out.String(), " 0 broken\n") || strings.Count(out.String(), "ok ") < 18 {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// What a connector does wrong is said by the law that it breaks.
func TestConformanceFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for law, c := range map[string]struct{ old, with string }{
		"what is not named stays":               {`there["attributes"][name] = a["attributes"][name]`, `there["attributes"] = a["attributes"]`},
		"taken name is a conflict":              {`user_name text unique`, `user_name text`},
		"sync of what is gone says so":          {`return found[0] if found else None`, `return found[0] if found else {"id": id, "user_name": "x", "active": False, "attributes": {}}`},
		"find sees by external ID then by name": {`by = "external_id" if "external_id" in call else "user_name"`, `by = "user_name"; call.setdefault("user_name", "")`},
		"accounts yields each once":             {`order by id limit 100`, `order by id limit 10`},
	} {
		t.Run(law, func(t *testing.T) {
			t.Parallel()
			program := broken(t, example(t, "connector.py", "python3"), c.old, c.with)
			out, err := conform(t, conformance{program: program, args: []string{filepath.Join(t.TempDir(), "a.db")}, only: lawNamed(law)})
			if !errors.Is(err, errSaid) || !strings.Contains(out, "broken  "+law) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestConformanceEmptiesNothingThatWasThere(t *testing.T) {
	t.Parallel()
	program, state := example(t, "connector.py", "python3"), filepath.Join(t.TempDir(), "a.db")
	carrier, err := external.NewExec(external.Exec{Program: program, Args: []string{state}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := external.New(carrier)
	if _, err := c.Sync(t.Context(), connector.Account{ExternalID: "0199", UserName: "somebody"}, ""); err != nil {
		t.Fatal(err)
	}
	_, err = conform(t, conformance{program: program, args: []string{state}})
	if err == nil || !strings.Contains(err.Error(), "it holds 1 account") {
		t.Errorf("got %v", err)
	}
	if list, err := accountsOf(t.Context(), c); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// lawNamed is the name of the law that reads so.
func lawNamed(text string) string {
	for _, l := range connectortest.Laws() {
		if sentence(l.Name) == text {
			return l.Name
		}
	}
	return "there is no law: " + text
}
