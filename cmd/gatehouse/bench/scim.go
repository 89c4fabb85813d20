package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// scimPlan says how much of SCIM is measured.
type scimPlan struct {
	program string
	scratch string // a folder where a store is filled; empty: where it stays
	peers   string // the folder with npm's modules; empty: nothing is compared
	sizes   []int  // of the directory, in users
	members []int  // of groups, as far as there are users
	rounds  int
}

// patience is how long one answer may take, and about how long the rounds of one
// thing may that one side is asked for.
const patience = 2 * time.Minute

// outside are users who are in no group at first, to come into each.
const outside = 2000

// groups are the sizes of those that a directory has users for.
func (plan scimPlan) groups(size int) []int {
	return slices.DeleteFunc(slices.Clone(plan.members), func(n int) bool { return n > size-outside })
}

const scimToken = "bench-token"

// A provider is a SCIM server that is measured.
type provider struct {
	name   string
	base   string // of SCIM
	pid    int
	groups map[int]string // IDs by size
	ids    []string       // of users, by their number
	http   *http.Client
}

// A task is something that a provider is asked for.
type task struct {
	name  string
	n     [2]int // requests a round, of ours and of what is compared
	do    func(p *provider, round, i int) error
	check func(p *provider, round, n int) error // nil: do has seen all
}

// An asked provider is one of a task, and what that took of it.
type asked struct {
	*provider
	n      int // requests a round
	walls  []float64
	cpus   []float64
	spent  time.Duration
	silent bool // it did not answer; what it does about that still goes on
}

// measure asks for a task once in a round, and keeps what it took, unless that is to
// warm up. After more than its share of time a side is asked no more.
func (s *asked) measure(tk task, round int, warm bool) error {
	if s.silent || s.spent > patience && len(s.walls) > 0 {
		return nil
	}
	before, began := cpu(s.pid), time.Now()
	took := make([]float64, 0, s.n)
	for i := range s.n {
		at := time.Now()
		if err := tk.do(s.provider, round, i); err != nil {
			return s.failed(tk, err)
		}
		took = append(took, float64(time.Since(at).Nanoseconds())/1000)
	}
	cpus := micros(cpu(s.pid)-before, s.n)
	s.spent += time.Since(began)
	if tk.check != nil {
		if err := tk.check(s.provider, round, s.n); err != nil {
			return s.failed(tk, err)
		}
	}
	if !warm || s.spent > patience {
		s.walls, s.cpus = append(s.walls, median(took)), append(s.cpus, cpus)
	}
	return nil
}

// failed notes that there was no answer in time; any other error is one.
func (s *asked) failed(tk task, err error) error {
	if late := (net.Error)(nil); errors.As(err, &late) && late.Timeout() {
		s.silent = true
		return nil
	}
	return fmt.Errorf("%s of %s: %w", tk.name, s.name, err)
}

// print writes a line of the table; ours is what it is a ratio of.
func (s *asked) print(tk task, ours *asked) {
	if s.silent {
		fmt.Printf("%-24s %-16s no answer within %v\n", tk.name, s.name, patience)
		return
	}
	fmt.Printf("%-24s %-16s %12.0f %14.0f %9.2f×\n", tk.name, s.name, median(s.walls), median(s.cpus), median(s.walls)/median(ours.walls))
}

// person is the message that makes the user of a number.
func person(i int) string {
	return fmt.Sprintf(`{"schemas":["%s","%s"],"userName":"u%[3]d@bench.example","externalId":"e%[3]d","active":true,"displayName":"Person %[3]d","name":{"givenName":"Person","familyName":"Number %[3]d"},"emails":[{"value":"u%[3]d@bench.example","type":"work","primary":true}],"%[2]s":{"department":"IT"}}`,
		scim.UserURN, scim.EnterpriseUserURN, i)
}

// measureSCIM measures each size of the directory: what a client asks for, one
// request after the other, and how many users can be created by several at a
// time. What is compared keeps its users in memory and on no disk.
func measureSCIM(ctx context.Context, plan scimPlan) error {
	for _, size := range plan.sizes {
		if err := plan.measure(ctx, size); err != nil {
			return err
		}
	}
	return nil
}

func (plan scimPlan) measure(ctx context.Context, size int) (err error) {
	fmt.Printf("\nSCIM, %d users, one request after the other, medians of %d rounds\n\n", size, plan.rounds)
	gate, stop, err := plan.gatehouse(ctx, size)
	if err != nil {
		return err
	}
	defer stop()
	sides := []*provider{gate}
	switch {
	case plan.peers == "":
		fmt.Print("(npm's scimmy-routers is not there to compare with: -peers FOLDER, which `make e2e` fills)\n\n")
	case size > 20_000:
		fmt.Print("(npm's scimmy-routers tries every user for each filter: it is compared at the smaller size)\n\n")
	default:
		peer, stop, err := plan.scimmy(ctx, size)
		if err != nil {
			return err
		}
		defer stop()
		sides = append(sides, peer)
	}

	fresh := 1_000_000_000
	tasks := []task{
		{"read by id", [2]int{5000, 500}, func(p *provider, _, _ int) error {
			i := rand.IntN(size)
			return p.one("GET", "/Users/"+p.ids[i], "", 200, func(o *scim.Object) bool { return o.String("userName") == fmt.Sprintf("u%d@bench.example", i) })
		}, nil},
		{"userName eq", [2]int{5000, 10}, func(p *provider, _, _ int) error {
			i := rand.IntN(size)
			return p.one("GET", "/Users?"+url.Values{"filter": {fmt.Sprintf(`userName eq "u%d@bench.example"`, i)}}.Encode(), "", 200, func(o *scim.Object) bool {
				list := o.List("Resources")
				return len(list) == 1 && list[0].(*scim.Object).String("id") == p.ids[i]
			})
		}, nil},
		{"page of 100", [2]int{200, 1}, func(p *provider, _, _ int) error {
			// By POST, since scimmy-routers 1.3 does not read count from an address.
			return p.one("POST", "/Users/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"startIndex":1,"count":100}`, 200, func(o *scim.Object) bool { return len(o.List("Resources")) == 100 })
		}, nil},
		{"create", [2]int{500, 200}, func(p *provider, round, i int) error {
			fresh++
			name := fmt.Sprintf("u%d@bench.example", fresh)
			return p.one("POST", "/Users", person(fresh), 201, func(o *scim.Object) bool { return o.String("userName") == name && o.String("id") != "" })
		}, nil},
	}
	for _, members := range plan.groups(size) {
		theirs := 1
		if members < 100 {
			theirs = 20
		}
		tasks = append(tasks, task{fmt.Sprint("member into ", members), [2]int{200, theirs}, func(p *provider, round, i int) error {
			return p.one("PATCH", "/Groups/"+p.groups[members], addMember(p.ids[size-1-round*200-i]), 0, nil)
		}, func(p *provider, round, n int) error { // each of them is in it
			for i := range n {
				id := p.ids[size-1-round*200-i]
				if err := p.one("GET", "/Groups?"+url.Values{"filter": {fmt.Sprintf(`members[value eq "%s"]`, id)}, "attributes": {"displayName"}}.Encode(), "", 200, func(o *scim.Object) bool {
					return slices.ContainsFunc(o.List("Resources"), func(v any) bool { return v.(*scim.Object).String("id") == p.groups[members] })
				}); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	fmt.Printf("%-24s %-16s %12s %14s %10s\n", "", "", "median µs", "CPU µs/request", "ratio")
	for _, tk := range tasks {
		now := make([]*asked, len(sides))
		for i, p := range sides {
			now[i] = &asked{provider: p, n: tk.n[i]}
		}
		for round := range plan.rounds + 1 {
			for _, s := range now {
				if err := s.measure(tk, round, round == 0); err != nil {
					return err
				}
			}
		}
		if now[0].silent {
			return fmt.Errorf("%s: no answer from %s", tk.name, now[0].name)
		}
		for i, s := range now {
			if s.print(tk, now[0]); s.silent { // nothing that it is asked now would be measured
				sides = sides[:i]
			}
		}
	}

	if err := plan.crowded(ctx, gate, size); err != nil {
		return err
	}

	fmt.Printf("\ncreations that are on disk when they are answered\n\n%-24s %14s %14s\n", "clients", "per second", "CPU µs/request")
	for _, clients := range []int{1, 16, 64} {
		var rates, cpus []float64
		for range plan.rounds {
			rate, spent, err := gate.creations(clients, &fresh)
			if err != nil {
				return fmt.Errorf("creations by %d clients: %w", clients, err)
			}
			rates, cpus = append(rates, rate), append(cpus, spent)
		}
		fmt.Printf("%-24d %14.0f %14.0f\n", clients, median(rates), median(cpus))
	}
	return nil
}

// crowded measures reads by 16 clients at a time, beside what net/http alone costs
// here: a process that waits for its next request spends more on waking up than on
// the request.
func (plan scimPlan) crowded(ctx context.Context, gate *provider, size int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	floor, err := startWith(ctx, measured, nil, self, "-role", "service")
	if err != nil {
		return err
	}
	defer func() { _ = floor.in.Close(); _ = floor.cmd.Wait() }()
	bare := &provider{name: "net/http", base: "http://" + floor.line, pid: floor.cmd.Process.Pid, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
	works := []struct {
		name string
		p    *provider
		do   func(i int) error
	}{
		{"net/http, 1 KiB, no more", bare, func(int) error { return bare.one("GET", "/1k", "", 200, nil) }},
		{"read by id", gate, func(i int) error {
			id := gate.ids[rand.IntN(size)]
			return gate.one("GET", "/Users/"+id, "", 200, has(i, func(o *scim.Object) bool { return o.String("id") == id }))
		}},
		{"userName eq", gate, func(i int) error {
			n := rand.IntN(size)
			return gate.one("GET", "/Users?"+url.Values{"filter": {fmt.Sprintf(`userName eq "u%d@bench.example"`, n)}}.Encode(), "", 200, has(i, func(o *scim.Object) bool {
				list := o.List("Resources")
				return len(list) == 1 && list[0].(*scim.Object).String("id") == gate.ids[n]
			}))
		}},
	}
	const requests, clients = 8000, 16
	rates, cpus := make([][]float64, len(works)), make([][]float64, len(works))
	for range plan.rounds {
		for w, work := range works {
			var next atomic.Int64
			var wg sync.WaitGroup
			errs := make([]error, clients)
			before, began := cpu(work.p.pid), time.Now()
			for c := range clients {
				wg.Go(func() {
					for i := next.Add(1); i <= requests && errs[c] == nil; i = next.Add(1) {
						errs[c] = work.do(int(i))
					}
				})
			}
			if wg.Wait(); errors.Join(errs...) != nil {
				return fmt.Errorf("%s by %d clients: %w", work.name, clients, errors.Join(errs...))
			}
			rates[w] = append(rates[w], requests/time.Since(began).Seconds())
			cpus[w] = append(cpus[w], micros(cpu(work.p.pid)-before, requests))
		}
	}
	fmt.Printf("\n%d clients at a time\n\n%-28s %14s %16s %10s\n", clients, "", "per second", "CPU µs/request", "ratio")
	for w, work := range works {
		fmt.Printf("%-28s %14.0f %16.1f %9.2f×\n", work.name, median(rates[w]), median(cpus[w]), median(cpus[w])/median(cpus[0]))
	}
	return nil
}

// has checks what is in one of a hundred answers, so that the load stays lighter than
// what it loads; of the others the status is checked.
func has(i int, good func(*scim.Object) bool) func(*scim.Object) bool {
	if i%100 != 0 {
		return nil
	}
	return good
}

func addMember(id string) string {
	return fmt.Sprintf(`{"schemas":["%s"],"Operations":[{"op":"add","path":"members","value":[{"value":"%s"}]}]}`, scim.PatchURN, id)
}

// creations makes 20 users for each client, and at least 200, and checks each answer.
func (p *provider) creations(clients int, fresh *int) (perSecond, cpuEach float64, err error) {
	n := max(200, 20*clients)
	first := *fresh + 1
	*fresh += n
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, clients)
	before, began := cpu(p.pid), time.Now()
	for c := range clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < n && errs[c] == nil; i = next.Add(1) - 1 {
				errs[c] = p.one("POST", "/Users", person(first+int(i)), 201, func(o *scim.Object) bool { return o.String("id") != "" })
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	return float64(n) / took.Seconds(), micros(cpu(p.pid)-before, n), errors.Join(errs...)
}

// one makes a request and checks the answer: its status (0: 200 or 204) and what is in it.
func (p *provider) one(method, path, body string, status int, good func(*scim.Object) bool) error {
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+scimToken)
	if body != "" {
		r.Header.Set("Content-Type", scim.MediaType)
	}
	resp, err := p.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != status && (status != 0 || resp.StatusCode != 200 && resp.StatusCode != 204) {
		return fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, raw)
	}
	if good == nil {
		return nil
	}
	o, err := scim.Decode(raw)
	if err != nil {
		return err
	}
	if !good(o) {
		return fmt.Errorf("%s %s: %.300s", method, path, raw)
	}
	return nil
}

const scimConfig = `version: 1
server: { listen: "%[1]s", public_url: "http://localhost:%[2]s", admin_listen: "%[3]s" }
store: bolt:./gatehouse.db
limits: { requests_per_address: 1000000, sign_ins_per_person: 1000000 }
user_stores: [ { id: primary } ]
identity_providers:
  - { id: op, oidc: { issuer: "http://%[4]s", client_id: bench, client_secret: { file: secret } }, attributes: { mail: email }, provisioning: { mode: async, user_name: preferred_username } }
services: [ { id: app, host: app.localhost, upstream: "http://%[4]s", access: [ { id: all, allow: { signed_in: true } } ] } ]
clients: [ { id: bench, credentials: [ { bearer: { file: token } } ], groups: "*" } ]
outbound: { allow: [127.0.0.0/8] }
`

// gatehouse fills a store, without a gateway, and starts one over it.
func (plan scimPlan) gatehouse(ctx context.Context, size int) (p *provider, stop func(), err error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, nil, err
	}
	undo := func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			undo()
		}
	}()
	p = &provider{name: "gatehouse", http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
	if err := plan.filled(ctx, p, filepath.Join(dir, "gatehouse.db"), size); err != nil {
		return nil, nil, err
	}
	front, admin, err := twoPorts()
	if err != nil {
		return nil, nil, err
	}
	_, port, _ := net.SplitHostPort(front)
	for name, text := range map[string]string{"gatehouse.yaml": fmt.Sprintf(scimConfig, front, port, admin, "127.0.0.1:9"), "secret": "x", "token": scimToken} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, nil, err
		}
	}
	cmd := pinned(ctx, measured, plan.program, "run", "-c", filepath.Join(dir, "gatehouse.yaml"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	undo = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it ends by a signal
		_ = os.RemoveAll(dir)
	}
	p.pid = cmd.Process.Pid
	p.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, front)
	}
	p.base = "http://localhost:" + port + "/.gatehouse/scim/v2"
	for range 200 {
		if p.one("GET", "/Users?count=0", "", 200, func(*scim.Object) bool { return true }) == nil {
			return p, undo, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(filepath.Join(dir, "log"))
	return nil, nil, fmt.Errorf("the gateway did not start:\n%s", said)
}

// filled is a store with its users and its key. It can be filled where writing
// costs nothing, and then copied to where it is measured.
func (plan scimPlan) filled(ctx context.Context, p *provider, file string, size int) error {
	if _, err := store.SecretFile(file + ".key"); err != nil {
		return err
	}
	at := file
	if plan.scratch != "" {
		dir, err := os.MkdirTemp(plan.scratch, "gatehouse-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		at = filepath.Join(dir, "gatehouse.db")
	}
	began := time.Now()
	if err := p.fill(ctx, at, size, plan.groups(size)); err != nil {
		return err
	}
	if at != file {
		from, err := os.Open(at)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, from)
		if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
			return err
		}
	}
	fmt.Printf("(filled in %.0f s)\n\n", time.Since(began).Seconds())
	return nil
}

// fill makes the users and groups of these sizes, as the client would have.
func (p *provider) fill(ctx context.Context, file string, size int, groups []int) (err error) {
	st, err := boltstore.Open(file, boltstore.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := provisioning.Build(ctx, st, nil); err != nil {
		return err
	}
	by := provisioning.SourceClient("bench")
	d, err := provisioning.New(provisioning.Config{Store: st, UserStores: []string{"primary"}, Precedence: []provisioning.Source{by}})
	if err != nil {
		return err
	}
	p.ids = make([]string, size)
	const hands = 512 // they share transactions
	errs := make([]error, hands)
	var wg sync.WaitGroup
	for h := range hands {
		wg.Go(func() {
			for i := h; i < size && errs[h] == nil; i += hands {
				mail := fmt.Sprintf("u%d@bench.example", i)
				u := provisioning.User{Store: "primary", UserName: mail, ExternalID: fmt.Sprintf("e%d", i), Active: true}
				u.Say(by, "display_name", fmt.Sprintf("Person %d", i))
				u.Say(by, "given_name", "Person")
				u.Say(by, "family_name", fmt.Sprintf("Number %d", i))
				u.Say(by, "mail", mail)
				u.Say(by, "department", "IT")
				u.Say(by, provisioning.Kept, fmt.Sprintf(`{"externalId":"e%d","emails":[{"value":"%s","type":"work","primary":true}]}`, i, mail))
				if u, _, errs[h] = d.Create(ctx, u, by); errs[h] == nil {
					p.ids[i] = u.ID
				}
			}
		})
	}
	if wg.Wait(); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	p.groups = map[int]string{}
	for _, members := range groups {
		g, err := d.CreateGroup(ctx, provisioning.Group{Store: "primary", Name: fmt.Sprint("group-", members)}, by, provisioning.Move{Join: p.ids[:members]})
		if err == nil {
			err = d.Clear(ctx, g.ID)
		}
		if err != nil {
			return err
		}
		p.groups[members] = g.ID
	}
	return nil
}

//go:embed scimmy.mjs
var scimmyScript []byte

// scimmy starts npm's server with the same users and groups.
func (plan scimPlan) scimmy(ctx context.Context, size int) (*provider, func(), error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, nil, err
	}
	script := filepath.Join(dir, "scimmy.mjs")
	if err := errors.Join(os.WriteFile(script, scimmyScript, 0o600), os.Symlink(filepath.Join(plan.peers, "node_modules"), filepath.Join(dir, "node_modules"))); err != nil {
		return nil, nil, err
	}
	groups := map[int]string{}
	var members []string
	for _, n := range plan.groups(size) {
		groups[n] = fmt.Sprint("group-", n)
		members = append(members, fmt.Sprint(n))
	}
	c, err := startWith(ctx, measured, []string{"TOKEN=" + scimToken, fmt.Sprint("USERS=", size), "MEMBERS=" + strings.Join(members, ",")}, "node", script)
	if err != nil {
		return nil, nil, err
	}
	p := &provider{name: "scimmy-routers", base: "http://" + c.line + "/scim/v2", pid: c.cmd.Process.Pid, groups: groups, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}}
	for i := range size {
		p.ids = append(p.ids, fmt.Sprintf("id-%d", i))
	}
	return p, func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait(); _ = os.RemoveAll(dir) }, nil // it may be busy with what nobody waits for
}

// peersFolder is where `make e2e` keeps npm's modules, if it has been there.
func peersFolder() string {
	dir := os.Getenv("GATEHOUSE_E2E_CACHE")
	if dir == "" {
		if cache, err := os.UserCacheDir(); err == nil {
			dir = filepath.Join(cache, "gatehouse-e2e")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "scimmy-routers")); err != nil {
		return ""
	}
	if _, err := exec.LookPath("node"); err != nil {
		return ""
	}
	return dir
}
