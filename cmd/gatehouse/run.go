package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/csv"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	intakeldap "github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/notice"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/lentstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/desk"
	"github.com/gatehouse-sso/gatehouse/web/portal"
)

// All assembly is in this file. A process holds what lives as long as the
// program: the store, its keys, the audit log, the task runner. A site is what
// one configuration makes of them; a changed configuration makes another site,
// which takes the place of the old one whole.

type process struct {
	log       *slog.Logger
	requests  *gateway.AccessLog // nil: not while requests are answered
	now       func() time.Time
	store     store.Store
	sealer    *store.Sealer
	keys      *gateway.Keys
	audit     *audit.Log
	recorder  *recorder
	engine    *lentstore.Switch               // behind store
	bolt      atomic.Pointer[boltstore.Store] // behind that, while this process has the file
	meters    *metrics.Metrics
	config    taking
	levels    *levels
	programs  authz.Programs // of all sites
	trials    trials
	glances   glances
	handover  *session.Handover
	pace      *gateway.Pace
	draining  atomic.Bool
	dialects  dialect.Tally
	limits    *client.Limits
	access    [][]byte // the first signs access tokens of clients, the others are taken too
	cursors   []byte   // seals cursors of SCIM
	passing   []byte   // keys what is kept of users who pass through
	sticky    []byte   // keys the cookies that keep browsers at an upstream
	hashes    []byte   // keys what is kept of service tokens
	tokens    *bearer.Tokens
	issuers   *bearer.Keys   // of JWTs of programs
	guesses   *bearer.Limits // of credentials of programs
	resealing sync.Mutex
	pair      func(host string) ([]byte, error) // makes a key for SAML, with its certificate
	older     func() bool                       // reports whether a process from before an upgrade still serves; nil: none does
	notary    *notary                           // nil: certificates do not come by ACME
	runner    *task.Runner
	streams   gateway.Streams
	site      atomic.Pointer[site]
	// renew makes the site again of its own file, when something was published. nil:
	// no requests are served.
	renew func(context.Context) error
}

type site struct {
	log         *slog.Logger
	store       store.Store
	file        *configs.Config // as it was read
	cfg         *configs.Config // with what is published in it
	releasing                   // what release editors made of it
	rules       rules
	clients     *client.Registry
	directory   *provisioning.Directory
	guard       *guard.Guard
	lifecycle   *lifecycle.Lifecycle
	access      *access.Access
	notices     *notice.Notices
	asked       map[string]*oidc.Provider // about people who signed in there
	files       *files.Files
	directories *intakeldap.Reader
	writers     map[string]*csv.Connector // by target
	sessions    *session.Store
	outbox      *outbox.Outbox
	reconcile   *reconcile.Reconciler
	inbound     inbound
	providers   []gateway.Provider
	upstreams   map[string]*upstream.Set // by service
	callers     *bearer.Callers
	gateway     *gateway.Gateway
	prober      *prober
	tracer      *tracing.Tracer // nil: nothing is traced
}

// openProcess opens the store of a configuration and what belongs to it.
func openProcess(ctx context.Context, cfg *configs.Config, log *slog.Logger, now func() time.Time) (*process, error) {
	path := cfg.Store.Bolt()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the store can not be made: %w — make it, as the gateway's own user, or change store", err)
	}
	_, err := os.Stat(path)
	sealer, err := openSealer(cfg, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return nil, err
	}
	return openProcessAt(ctx, cfg, path, sealer, log, now)
}

// openProcessAt opens the store at a path as that of a configuration.
func openProcessAt(ctx context.Context, cfg *configs.Config, path string, sealer *store.Sealer, log *slog.Logger, now func() time.Time) (*process, error) {
	bolt, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	meters, engine := metrics.New(version), lentstore.NewSwitch(bolt)
	st := timed{engine, meters.Transaction}
	p := &process{log: log, now: now, store: st, engine: engine, meters: meters, sealer: sealer, audit: audit.New(now), limits: client.NewLimits(), handover: session.NewHandover(), pair: selfSigned}
	p.bolt.Store(bolt)
	p.pace = gateway.NewPace(gateway.PaceConfig{PerAddress: cfg.Limits.RequestsPerAddress, PerPerson: cfg.Limits.SignInsPerPerson, Refused: meters.Limited, Now: now})
	p.levels = &levels{p: p}
	meters.Levels(p.levels.read)
	if err := provisioning.Build(ctx, st, func(rows int) {
		if rows%10_000 < 1000 {
			log.Info("building indexes of users, once", "done", rows)
		}
	}); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if err := p.readKeys(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if err := p.loadTokens(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	p.recorder = newRecorder(st, p.audit, log, now)
	p.recorder.failed = meters.AuditFailed
	p.runner = p.newRunner(true)
	return p, nil
}

// newRunner makes what works tasks off. alone: no other process can have the
// store, so what a crash left running is nobody's. A target that never answers has
// its share of the workers, no more.
func (p *process) newRunner(alone bool) *task.Runner {
	return task.NewRunner(task.Config{Store: p.store, Workers: 64, PerLane: 8, Alone: alone, Now: p.now, Closed: p.closed, Damaged: p.damaged, Prepare: map[string]func(store.Tx, string) any{
		outbox.Kind: func(tx store.Tx, key string) any { return p.site.Load().outbox.Prepare(tx, key) },
	}, Handlers: p.handlers()})
}

// handlers are what works tasks off, by their kinds.
func (p *process) handlers() map[string]task.Handler {
	return p.accessTasks(map[string]task.Handler{
		outbox.Kind:            p.traced("sync", func(ctx context.Context, key string) error { return p.site.Load().outbox.Handle(ctx, key) }),
		outbox.KindEverybody:   func(ctx context.Context, key string) error { return p.site.Load().outbox.HandleEverybody(ctx, key) },
		outbox.KindRefs:        func(ctx context.Context, key string) error { return p.site.Load().outbox.HandleRefs(ctx, key) },
		outbox.KindGroup:       func(ctx context.Context, key string) error { return p.site.Load().outbox.HandleGroup(ctx, key) },
		outbox.KindLater:       func(ctx context.Context, key string) error { return p.site.Load().outbox.HandleLater(ctx, key) },
		provisioning.TaskClear: func(ctx context.Context, key string) error { return p.site.Load().directory.Clear(ctx, key) },
		guard.TaskCase:         func(ctx context.Context, key string) error { return p.site.Load().guard.HandleCase(ctx, key) },
		lifecycle.TaskApproved: func(ctx context.Context, key string) error { return p.site.Load().lifecycle.HandleApproved(ctx, key) },
		lifecycle.TaskDates:    func(ctx context.Context, key string) error { return p.site.Load().lifecycle.HandleDates(ctx, key) },
		csv.Kind:               func(ctx context.Context, key string) error { return p.site.Load().writeFile(ctx, key) },
		files.Kind:             func(ctx context.Context, key string) error { return p.site.Load().files.Handle(ctx, key) },
		intakeldap.Kind:        func(ctx context.Context, key string) error { return p.site.Load().directories.Handle(ctx, key) },
		files.KindPoll:         func(ctx context.Context, key string) error { return p.site.Load().files.HandlePoll(ctx, key) },
		reconcile.Kind:         func(ctx context.Context, key string) error { return p.site.Load().reconcile.Handle(ctx, key) },
		reconcile.TaskPlan:     func(ctx context.Context, key string) error { return p.site.Load().reconcile.HandlePlan(ctx, key) },
		reconcile.TaskStray:    func(ctx context.Context, key string) error { return p.site.Load().reconcile.HandleStray(ctx, key) },
		lifecycle.TaskProbe:    func(ctx context.Context, key string) error { return p.site.Load().lifecycle.HandleProbe(ctx, key) },
		taskForget:             func(ctx context.Context, key string) error { return p.site.Load().forget(ctx, key) },
		taskImpact:             func(ctx context.Context, key string) error { return p.site.Load().handleImpact(ctx, key) },
		lifecycle.TaskInactive: func(ctx context.Context, key string) error { return p.site.Load().lifecycle.HandleInactive(ctx, key) },
	})
}

// taskForget takes away, of a user who was disabled or deleted by anybody, where they
// were signed in and, of one who was deleted, which hosts they opened.
const taskForget = "session.forget"

// forget is the task.Handler of taskForget. Most who take somebody away end the sessions
// themselves, so that it is done when they say so; it is done too where they died in
// between, or the store refused it. Who was let in again meanwhile stays.
func (s *site) forget(ctx context.Context, userID string) error {
	u, err := s.directory.User(ctx, userID)
	switch {
	case errors.Is(err, provisioning.ErrNotFound):
		return s.sessions.Forget(ctx, userID)
	case err != nil || u.Active:
		return err
	}
	return s.endSessions(ctx, userID)
}

// openSealer takes the key of the configuration, or one in a file beside the
// store, made together with the store: a key that is lost is not replaced, since
// what it sealed would be lost with it.
func openSealer(cfg *configs.Config, fresh bool) (*store.Sealer, error) {
	const purpose = "gateway keys"
	if !cfg.StoreKey.IsZero() {
		key, _ := cfg.StoreKey.Key() // what is none does not pass the check
		var before [][]byte
		if !cfg.StoreKeyBefore.IsZero() {
			b, _ := cfg.StoreKeyBefore.Key()
			before = append(before, b)
		}
		return store.NewSealer(key, purpose, before...)
	}
	path := ownKeyFile(cfg)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !fresh {
		return nil, fmt.Errorf("the key file %s is missing, and the store beside it was made with it — restore it from the backup, or name the key with store_key", path)
	}
	secrets, err := store.SecretFile(path)
	if err != nil {
		return nil, err
	}
	return store.NewSealer(secrets[0], purpose, secrets[1:]...)
}

// ownKeyFile holds the store's key where none is configured.
func ownKeyFile(cfg *configs.Config) string { return cfg.Store.Bolt() + ".key" }

// work does in the background what one process alone does, until ctx ends, and
// returns when all is still.
func (p *process) work(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.runner.Run(ctx) }) // ends with ctx
	wg.Go(func() { p.sweep(ctx) })
	wg.Wait()
}

// sweptPages of records are looked at in a minute: all of a large directory's in
// some hours.
const sweptPages = 20

// sweep forgets what was used and is too old to be used again anyway, what is left
// of changes that came to nothing, and what the guard let through long ago.
func (p *process) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	tried := "" // how far the records of what was tried at targets were looked at
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		site := p.site.Load()
		var err error
		for page := 0; page < sweptPages && err == nil; page++ {
			if tried, err = site.outbox.Sweep(ctx, tried); tried == "" {
				break
			}
		}
		if err != nil && ctx.Err() == nil {
			p.log.Error("sweep", "error", err)
		}
		for _, sweep := range []func(context.Context) (bool, error){site.directory.Sweep, site.clients.Sweep, site.guard.Sweep} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = sweep(ctx); err != nil {
					p.log.Error("sweep", "error", err)
					break
				}
			}
		}
	}
}

// newSite makes everything that one configuration says, together with what
// release editors published. Identity providers of a site before, of the same
// file, go on; nil: there is none.
func (p *process) newSite(ctx context.Context, file *configs.Config, before *site) (*site, error) {
	s := &site{log: p.log, store: p.store, file: file, writers: map[string]*csv.Connector{}}
	if err := s.publish(ctx, p); err != nil {
		return nil, err
	}
	cfg, r := s.cfg, s.rules
	var err error
	multi := multi(cfg)
	if s.clients, err = p.clients(cfg); err != nil {
		return nil, err
	}
	s.guard = p.newGuard(s)
	// Who keeps people's data counts before what a provider says at a sign-in.
	// What a target is the source of, it is before everybody but administrators.
	precedence := []provisioning.Source{}
	for _, id := range theirs(cfg) {
		precedence = append(precedence, reconcile.Source(id))
	}
	for _, c := range cfg.Clients {
		precedence = append(precedence, provisioning.SourceClient(c.ID))
	}
	for _, src := range cfg.Sources {
		precedence = append(precedence, provisioning.SourceFeed(src.ID))
	}
	for _, idp := range cfg.IdentityProviders {
		precedence = append(precedence, provisioning.SourceIDP(idp.ID))
	}
	if s.directory, err = provisioning.New(provisioning.Config{
		Store: p.store, UserStores: storeIDs(cfg), Precedence: precedence, Multi: multi, Unique: unique(cfg), TrustSelf: cfg.TrustSelf, Now: p.now,
		Followers: []provisioning.Follower{
			func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
				return p.audit.Append(tx, changeEvent(d))
			},
			func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
				if !d.Deleted && (!before.Active || after.Active) {
					return nil
				}
				return task.Add(tx, taskForget, before.ID, p.now())
			},
			func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
				return s.outbox.Follow(tx, before, after, d)
			},
			func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
				return s.lifecycle.Follow(tx, before, after, d)
			},
			func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
				return s.access.Follow(tx, before, after, d)
			},
		},
		GroupFollowers: []provisioning.GroupFollower{func(tx store.Tx, before, after provisioning.Group, by provisioning.Source) error {
			return s.outbox.FollowGroup(tx, before, after, by)
		}},
		SignedIn: []func(store.Tx, provisioning.User, federation.Identity, string) error{
			func(tx store.Tx, u provisioning.User, id federation.Identity, flow string) error {
				return p.audit.Append(tx, audit.Event{Kind: "login", UserID: u.ID, Provider: id.Provider, Flow: flow, Names: slices.Sorted(maps.Keys(id.Attributes))})
			},
			func(tx store.Tx, u provisioning.User, id federation.Identity, flow string) error {
				return s.lifecycle.SignedIn(tx, u, id, flow)
			},
		},
	}); err != nil {
		return nil, err
	}
	if err := s.directory.BuildUnique(ctx); err != nil {
		return nil, err
	}
	s.lifecycle, s.access = p.newLifecycle(s), p.newAccess(s)
	if s.files, err = p.newFiles(s); err != nil {
		return nil, err
	}
	if s.directories, err = p.newDirectories(s); err != nil {
		return nil, err
	}
	if s.outbox, err = p.newOutbox(ctx, s, s.clients); err != nil {
		return nil, err
	}
	cookie := session.Cookie{}
	if cfg.Server.PublicURL.Scheme == "http" {
		cookie = session.Cookie{Insecure: true, Port: cfg.Server.PublicURL.Port()}
	}
	s.sessions = session.New(session.Config{
		Store: p.store, Cookie: cookie, Idle: cfg.Session.Idle, Lifetime: cfg.Session.Lifetime, PerUser: cfg.Limits.SessionsPerUser, Now: p.now,
		Handover: p.handover,
		Strict:   cfg.Session.SameSite == "strict",
		EndedTx: func(tx store.Tx, row session.Row, why string) error {
			return p.audit.Append(tx, audit.Event{Kind: "session.ended", Code: why, UserID: row.UserID, Provider: row.Provider, Flow: row.Flow})
		},
		Ended: func(id string) {
			if g := s.gateway; g != nil {
				g.Recheck(id, "")
			}
		},
	})
	pages := r.look.pages
	if s.notices, err = p.newNotices(s, pages); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	if err := s.provide(ctx, p, before); err != nil {
		return nil, err
	}
	s.prober = newProber(cfg, r.policy, p.log, p.recorder.Record)
	if s.inbound, err = s.takeIn(p); err != nil {
		return nil, err
	}
	s.callers = p.callers(cfg)
	s.tracer = p.newTracer(cfg)
	if s.upstreams, err = p.upstreams(cfg); err != nil {
		return nil, err
	}
	s.gateway, err = gateway.New(gateway.Config{
		Public: cfg.Server.PublicURL, Services: s.services(p, pages), Providers: s.providers,
		Policy: r.policy, Release: s.rules.release, Beside: s.beside(), Multi: func(attr string) bool { return multi[attr] },
		Directory: s.directory, Sessions: s.sessions, Cookie: cookie, Outbox: s.outbox, Keys: p.keys, Pages: pages,
		Streams: &p.streams, TrustedProxies: cfg.Server.TrustedProxies, Proxies: askers(cfg), Callers: s.callers,

		// Who is told, and what is counted.
		Log: p.log, Record: p.recorder.Record, Access: p.accessLog(cfg), Meter: p.meter, Pace: p.pace, Tracer: s.tracer,
		SignedIn: s.signedIn(p), Tried: p.tryOut(s),
		Recovered: func(tx store.Tx, flow, from string) error {
			return p.audit.Append(tx, audit.Event{Kind: "recovery.used", UserID: session.Recovery, Provider: session.Recovery, Flow: flow, From: from})
		},

		// What people are asked, and whom they can ask.
		Unsaid: s.unsaid, ConsentURL: cfg.Server.PublicURL.String() + portal.ConsentPath, Asking: s.asking,
		Contact: cfg.Help.Contact, ContactURL: address(cfg.Help.URL), Now: p.now,

		// What serves programs on the gateway's own host.
		Own: map[string]http.Handler{
			"scim/v2/": p.scimMeter(s.inbound.v2), "scim/v1/": p.scimMeter(s.inbound.v1), "oauth2/token": s.inbound.token, "access/v1/": s.authzen(p),
		},
		Aliases: map[string]string{"/scim2/": "scim/v2/", "/access/v1/": "access/v1/", "/.well-known/authzen-configuration": "access/v1/configuration"},
	})
	return s, err
}

// provide makes the identity providers; those of a site of the same file go on,
// with what they have learnt.
func (s *site) provide(ctx context.Context, p *process, before *site) error {
	if before != nil && before.file == s.file {
		s.providers = before.providers
		maps.Copy(s.asked, before.asked)
		return nil
	}
	for i, idp := range s.cfg.IdentityProviders {
		made, err := p.provider(ctx, s.cfg, i, s.rules.jit[idp.ID])
		if asked, ok := made.Provider.(*oidc.Provider); ok && err == nil {
			s.asked[idp.ID] = asked
		}
		if err != nil {
			return fmt.Errorf("identity provider %s: %w", idp.ID, err)
		}
		made.LogoURL = s.rules.look.providers[idp.ID]
		s.providers = append(s.providers, made)
	}
	return nil
}

// run keeps what the site remembers true, until ctx ends.
func (s *site) run(ctx context.Context) {
	defer s.outbox.Close()
	var wg sync.WaitGroup
	wg.Go(func() { s.sessions.Run(ctx) })
	wg.Go(func() { s.gateway.Run(ctx) })
	wg.Go(func() { s.keepTrial(ctx) })
	wg.Go(func() { s.tracer.Run(ctx) })
	wg.Wait()
}

// work does what the site of one process alone does, until ctx ends.
func (s *site) work(ctx context.Context, certificates *notary) {
	var wg sync.WaitGroup
	wg.Go(func() { certificates.keep(ctx, hosts(s.cfg)) })
	wg.Go(func() { s.prober.run(ctx) })
	wg.Go(func() { s.runUpstreams(ctx) })
	wg.Go(func() {
		if err := errors.Join(s.outbox.Begin(ctx), s.lifecycle.Begin(ctx), s.files.Begin(ctx), s.directories.Begin(ctx), s.reconcile.Begin(ctx)); err != nil && ctx.Err() == nil {
			s.log.Error("accounts are not looked at again after a change of the configuration", "error", err)
		}
	})
	wg.Wait()
}

// endSessions ends a user's sessions.
func (s *site) endSessions(ctx context.Context, userID string) error {
	_, err := s.sessions.EndUser(ctx, userID, session.ReasonUser)
	return err
}

// services are those of the configuration, and pages of ours on the gateway's own
// host.
func (s *site) services(p *process, pages *web.Pages) []gateway.Service {
	var list []gateway.Service
	var tiles []portal.Service
	for _, c := range s.cfg.Services {
		if c.FirstRequest == "pass" {
			c.ProvisionedWithin = 0
		}
		list = append(list, gateway.Service{
			ID: c.ID, Title: c.Title, Description: c.Description, Host: c.Host, Path: c.Path, Upstreams: s.upstreams[c.ID],
			Headers: headers(c.Headers), IdentityProviders: c.IdentityProviders, Contact: c.Denied.Contact,
			DeniedText: c.Denied.Text, KeepAuthorization: c.KeepAuthorization, NoWebSocket: !c.Websocket, ProvisionedBy: c.ProvisionedBy, ProvisionedWithin: c.ProvisionedWithin,
		})
		tiles = append(tiles, portal.Service{ID: c.ID, Title: c.Title, Description: c.Description, LogoURL: s.rules.look.services[c.ID], URL: s.addressOf(c), Path: c.Path})
	}
	return append(list, s.ownPages(p, pages, tiles)...)
}

// addressOf is where browsers find a service.
func (s *site) addressOf(c configs.Service) string {
	public := s.cfg.Server.PublicURL
	at := url.URL{Scheme: public.Scheme, Host: c.Host, Path: c.Path}
	if port := public.Port(); port != "" {
		at.Host = net.JoinHostPort(c.Host, port)
	}
	return at.String()
}

// What people call things, by their IDs.

func (s *site) titles() desk.Titles {
	return desk.Titles{Provider: s.providerTitle, Client: s.clientTitle, Service: s.serviceTitle, Target: s.targetTitle, Role: s.roleTitle, Store: s.storeTitle}
}

func (s *site) serviceTitle(id string) string {
	return titleOf(s.cfg.Services, id, func(c configs.Service) (string, string) { return c.ID, c.Title })
}

func (s *site) targetTitle(id string) string {
	return titleOf(s.cfg.Targets, id, func(c configs.Target) (string, string) { return c.ID, c.Title })
}

func (s *site) providerTitle(id string) string {
	return titleOf(s.cfg.IdentityProviders, id, func(c configs.IdentityProvider) (string, string) { return c.ID, c.Title })
}

func (s *site) storeTitle(id string) string {
	return titleOf(s.cfg.UserStores, id, func(c configs.UserStore) (string, string) { return c.ID, c.Title })
}

func (s *site) clientTitle(id string) string {
	return titleOf(s.cfg.Clients, id, func(c configs.Client) (string, string) { return c.ID, c.Title })
}

// titleOf is the title of what has an ID in a list; without one, it is called by its ID.
func titleOf[T any](list []T, id string, of func(T) (id, title string)) string {
	for _, x := range list {
		if its, title := of(x); its == id && title != "" {
			return title
		}
	}
	return id
}

// provider makes one identity provider.
func (p *process) provider(ctx context.Context, cfg *configs.Config, i int, jit provisioning.JIT) (gateway.Provider, error) {
	c := cfg.IdentityProviders[i]
	own := cfg.Server.PublicURL.String() + "/.gatehouse/"
	g := gateway.Provider{
		ID: c.ID, Title: c.Title, Blocking: c.Provisioning.Mode == "blocking", Timeout: c.Provisioning.Timeout,
		Continue: c.Provisioning.OnFailure == "continue", JIT: jit,
	}
	g.Hint = strings.Join(c.Domains, ", ")
	if g.Title == "" {
		g.Title = c.ID
	}
	client := outboundClient(cfg.Outbound.Allow, nil, 10*time.Second)
	if o := c.OIDC; o != nil {
		g.Callback, g.Recipient, g.Issuer = "oidc/"+c.ID+"/callback", o.ClientID, o.Issuer.String()
		oc := oidc.Config{
			ID: c.ID, Issuer: o.Issuer.String(), ClientID: o.ClientID, Secret: o.ClientSecret.Value(), AuthMethod: oidc.AuthMethod(o.AuthMethod),
			RedirectURL: own + g.Callback, PostLogoutURL: own + "signed-out", Scopes: o.Scopes, Algorithms: o.Algorithms, GroupsClaim: o.GroupsClaim,
			Client: client, Skew: o.Skew, Now: p.now,
		}
		if o.GroupsOverage == "fetch" {
			oc.GroupsURL = address(o.GroupsURL)
		}
		if o.Userinfo {
			oc.UserInfo = oidc.Always
		}
		if !o.PrivateKey.IsZero() {
			var err error
			if oc.Key, err = privateKey(o.PrivateKey.Value()); err != nil {
				return g, err
			}
		}
		oc.Renew, oc.Reads = c.Probe != nil, jit.Reads()
		made, err := oidc.New(oc)
		g.Provider = made
		return g, err
	}
	s := c.SAML
	g.Callback, g.CrossSite = "saml/"+c.ID+"/acs", true
	sc := saml.Config{
		ID: c.ID, EntityID: s.EntityID, ACSURL: own + g.Callback, SLOURL: own + "saml/" + c.ID + "/slo", IDP: s.Metadata.EntityID, Binding: s.Binding,
		InsecureUnsignedRequests: !s.SignRequests, InsecureSHA1: s.InsecureAllowSHA1, RequireSignedResponse: s.RequireSignedResponse, RequireSignedAssertion: true,
		Metadata: saml.Metadata{File: string(s.Metadata.File), URL: address(s.Metadata.URL), Refresh: s.Metadata.Refresh, InsecureNoValidUntil: s.Metadata.InsecureNoValidUntil},
		Skew:     s.Skew, Client: client, Now: p.now,
	}
	if sc.EntityID == "" {
		sc.EntityID = own + "saml/" + c.ID + "/metadata"
	}
	g.Recipient = sc.EntityID
	if s.Subject != "" && s.Subject != "nameid" {
		sc.Subject = []string{s.Subject}
	}
	if s.Metadata.Certificate != nil {
		cert, err := certificates(string(s.Metadata.Certificate.File))
		if err != nil {
			return g, err
		}
		sc.Metadata.Certificates = cert
	}
	keys, err := p.samlKeys(ctx, cfg, *s)
	if err != nil {
		return g, err
	}
	// The first signs; the others are announced, so that one can follow it.
	sc.Signing = keys
	for _, k := range keys {
		if _, ok := k.Private.(*rsa.PrivateKey); ok {
			sc.Decryption = append(sc.Decryption, k)
		}
	}
	made, err := saml.New(sc)
	if err != nil {
		return g, err
	}
	g.Provider, g.ErrorURL = made, made.ErrorURL()
	g.Metadata = func() ([]byte, error) { return made.Metadata(false) }
	return g, nil
}

// samlKeys are the configured ones, or one that the gateway made itself.
func (p *process) samlKeys(ctx context.Context, cfg *configs.Config, s configs.SAML) (keys []saml.Key, err error) {
	for _, k := range s.Keys {
		certs, err := certificates(string(k.Certificate.File))
		if err != nil {
			return nil, err
		}
		key, err := privateKey(k.Key.Value())
		if err != nil {
			return nil, err
		}
		keys = append(keys, saml.Key{Private: key, Certificate: certs[0]})
	}
	if keys != nil {
		return keys, nil
	}
	ring, err := gateway.Ring(ctx, p.store, p.sealer, "saml", p.now(), func() ([]byte, error) { return p.pair(cfg.Server.PublicURL.Hostname()) })
	if err != nil {
		return nil, err
	}
	for _, k := range ring {
		certBlock, rest := pem.Decode(k.Plain)
		if certBlock == nil {
			return nil, errors.New("the gateway's own SAML key can not be read")
		}
		cert, err := x509.ParseCertificate(certBlock.Bytes)
		if err != nil {
			return nil, err
		}
		key, err := privateKey(string(rest))
		if err != nil {
			return nil, err
		}
		keys = append(keys, saml.Key{Private: key, Certificate: cert})
	}
	return keys, nil
}

// selfSigned makes an RSA key and a certificate around it, in PEM. Identity
// providers pin SAML keys by metadata, so nobody has to vouch for it.
func selfSigned(host string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}

// changeEvent is how a change of a user stands in the audit log: the names of
// what differs, never the values.
func changeEvent(d provisioning.Delta) audit.Event {
	e := audit.Event{At: d.At, Kind: "user.changed", UserID: d.UserID, By: cmp.Or(d.Actor, string(d.By)), Flow: d.Flow}
	switch {
	case d.Created:
		e.Kind = "user.created"
	case d.Deleted:
		e.Kind = "user.deleted"
	}
	for _, f := range d.Fields {
		e.Names = append(e.Names, f.Name)
	}
	if len(d.Joined)+len(d.Left) > 0 {
		e.Names = append(e.Names, "member_of")
	}
	if len(d.Linked) > 0 {
		e.Names = append(e.Names, "links")
	}
	return e
}

func address(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}
