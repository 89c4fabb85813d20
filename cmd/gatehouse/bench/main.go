// Command bench measures what a gateway costs: an authenticated request beside
// a bare httputil.ReverseProxy, nginx and Apache with the modules that sign people
// in, a sign-in at both kinds of identity provider, and
// what SCIM clients ask for beside npm's scimmy-routers.
//
// The gateway, the bare proxy and the service behind them are processes of
// their own, so that their CPU time can be read from the operating system
// (/proc, Linux) and nobody else's is in it: load and identity providers run
// here. Where there are two cores, what is measured has one of them. Rounds are
// interleaved, medians printed, and every answer is checked: status, length, and at
// the service the identity header. A figure without that check would be no figure.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/loop"
)

func main() {
	role := flag.String("role", "", "what a child process is")
	upstream := flag.String("upstream", "", "address of the service, for the bare proxy")
	program := flag.String("gatehouse", "bin/gatehouse", "the gateway's program; for versions and sign-ins several, with commas between")
	rounds := flag.Int("rounds", 5, "how often each is measured")
	requests := flag.Int("requests", 20_000, "requests a round")
	logins := flag.Int("logins", 300, "sign-ins of each kind a round")
	perf := flag.String("perf", "", "a folder for what perf records of the gateway while many sign in, a file for each kind")
	only := flag.String("only", "", "of sign-ins those with this in their name")
	part := flag.String("part", "all", "what is measured: requests (with sign-ins), added (to a request by a session), sign-ins, versions (requests, of several programs), memory, scim, delivery, or all")
	sessions := flag.Int("sessions", 100_000, "live sessions for memory")
	users := flag.String("users", "10000,60000", "sizes of the directory for scim, with commas between; 1000000 takes half an hour to fill, or minutes with -scratch")
	members := flag.String("members", "10,8000,50000", "sizes of groups for scim, with commas between, as far as there are users")
	scratch := flag.String("scratch", "", "a folder in which stores are filled faster, such as /dev/shm")
	outbox := flag.String("outbox", "bin/outbox.test", "the benchmarks of provisioning/outbox, for delivery")
	peers := flag.String("peers", peersFolder(), "the folder with npm's modules for scim")
	flag.Parse()
	switch *role {
	case "service":
		serve(&http.Server{Handler: service(), ReadHeaderTimeout: 5 * time.Second})
		return
	case "bare":
		serve(&http.Server{Handler: bare(*upstream), ReadHeaderTimeout: 5 * time.Second})
		return
	case "loop":
		serve(&loop.Server{Server: http.Server{Handler: http.HandlerFunc(nothing), ReadHeaderTimeout: 5 * time.Second}})
		return
	}
	if 200*(*rounds+1) > outside {
		log.Fatalf("-rounds %d: write at most %d", *rounds, outside/200-1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if *part == "all" || *part == "requests" || *part == "added" || *part == "sign-ins" || *part == "versions" {
		if err := measure(ctx, *part, *program, signInPlan{*only, *perf, *rounds, *logins}, *requests); err != nil {
			log.Fatal(err)
		}
	}
	if *part == "all" || *part == "memory" {
		if err := measureMemory(ctx, *program, *scratch, *sessions); err != nil {
			log.Fatal(err)
		}
	}
	if *part == "all" || *part == "delivery" {
		if err := measureDelivery(ctx, deliveryPlan{*outbox, *peers, *rounds}); err != nil {
			log.Fatal(err)
		}
	}
	if *part == "all" || *part == "scim" {
		if err := measureSCIM(ctx, scimPlan{*program, *scratch, *peers, numbers("users", *users, 2*outside), numbers("members", *members, 1), *rounds}); err != nil {
			log.Fatal(err)
		}
	}
}

// numbers are those of a flag, with commas between.
func numbers(name, text string, least int) (list []int) {
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < least {
			log.Fatalf("-%s %s: write numbers, each at least %d", name, text, least)
		}
		list = append(list, n)
	}
	return list
}

// serve serves on a free port, prints its address, and ends when its input does.
func serve(s interface{ Serve(net.Listener) error }) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(s.Serve(ln))
}

// sizes of the service's answers, by path.
var sizes = map[string]int{"/1k": 1 << 10, "/64k": 64 << 10}

// service answers with as many bytes as the path says, and tells whom it was
// told about.
func service() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == headPath {
			_, _ = io.WriteString(w, strconv.Itoa(headSize(r.Header)))
			return
		}
		n, ok := sizes[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Length", strconv.Itoa(n))
		h.Set("X-Seen", cmp.Or(r.Header.Get("X-Forwarded-User"), "nobody")+" "+strconv.FormatBool(r.Header.Get("X-Gatehouse-Jwt") != ""))
		_, _ = w.Write(body[:n])
	})
}

var body = make([]byte, 64<<10)

// nothing is the least that can be answered to another proxy's question: what
// there is beyond it is the gateway's.
func nothing(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Length"], h["Content-Type"] = []string{"0"}, nil
	h["X-Forwarded-User"], h["X-Gatehouse-Jwt"] = []string{"nobody"}, []string{"none"}
}

// bare is what the standard library gives, with enough idle connections, and
// nothing of ours.
func bare(upstream string) http.Handler {
	to := &url.URL{Scheme: "http", Host: upstream}
	return &httputil.ReverseProxy{
		Rewrite:    func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = p.In.Host },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true, IdleConnTimeout: 90 * time.Second},
		BufferPool: &pool{},
	}
}

type pool struct{ p sync.Pool }

func (b *pool) Get() []byte {
	if v, ok := b.p.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *pool) Put(buf []byte) { b.p.Put(&buf) }

// pinned is a command that runs on one core, where there are two and a program
// that can say so: what is measured has one for itself, the load and everything
// else the other. CPU time moves much less then.
func pinned(ctx context.Context, core int, name string, args ...string) *exec.Cmd {
	if taskset, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		name, args = taskset, append([]string{"-c", strconv.Itoa(core), name}, args...)
	}
	return exec.CommandContext(ctx, name, args...)
}

const (
	measured = 0
	others   = 1
)

// child starts a process that prints one line when it is ready.
type child struct {
	cmd  *exec.Cmd
	in   io.Closer
	line string
}

func start(ctx context.Context, core int, name string, args ...string) (*child, error) {
	return startWith(ctx, core, nil, name, args...)
}

func startWith(ctx context.Context, core int, env []string, name string, args ...string) (*child, error) {
	cmd := pinned(ctx, core, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &child{cmd, in, strings.TrimSpace(line)}, nil
}

// cpu is the time that the threads of a process have spent, user and system.
func cpu(pid int) (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is one
	for _, task := range tasks {
		raw, _ := os.ReadFile(task) // it may have ended
		ns, _, _ := strings.Cut(string(raw), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

// micros is how many microseconds each of n took of a time.
func micros(of time.Duration, n int) float64 { return float64(of.Nanoseconds()) / 1000 / float64(n) }

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

func measure(ctx context.Context, part, program string, plan signInPlan, requests int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	svc, err := start(ctx, others, self, "-role", "service")
	if err != nil {
		return err
	}
	defer svc.in.Close()
	switch turns := max(plan.rounds*requests/piece, 10); part {
	case "added":
		return measureAdded(ctx, program, svc.line, turns)
	case "versions":
		return measureVersions(ctx, strings.Split(program, ","), svc.line, turns)
	}
	plain, err := start(ctx, measured, self, "-role", "bare", "-upstream", svc.line)
	if err != nil {
		return err
	}
	defer plain.in.Close()
	empty, err := start(ctx, measured, self, "-role", "loop")
	if err != nil {
		return err
	}
	defer empty.in.Close()
	sides := []side{
		{name: nameBare, pid: plain.cmd.Process.Pid, address: plain.line, host: "app.localhost", seen: "nobody false"},
		{name: "gateway/loop alone: a fixed answer without a body", pid: empty.cmd.Process.Pid, address: empty.line, host: "app.localhost", path: verify, seen: "nobody true"},
	}
	var gateways []*running
	for _, program := range strings.Split(program, ",") {
		g, err := startGateway(ctx, program, svc.line, "", 2*plan.rounds*plan.logins+10)
		if err != nil {
			return err
		}
		defer g.stop()
		gateways = append(gateways, g)
	}
	others, end, err := startOthers(ctx, svc.line)
	if err != nil {
		return err
	}
	defer end()
	if part == "sign-ins" {
		return measureSignIns(ctx, gateways, others, plan)
	}
	g := gateways[0]
	program = g.program
	logging, err := startGateway(ctx, program, svc.line, "  access_log: true\n", 10)
	if err != nil {
		return err
	}
	defer logging.stop()
	signedIn, err := g.side(ctx, "gatehouse: session, three rules, four headers, JWT")
	if err != nil {
		return err
	}
	logged, err := logging.side(ctx, "gatehouse: the same, with an access log")
	if err != nil {
		return err
	}
	question, stop, err := startAsked(ctx, program, svc.line, "gatehouse: an answer to another proxy's question")
	if err != nil {
		return err
	}
	defer stop()
	sides = append(sides, signedIn, logged, g.anyone("gatehouse: a service for anyone"), question)
	if err := measureRequests(ctx, append(sides, others...), plan.rounds, requests); err != nil {
		return err
	}
	return measureSignIns(ctx, gateways[:1], others, plan)
}

// verify is where other proxies ask.
const verify = "/.gatehouse/verify"

// startAsked starts a gateway that another proxy asks about requests of somebody who
// is signed in.
func startAsked(ctx context.Context, program, upstream, name string) (s side, stop func(), err error) {
	g, err := startGateway(ctx, program, upstream, "  forward_auth: [ { id: edge, kind: nginx, from: [127.0.0.1] } ]\n", 10)
	if err != nil {
		return s, nil, err
	}
	s, err = g.side(ctx, name)
	if err != nil {
		g.stop()
		return s, nil, err
	}
	s.path = verify
	s.header = http.Header{
		"Cookie": s.header["Cookie"], "X-Original-Method": {"GET"}, "X-Original-Url": {g.app + "/1k"}, "X-Forwarded-For": {"192.0.2.1"},
	}
	return s, g.stop, nil
}

// together is how many browsers sign in at the same time.
const together = 16

// A signInPlan says which sign-ins are measured, and how often.
type signInPlan struct {
	only, perf     string // part of their names; the folder for what perf records
	rounds, logins int
}

// A way is one way to sign in that is measured.
type way struct {
	name       string
	pid, hands int                              // whose CPU time; how many browsers at the same time
	record     string                           // a file for perf; empty: it is not recorded
	signIn     func(context.Context, int) error // as the person of this number
	foreign    bool                             // not ours, so it may fail
	failed     error                            // it did
	cost, rate []float64                        // of each round
}

// ways are those of a gateway. There are people for each round, and as many more.
func (g *running) ways(rounds, logins int) (list []*way) {
	add := func(name string, hands int, at, provider string, skip int) *way {
		w := &way{name: name, pid: g.cmd.Process.Pid, hands: hands, signIn: func(ctx context.Context, n int) error {
			return newBrowser(g).signIn(ctx, at+"/1k", provider, fmt.Sprintf("u%d", n+skip))
		}}
		list = append(list, w)
		return w
	}
	sole := strings.Replace(g.app, "app.", "sole.", 1)
	for _, kind := range []struct{ provider, name string }{{"op", "OpenID Connect"}, {"idp", "SAML 2.0"}} {
		add(kind.name+", new user", 1, g.app, kind.provider, 0)
		add(kind.name+", known user", 1, g.app, kind.provider, 0)
		add(kind.name+", known user", together, g.app, kind.provider, 0).record = kind.provider
	}
	add("OpenID Connect, new user, nothing to choose", together, sole, "op", rounds*logins)
	add("OpenID Connect, known user, nothing to choose", together, sole, "op", rounds*logins).record = "sole"
	return list
}

// measureSignIns prints what a sign-in costs gateways, one at a time and several
// at once, which share transactions of the store; and beside it those of others.
func measureSignIns(ctx context.Context, gateways []*running, others []side, plan signInPlan) error {
	rounds, logins := plan.rounds, plan.logins
	fmt.Printf("\nsign-in, from the first page to the service's answer, CPU of the gateway alone\n\n")
	fmt.Printf("%-60s %20s %16s %12s %9s\n", "", "at the same time", "CPU ms/sign-in", "sign-ins/s", "÷ module")
	var all [][]*way // side by side, so that what is alike is measured one after the other
	for i, g := range gateways {
		for j, w := range g.ways(rounds, logins) {
			if i == 0 {
				all = append(all, nil)
			} else {
				w.record = ""
			}
			if len(gateways) > 1 {
				w.name += " (" + filepath.Base(g.program) + ")"
			}
			all[j] = append(all[j], w)
		}
	}
	ways := slices.Concat(all...)
	module := -1
	for _, s := range others {
		if s.seen == "nobody false" {
			continue // nobody signs in there
		}
		if s.name == nameOpenIDC {
			module = len(ways)
		}
		ways = append(ways, &way{name: s.name, pid: s.pid, hands: together, foreign: true, signIn: func(ctx context.Context, _ int) error {
			_, err := signedInAt(ctx, "http://"+s.host)
			return err
		}})
	}
	for round := range rounds {
		for i, w := range ways {
			if i != module && !strings.Contains(w.name, plan.only) {
				continue
			}
			if w.failed != nil {
				continue
			}
			stop := func() {}
			if w.record != "" && plan.perf != "" {
				stop = record(w.pid, filepath.Join(plan.perf, fmt.Sprintf("%s-%d.data", w.record, round)))
			}
			n := logins
			if w.name == nameMellon {
				n = max(1, logins/10) // a quarter of a second each
			}
			before, began := cpu(w.pid), time.Now()
			err := w.signIns(ctx, 1+round*logins, n)
			w.cost = append(w.cost, micros(cpu(w.pid)-before, n)/1000)
			w.rate = append(w.rate, float64(n)/time.Since(began).Seconds())
			if stop(); err != nil && !w.foreign {
				return err
			}
			w.failed = err
		}
	}
	for _, w := range ways {
		if w.failed == nil && len(w.cost) == 0 {
			continue
		}
		if w.failed != nil {
			fmt.Printf("(%s is left out: %v)\n", w.name, w.failed)
			continue
		}
		by := "        –"
		if module >= 0 && ways[module].failed == nil {
			by = fmt.Sprintf("%8.2f×", median(w.cost)/median(ways[module].cost))
		}
		fmt.Printf("%-60s %20d %16.2f %12.0f %s\n", w.name, w.hands, median(w.cost), median(w.rate), by)
	}
	return nil
}

// record has perf record a process until the function it gives is called.
func record(pid int, file string) (stop func()) {
	cmd := exec.Command("perf", "record", "-q", "-F", "1999", "--call-graph", "fp", "-p", strconv.Itoa(pid), "-o", file)
	if err := cmd.Start(); err != nil {
		log.Print(err)
		return func() {}
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it ends by a signal
	}
}

// signIns signs n people in, some at the same time.
func (w *way) signIns(ctx context.Context, first, n int) error {
	errs := make([]error, w.hands)
	var next atomic.Int64
	var wg sync.WaitGroup
	for hand := range w.hands {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && errs[hand] == nil; i = next.Add(1) - 1 {
				errs[hand] = w.signIn(ctx, first+int(i))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var errNoForm = errors.New("the page has no form to send")
