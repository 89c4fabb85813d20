package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/lentstore"
)

// A process is replaced by another, of a newer program, without a request that
// fails:
//
//	the old one                                   the new one
//	starts it, with the listeners and two pipes → reads and checks the configuration
//	                                   "checked" ←
//	stops its work in the background, stops
//	accepting, closes the store          "take" → opens the store, loads, accepts:
//	                                              what came meanwhile waited in the backlog
//	                                   "serving" ←
//	serves what it has accepted, with the store   lends the store, and says when it has
//	lent, cuts streams as always; ends when all "reload" ← taken another configuration
//	its connections have
//
// If the new one fails before "serving", the old one opens the store again and
// goes on as if nothing had been. If it dies later, the old one knows by the end
// of the pipe, and ends too.

// upgradeEnv tells a process what it is given.
const upgradeEnv = "GATEHOUSE_UPGRADE"

const (
	checkTime = time.Minute      // to read and check the configuration
	takeTime  = 2 * time.Minute  // to open the store and begin
	quietTime = 30 * time.Second // for transactions and work under way to end
	// leaveTime bounds how long an old process serves what it accepted. Streams
	// that last longer are ended then.
	leaveTime = time.Hour
)

// given says what the descriptors from 3 on are: two pipes, then listeners.
type given struct {
	Store     string `json:"store"`
	Listeners []struct {
		Name string `json:"name"`
		At   string `json:"at"`
	} `json:"listeners"`
}

// An heir is a process that is given what another has.
type heir struct {
	store  string
	inlets map[string]*inlet
	from   *bufio.Scanner // what the old process says
	mu     sync.Mutex
	to     *os.File // and what it is told
}

// inherit reads what this process is given; nil: nothing.
func inherit() (*heir, error) {
	text := os.Getenv(upgradeEnv)
	if text == "" {
		return nil, nil
	}
	// None of it is for the programs that this one starts.
	for _, name := range []string{upgradeEnv, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	var g given
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return nil, fmt.Errorf("%s: %w", upgradeEnv, err)
	}
	closeOnExec(firstInherited, 2+len(g.Listeners))
	h := &heir{store: g.Store, inlets: map[string]*inlet{}, from: bufio.NewScanner(os.NewFile(firstInherited, "from the old process")), to: os.NewFile(firstInherited+1, "to the old process")}
	for i, l := range g.Listeners {
		f := os.NewFile(uintptr(firstInherited+2+i), l.Name)
		ln, err := net.FileListener(f) // works on a duplicate
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("listener %s of the old process: %w", l.Name, err)
		}
		h.inlets[l.Name] = newInlet(l.Name, l.At, ln)
	}
	return h, nil
}

// inlet is the listener of that name: the one that this process was given, or one
// that listen makes.
func (h *heir) inlet(name, at string, listen func() (net.Listener, error)) (*inlet, error) {
	if h == nil {
		ln, err := listen()
		if err != nil {
			return nil, err
		}
		return newInlet(name, at, ln), nil
	}
	g := h.inlets[name]
	if g == nil {
		return nil, fmt.Errorf("the process before has given no listener %s", name)
	}
	if g.at != systemdListen && !strings.HasPrefix(g.at, systemdListen+":") {
		g.own()
	}
	return g, nil
}

// say tells the old process. That it is gone is not this process's trouble.
func (h *heir) say(what string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = io.WriteString(h.to, what+"\n")
}

// await says that the configuration is good, and returns when the store is free.
func (h *heir) await(cfg *configs.Config) error {
	if h == nil {
		return nil
	}
	for name, at := range map[string]string{frontInlet: string(cfg.Server.Listen), adminInlet: string(cfg.Server.AdminListen)} {
		if g := h.inlets[name]; g == nil || g.at != at {
			return fmt.Errorf("the configuration asks for other listeners than the running gateway has: that needs a restart")
		}
	}
	if at := absolute(cfg.Store.Bolt()); at != h.store {
		return fmt.Errorf("the configuration asks for another store than the running gateway has (%s): that needs a restart", h.store)
	}
	h.say("checked")
	if !h.from.Scan() || h.from.Text() != "take" {
		return errors.New("the running gateway did not give the store away")
	}
	return nil
}

// gone is closed when the old process has ended.
func (h *heir) gone() <-chan struct{} {
	c := make(chan struct{})
	if h == nil {
		close(c)
		return c
	}
	go func() {
		defer close(c)
		for h.from.Scan() { //nolint:revive // it says nothing any more
		}
	}()
	return c
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// Names of what is given.
const (
	frontInlet = "front"
	adminInlet = "admin"
	localInlet = "local"
	lentInlet  = "lent"
)

// thisProgram is how this process was started. The path is the one by which it was
// found, so that what is there later is the newer program, also behind a link.
func thisProgram() ([]string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	return append([]string{path}, os.Args[1:]...), nil
}

// A successor is the process that this one is replaced by.
type successor struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has
	said  chan string   // closed when it says nothing any more
	to    *os.File
}

// successor starts the program again, as it is on disk, with what it is given.
func (s *server) successor(inlets []*inlet) (*successor, error) {
	var g given
	g.Store = absolute(s.p.site.Load().cfg.Store.Bolt())
	down, toHeir, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer down.Close()
	fromHeir, up, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, toHeir.Close())
	}
	defer up.Close()
	cmd := exec.Command(s.program[0], s.program[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{down, up}
	for _, gt := range inlets {
		f, err := duplicate(gt.Listener)
		if err != nil {
			return nil, errors.Join(err, toHeir.Close(), fromHeir.Close())
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		g.Listeners = append(g.Listeners, struct {
			Name string `json:"name"`
			At   string `json:"at"`
		}{gt.name, gt.at})
	}
	text, err := json.Marshal(g)
	if err != nil {
		return nil, errors.Join(err, toHeir.Close(), fromHeir.Close())
	}
	cmd.Env = append(os.Environ(), upgradeEnv+"="+string(text))
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, toHeir.Close(), fromHeir.Close())
	}
	n := &successor{cmd: cmd, ended: make(chan struct{}), said: make(chan string), to: toHeir}
	go func() {
		_ = cmd.Wait()
		close(n.ended)
	}()
	go func() {
		defer close(n.said)
		defer fromHeir.Close()
		for lines := bufio.NewScanner(fromHeir); lines.Scan(); {
			n.said <- lines.Text()
		}
	}()
	return n, nil
}

// hears waits until the successor says something.
func (n *successor) hears(ctx context.Context, want string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case got, ok := <-n.said:
		switch {
		case !ok:
			return fmt.Errorf("the new process ended before it was %s; its log says why", want)
		case got != want:
			return fmt.Errorf("the new process says %q", got)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the new process is not %s: %w", want, ctx.Err())
	}
}

// stop ends it, and returns when it has let go of everything.
func (n *successor) stop() {
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.ended
	_ = n.to.Close()
	for range n.said { //nolint:revive // what it said does not matter any more
	}
}

// lentPath is where a store is lent to processes that are being replaced.
func lentPath(cfg *configs.Config) string {
	return filepath.Join(filepath.Dir(cfg.Store.Bolt()), "lent.sock")
}

// handOver replaces this process. If it returns an error, this process serves as
// before, unless the error is errStoreLost.
func (s *server) handOver(ctx context.Context) (_ *successor, err error) {
	if len(s.program) == 0 {
		return nil, errors.New("this process can not be replaced")
	}
	inlets := []*inlet{s.inlets[frontInlet], s.inlets[adminInlet], s.inlets[localInlet]}
	cfg := s.p.site.Load().cfg
	if s.inlets[lentInlet] == nil {
		ln, err := listenUser(lentPath(cfg))
		if err != nil {
			return nil, err
		}
		s.inlets[lentInlet] = newInlet(lentInlet, lentPath(cfg), ln)
		if err := s.inlets[lentInlet].shut(); err != nil { // who borrows waits for the successor
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = s.inlets[lentInlet].Close()
				delete(s.inlets, lentInlet)
			}
		}()
	} else {
		inlets = append(inlets, s.inlets[lentInlet])
	}
	closed := inlets
	inlets = append(inlets[:3:3], s.inlets[lentInlet])
	n, err := s.successor(inlets)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.program[0], err)
	}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	if err := n.hears(ctx, "checked", checkTime); err != nil {
		return nil, err
	}

	s.stopWork()
	defer func() {
		if err != nil {
			s.startWork()
		}
	}()
	for _, g := range closed {
		if err = g.shut(); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, g.open())
			}
		}()
	}
	s.p.site.Load().sessions.Flush(ctx) // the new process judges by it who was idle for too long
	quiet, cancel := context.WithTimeout(ctx, quietTime)
	defer cancel()
	return n, s.p.engine.Exchange(quiet, func(old store.Store) (store.Store, error) {
		path := cfg.Store.Bolt()
		if err := old.Close(); err != nil {
			return nil, errors.Join(errStoreLost, err)
		}
		_, err := io.WriteString(n.to, "take\n")
		if err == nil {
			err = n.hears(ctx, "serving", takeTime)
		}
		if err == nil {
			return lentstore.Open(func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", s.inlets[lentInlet].at)
			}), nil
		}
		n.stop()
		bolt, again := boltstore.Open(path, boltstore.Options{})
		if again != nil {
			return nil, errors.Join(errStoreLost, err, again)
		}
		s.p.bolt.Store(bolt)
		return bolt, err
	})
}

// errStoreLost: the store could not be opened again.
var errStoreLost = errors.New("the store was closed for an upgrade and can not be used any more")

// replace hands over, and returns the process that has taken over; nil: none has,
// and this one goes on, unless there is an error.
func (s *server) replace(ctx context.Context, asked chan<- upgraded) (*successor, error) {
	began := time.Now()
	n, err := s.handOver(ctx)
	if err != nil {
		s.log.Error("not upgraded; this process goes on", "error", err)
		asked <- upgraded{err: err}
		if errors.Is(err, errStoreLost) {
			return nil, err
		}
		return nil, nil
	}
	s.leaving.Store(true)
	for _, g := range s.inlets {
		g.leave()
		_ = g.Close()
	}
	notify(fmt.Sprintf("MAINPID=%d", n.cmd.Process.Pid))
	s.log.Info("another process has taken over; this one serves what it has accepted", "pid", n.cmd.Process.Pid, "took", time.Since(began).String())
	asked <- upgraded{Pid: n.cmd.Process.Pid, Took: time.Since(began)}
	return n, nil
}

// leave serves what was accepted before another process took over, until there is
// nothing left of it, nobody can say any more who may go on, or ctx ends.
func (s *server) leave(ctx context.Context, n *successor, front *connections) {
	over := time.NewTimer(leaveTime)
	defer over.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			s.log.Warn("streams are ended that have lasted since before the upgrade")
			return
		case what, ok := <-n.said:
			if !ok {
				s.log.Warn("the process that took over has ended")
				return
			}
			if what == "reload" && !s.reload() {
				return // decided about by rules that are in force no more
			}
		case <-look.C:
			if front.count() == 0 && s.p.streams.Count() == 0 {
				select {
				case <-s.predecessor: // it hears of reloads by this process
					return
				default:
				}
			}
		}
	}
}

// connections counts those of a server.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		if c.open == nil {
			c.open = map[net.Conn]struct{}{}
		}
		c.open[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// parting answers requests, and says with each answer of a process that leaves
// that its connection ends with it, so that the next request comes by another one.
// HTTP/2 is told the same by GOAWAY.
func parting(h http.Handler, leaving *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// upgraded is the answer to who asked for it.
type upgraded struct {
	Pid  int           `json:"pid"`
	Took time.Duration `json:"took"` // nanoseconds
	err  error
}

// askUpgrade lets `gatehouse upgrade` ask. Nobody else is asked about it: the
// route is the machine's alone.
func (s *server) askUpgrade(w http.ResponseWriter, r *http.Request) {
	asked := make(chan upgraded, 1)
	select {
	case s.upgrades <- asked:
	case <-r.Context().Done():
		return
	}
	got := <-asked
	if got.err != nil {
		sayAPI(w, errNo(strings.ReplaceAll(got.err.Error(), "\n", "; ")))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(got) // whoever asked may be gone
}

func upgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Replace the running gateway by the program that is on disk now, with no request lost", Args: args(cobra.NoArgs),
		Long: "Replaces the running gateway by the program that is on disk now. The running one starts it, gives it its\nsockets and the store, and serves what it had accepted to the end. If the new one does not start, nothing changes.\nThe signal SIGUSR2 to the gateway does the same.",
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var got upgraded
		if err := tellGateway(cmd.Context(), *file, "upgrade", &got); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "process %d has taken over, after %s\n", got.Pid, got.Took.Round(time.Millisecond))
		return nil
	}
	return cmd
}
