package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/lentstore"
)

// drainTime is how long requests under way may take after SIGTERM.
const drainTime = 10 * time.Second

// A server serves one process on its listeners.
type server struct {
	p      *process
	load   func() (*configs.Config, []configs.Mistake)
	log    *slog.Logger
	ctx    context.Context
	inUse  context.Context    // ends with the site in place
	cancel context.CancelFunc // ends it
	wg     sync.WaitGroup

	renewals chan renewal  // of the site, of the same file
	ended    chan struct{} // closed when nothing is put in place any more

	working context.Context // ends with what one process alone does; nil: another does
	rest    context.CancelFunc
	workers sync.WaitGroup

	// For an upgrade.
	program     []string // how this process was started; empty: it can not be replaced
	inlets      map[string]*inlet
	heir        *heir
	predecessor <-chan struct{} // closed when there is none any more
	upgrades    chan chan<- upgraded
	leaving     atomic.Bool
}

// place puts a site into the front, and lets the one before go.
func (s *server) place(next *site) {
	ctx, cancel := context.WithCancel(s.ctx)
	next.tracer.Start(ctx) // its first request is told of too
	s.wg.Go(func() { next.run(ctx) })
	s.p.site.Store(next)
	if s.cancel != nil {
		s.cancel()
		next.gateway.Recheck("", "") // what is under way is decided about by the rules in force
		s.heir.say("reload")
	}
	s.inUse, s.cancel = ctx, cancel
	s.startSite()
}

// startWork begins what one process alone does.
func (s *server) startWork() {
	s.working, s.rest = context.WithCancel(s.ctx)
	ctx := s.working
	s.workers.Go(func() { s.p.work(ctx) })
	s.startSite()
}

// startSite begins it for the site in place.
func (s *server) startSite() {
	if s.working == nil {
		return
	}
	site := s.p.site.Load()
	ctx, cancel := context.WithCancel(s.inUse)
	context.AfterFunc(s.working, cancel)
	s.workers.Go(func() { defer cancel(); site.work(ctx, s.p.notary) })
}

// stopWork ends it, and returns when it has ended.
func (s *server) stopWork() {
	if s.working != nil {
		s.rest()
		s.workers.Wait()
		s.working = nil
	}
}

// reload reads the configuration again. A bad one, or one that can not be
// served, changes nothing. It reports whether it was taken.
func (s *server) reload() (taken bool) {
	defer func() { s.p.config.note(taken) }()
	cfg, mistakes := s.load()
	var surprises []configs.Mistake
	if len(mistakes) == 0 {
		mistakes, surprises = examine(cfg, s.p.now())
	}
	if len(mistakes) > 0 {
		for _, m := range mistakes {
			s.log.Error("configuration", "mistake", m.String())
		}
		s.log.Error("the configuration was not taken; the one before stays in force", "mistakes", len(mistakes))
		return false
	}
	before := s.p.site.Load()
	old := before.file
	if what, cure := fixed(old, cfg); what != "" {
		s.log.Error("the configuration was not taken: a change of " + what + " needs " + cure)
		return false
	}
	if _, mistakes := compile(cfg, &s.p.programs); len(mistakes) > 0 {
		s.log.Error("the configuration was not taken", "mistake", mistakes[0].String())
		return false
	}
	if err := s.renew(cfg, before); err != nil {
		s.log.Error("the configuration was not taken; the one before stays in force", "error", err)
		return false
	}
	warn(s.log, surprises)
	s.log.Info("configuration taken")
	return true
}

// fixed is the first key with which a process lives from its start to its end and that
// two configurations have differently, and what it takes to change it; empty: there
// is none.
func fixed(old, next *configs.Config) (what, cure string) {
	for _, f := range []struct {
		what, cure string
		same       bool
	}{
		{"store", "a restart", next.Store == old.Store},
		{"server.listen", "a restart", next.Server.Listen == old.Server.Listen},
		{"server.admin_listen", "a restart", next.Server.AdminListen == old.Server.AdminListen},
		{"store_key", "a restart, or `gatehouse upgrade`", next.StoreKey.Value() == old.StoreKey.Value() && next.StoreKeyBefore.Value() == old.StoreKeyBefore.Value()},
		{"server.tls", "a restart, or `gatehouse upgrade`", reflect.DeepEqual(next.Server.TLS, old.Server.TLS)},
		{"server.proxy_protocol", "a restart, or `gatehouse upgrade`", slices.Equal(next.Server.ProxyProtocol, old.Server.ProxyProtocol)},
		{"limits.header_size", "a restart, or `gatehouse upgrade`", next.Limits.HeaderSize == old.Limits.HeaderSize},
		{"limits.requests_per_address", "a restart, or `gatehouse upgrade`", next.Limits.RequestsPerAddress == old.Limits.RequestsPerAddress},
		{"limits.sign_ins_per_person", "a restart, or `gatehouse upgrade`", next.Limits.SignInsPerPerson == old.Limits.SignInsPerPerson},
	} {
		if !f.same {
			return f.what, f.cure
		}
	}
	return "", ""
}

// renew puts another site in place, with the keys that there are now, and what is
// published. Of a site before, of the same file, the identity providers go on.
func (s *server) renew(cfg *configs.Config, before *site) error {
	if err := s.p.readKeys(s.ctx); err != nil {
		return err
	}
	next, err := s.p.newSite(s.ctx, cfg, before)
	if err == nil {
		err = s.p.takeForce(s.ctx, next)
	}
	if err != nil {
		return err
	}
	s.place(next)
	return nil
}

// A renewal makes the site again of its own file. Whoever asks is told what came of it.
type renewal struct {
	keys bool // it is because of keys, which identity providers have too: they do not go on
	done chan error
}

// again makes the site again, and returns when it is in place. A process that is about
// to end does nothing more, which is not taken: the next one begins so.
func (s *server) again(ctx context.Context, keys bool) (taken bool, err error) {
	r := renewal{keys, make(chan error, 1)}
	select {
	case s.renewals <- r:
	case <-s.ended:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
	err = <-r.done
	return err == nil, err
}

// rekey makes everything use the keys that there are now.
func (s *server) rekey(ctx context.Context) error {
	taken, err := s.again(ctx, true)
	switch {
	case taken:
		s.log.Info("keys taken")
	case err != nil:
		s.log.Error("keys that were made or have come into use are not used yet", "error", err)
	}
	return err
}

// A launch is what to serve.
type launch struct {
	cfg   *configs.Config
	load  func() (*configs.Config, []configs.Mistake) // reads cfg again, at each value of hup
	hup   <-chan os.Signal
	log   *slog.Logger
	out   io.Writer // where the log goes, for lines that are made by hand; nil: to standard error
	now   func() time.Time
	ready func(*process)                    // called once requests are answered; may be nil
	pair  func(host string) ([]byte, error) // makes the first key for SAML; nil: selfSigned

	program []string         // to start in place of this one, with its arguments; empty: it can not be replaced
	upgrade <-chan os.Signal // asks for that
	heir    *heir            // what an older process gives this one; nil: nothing
}

// serve runs a configuration until ctx ends: listeners, background work,
// reloads.
func serve(ctx context.Context, l launch) (err error) {
	pacing, pace := context.WithCancel(ctx)
	defer pace()
	go paceHeap(pacing)
	cfg, log := l.cfg, l.log
	if _, mistakes := compile(cfg, nil); len(mistakes) > 0 {
		return errors.New(mistakes[0].String())
	}
	if err := l.heir.await(cfg); err != nil {
		return err
	}
	in, ln, err := listenFront(cfg.Server, l.heir)
	if err != nil {
		return err
	}
	defer ln.Close()
	adminLn, err := l.heir.inlet(adminInlet, string(cfg.Server.AdminListen), func() (net.Listener, error) { return net.Listen("tcp", string(cfg.Server.AdminListen)) })
	if err != nil {
		return fmt.Errorf("listen for administrators: %w — stop what has the address, or change server.admin_listen", err)
	}
	defer func() { _ = adminLn.Close() }()

	p, err := openProcess(ctx, cfg, log, l.now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()
	if l.pair != nil {
		p.pair = l.pair
	}
	if l.out == nil {
		l.out = os.Stderr
	}
	p.requests = gateway.NewAccessLog(l.out)
	defer p.requests.Flush()
	if acme := cfg.Server.TLS.ACME; acme != nil {
		if p.notary, err = newNotary(p, *acme, cfg.Outbound.Allow); err != nil {
			return fmt.Errorf("ACME: %w", err)
		}
	}
	if l.heir != nil {
		p.runner = p.newRunner(false) // the older process ends what its last requests wait for
	}
	first, err := p.newSite(ctx, cfg, nil)
	if err == nil {
		err = p.takeForce(ctx, first)
	}
	if err != nil {
		return err
	}
	// The store is locked by now, so a socket that is there is a dead one.
	sock, err := l.heir.inlet(localInlet, socketPath(cfg), func() (net.Listener, error) { return listenUser(socketPath(cfg)) })
	if err != nil {
		return err
	}
	defer func() { _ = sock.Close() }()

	// What works in the background outlives the requests under way.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &server{
		p: p, load: l.load, log: log, ctx: background, program: l.program, heir: l.heir, predecessor: l.heir.gone(), upgrades: make(chan chan<- upgraded), renewals: make(chan renewal), ended: make(chan struct{}),
		inlets: map[string]*inlet{frontInlet: in, adminInlet: adminLn, localInlet: sock},
	}
	p.older = func() bool {
		select {
		case <-s.predecessor:
			return false
		default:
			return true
		}
	}
	s.place(first)
	p.renew = s.released
	p.config.note(true)
	s.wg.Go(s.follow)
	s.wg.Go(func() { p.recorder.run(background) })
	s.wg.Go(func() { p.tokens.Run(background) })
	s.startWork()
	s.wg.Go(func() { p.watchKeys(background, s.rekey) })
	defer func() { s.stopWork(); stop(); s.wg.Wait() }()
	if l.heir != nil {
		lent, err := l.heir.inlet(lentInlet, "", nil)
		if err != nil {
			return err
		}
		s.inlets[lentInlet] = lent
		s.wg.Go(func() { lentstore.Serve(background, lent, p.store) })
	}

	front := gateway.Server(parting(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.site.Load().gateway.ServeHTTP(w, r) }), &s.leaving), int(cfg.Limits.HeaderSize), log)
	front.InClear = func(nc net.Conn) bool { return p.site.Load().gateway.AsksInClear(nc.RemoteAddr()) }
	var open connections
	front.ConnState = open.state
	admin := &http.Server{Handler: operations(p), ReadHeaderTimeout: 5 * time.Second, ErrorLog: front.ErrorLog}
	tools := http.NewServeMux()
	tools.HandleFunc("POST /v1/upgrade", s.askUpgrade)
	tools.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { newAPI(p, p.site.Load()).ServeHTTP(w, r) })
	local := &http.Server{Handler: tools, ReadHeaderTimeout: 5 * time.Second, ErrorLog: front.ErrorLog}

	failed := make(chan error, 3)
	start := func(serve func() error) {
		s.wg.Go(func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) && !s.leaving.Load() {
				failed <- err
			}
		})
	}
	if front.TLSConfig, err = frontTLS(p, cfg); err != nil {
		return err
	}
	if front.TLSConfig != nil {
		start(func() error { return front.ServeTLS(ln, "", "") })
	} else {
		start(func() error { return front.Serve(ln) })
	}
	start(func() error { return admin.Serve(adminLn) })
	start(func() error { return local.Serve(sock) })
	notify("READY=1")
	l.heir.say("serving")
	log.Info("ready", "listen", ln.Addr().String(), "public_url", cfg.Server.PublicURL.String())
	if l.ready != nil {
		l.ready(p)
	}

	var next *successor
	for next == nil && err == nil {
		select {
		case <-l.hup:
			s.reload()
			continue
		case r := <-s.renewals:
			before := p.site.Load()
			file := before.file
			if r.keys {
				before = nil
			}
			r.done <- s.renew(file, before)
			continue
		case <-l.upgrade:
			next, err = s.replace(ctx, make(chan upgraded, 1))
			continue
		case asked := <-s.upgrades:
			next, err = s.replace(ctx, asked)
			continue
		case err = <-failed:
		case <-ctx.Done():
		}
		break
	}
	close(s.ended)
	if next != nil {
		go func() { // whoever asked for the upgrade gets their answer
			drain, cancel := context.WithTimeout(background, drainTime)
			defer cancel()
			_ = errors.Join(admin.Shutdown(drain), local.Shutdown(drain))
		}()
		s.leave(ctx, next, &open)
	} else {
		p.draining.Store(true)
		notify("STOPPING=1")
		log.Info("draining", "at_most", drainTime.String())
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if derr := front.Shutdown(drain); derr != nil {
		log.Warn("requests were cut that took longer than the drain time")
		_ = front.Close()
	}
	_ = admin.Close()
	_ = local.Close()
	return err
}

// operations serves those who run the gateway: whether the process is alive,
// whether it can serve, and what it counts.
func operations(p *process) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
		for _, alarm := range append(p.site.Load().prober.raised(), p.notary.raised()...) {
			fmt.Fprintln(w, "alarm: "+alarm)
		}
	})
	mux.Handle("GET /metrics", p.meters.Handler())
	return mux
}

// readyTime is how long a store may take to show that it works.
const readyTime = 2 * time.Second

// ready says why the gateway should get no requests: it is about to end, or its
// store can not be read or not be written. An update of nothing takes its turn
// with all others, and is refused by a store that no longer trusts its disk. That
// an identity provider or a target is away is no reason: who is signed in
// works on.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if p.draining.Load() {
		return errors.New("draining")
	}
	if err := p.store.View(ctx, func(tx store.Tx) error { _, _, err := tx.Get([]byte("ready?")); return err }); err != nil {
		return fmt.Errorf("the store can not be read: %w", err)
	}
	if err := p.store.Update(ctx, func(store.Tx) error { return nil }); err != nil {
		return fmt.Errorf("the store can not be written: %w", err)
	}
	return nil
}

// socketPath is where a running gateway answers the other verbs.
func socketPath(cfg *configs.Config) string {
	return filepath.Join(filepath.Dir(cfg.Store.Bolt()), "admin.sock")
}

// listenUser listens on a Unix socket for this user alone, in place of one that is
// there.
func listenUser(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := listenPrivate(path)
	return ln, tooLong(path, err)
}
