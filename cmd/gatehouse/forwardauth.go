package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// askers are the proxies that may ask the gateway about requests.
func askers(cfg *configs.Config) (list []gateway.Proxy) {
	for _, f := range cfg.Server.ForwardAuth {
		list = append(list, asker(f))
	}
	return list
}

func asker(f configs.ForwardAuth) gateway.Proxy {
	return gateway.Proxy{ID: f.ID, Kind: f.Kind, From: f.From, Services: f.Services}
}

// A prober looks whether the proxies that ask really do. A gateway that answers
// questions can not see that one was not asked, so it goes to the proxy's own
// door, as nobody, for every address that nobody may have: once plainly, once with
// headers by which a client would speak for the proxy, and once with a Host that is
// not the one of the request line. It asks for the same paths under a host that nobody
// has, where a proxy's default server would serve whatever is behind it.
// Whatever is neither "sign in" nor "no" is an alarm: in the log each time, in the
// record and at /readyz while it lasts.
type prober struct {
	proxies []configs.ForwardAuth
	public  *url.URL
	closed  []door
	open    []door // those that anybody may have
	log     *slog.Logger
	record  func(audit.Event)

	mu     sync.Mutex
	alarms map[string]bool
}

// A door is an address of a service, or one that nobody should serve.
type door struct {
	service    string // empty: nobody's
	host, path string
}

// nobodys is a host that nobody has or ever will (RFC 6761).
const nobodys = "gatehouse-probe.invalid"

func (d door) ofNobody() bool { return d.service == "" }

// is says which kind of address it is.
func (d door) is() string {
	if d.ofNobody() {
		return "an address of nobody"
	}
	return "a protected address"
}

// newProber finds the doors of a configuration: where services and the paths of
// their rules begin.
func newProber(cfg *configs.Config, policy *authz.Policy, log *slog.Logger, record func(audit.Event)) *prober {
	p := &prober{proxies: cfg.Server.ForwardAuth, public: cfg.Server.PublicURL, log: log, record: record, alarms: map[string]bool{}}
	for _, s := range cfg.Services {
		paths := []string{s.Path}
		for _, r := range s.Access {
			for _, path := range r.Paths {
				if path = strings.TrimSuffix(path, "*"); strings.HasPrefix(path, s.Path) && !slices.Contains(paths, path) {
					paths = append(paths, path)
				}
			}
		}
		for _, path := range paths {
			d := door{s.ID, s.Host, path}
			nobody := policy.Decide(authz.Request{Service: s.ID, Method: http.MethodGet, Path: path, From: netip.IPv4Unspecified(), Now: time.Now()})
			if nobody.Outcome == authz.Allow {
				p.open = append(p.open, d)
			} else {
				p.closed = append(p.closed, d)
			}
		}
	}
	return p
}

// run probes until ctx ends.
func (p *prober) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, f := range p.proxies {
		if f.Probe == nil {
			continue
		}
		wg.Go(func() {
			tick := time.NewTicker(f.ProbeEvery)
			defer tick.Stop()
			for {
				p.round(ctx, f)
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	wg.Wait()
}

// probeTime is how long a proxy may take to answer a probe.
const probeTime = 10 * time.Second

// round tries every door at one proxy.
func (p *prober) round(ctx context.Context, f configs.ForwardAuth) {
	at := f.Probe.Host
	if f.Probe.Port() == "" {
		at = net.JoinHostPort(f.Probe.Hostname(), map[string]string{"http": "80", "https": "443"}[f.Probe.Scheme])
	}
	dial := &net.Dialer{Timeout: probeTime}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial.DialContext(ctx, network, at)
		},
		DisableKeepAlives: true,
	}
	// Nobody has a certificate for nobody's host, and nothing that is said is a secret.
	trusting := transport.Clone()
	trusting.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	by := func(tr *http.Transport) *http.Client {
		return &http.Client{Transport: tr, Timeout: probeTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	services, nobody := by(transport), by(trusting)
	try := func(d door, how string, w way) {
		if ctx.Err() != nil {
			return
		}
		client := services
		if d.ofNobody() {
			client = nobody
		}
		heard, err := p.knock(ctx, client, f.Probe.Scheme, d, w)
		p.judge(f.ID, d, how, heard, err)
	}
	tried := map[door]bool{}
	for _, d := range p.closed {
		if !asker(f).Serves(d.service) {
			continue
		}
		for how, w := range p.ways(d) {
			try(d, how, w)
		}
		no := door{host: nobodys, path: d.path}
		if tried[no] {
			continue
		}
		tried[no] = true
		try(no, "plainly", way{})
		if f.Probe.Scheme == "https" { // a proxy may look at one of the two names
			try(no, "with TLS for "+d.host, way{server: d.host})
		}
	}
}

// A way to come as nobody.
type way struct {
	lines  map[string]string // more of the header
	host   string            // that Host names, while the request line names the door's; empty: it is the same
	server string            // that the connection is for; empty: it is the door's host
}

// ways to a door of a service, by what they are.
func (p *prober) ways(d door) map[string]way {
	ways := map[string]way{"plainly": {}}
	if len(p.open) > 0 {
		o := p.open[0]
		address := p.public.Scheme + "://" + p.authority(o.host)
		ways["with headers of its own about "+o.service] = way{lines: map[string]string{
			"X-Original-Method": http.MethodGet, "X-Original-URL": address + o.path, "X-Original-URI": o.path,
			"X-Forwarded-Method": http.MethodGet, "X-Forwarded-Proto": p.public.Scheme, "X-Forwarded-Host": p.authority(o.host), "X-Forwarded-Uri": o.path,
		}}
	}
	if i := slices.IndexFunc(p.open, func(o door) bool { return o.host != d.host }); i >= 0 {
		ways["with the host of "+p.open[i].service] = way{host: p.open[i].host}
	}
	return ways
}

func (p *prober) authority(host string) string {
	if port := p.public.Port(); port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

// What a probe heard.
type heard int

const (
	unclear heard = iota // an error, or nothing there
	kept                 // "sign in" or "no"
	let                  // anything else
)

func (p *prober) knock(ctx context.Context, client *http.Client, scheme string, d door, w way) (heard, error) {
	to := url.URL{Scheme: scheme, Host: cmp.Or(w.server, d.host), Path: d.path}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return unclear, err
	}
	r.Host = p.authority(d.host)
	if w.host != "" {
		r.URL.Opaque = "//" + r.Host + r.URL.EscapedPath() // then the request line has all of it
		r.Host = p.authority(w.host)
	}
	r.Header.Set("User-Agent", "Gatehouse-Probe")
	r.Header.Set("Accept", "text/html")
	for name, val := range w.lines {
		r.Header.Set(name, val)
	}
	resp, err := client.Do(r)
	switch {
	case err != nil && d.ofNobody() && hungUp(err):
		return kept, nil
	case err != nil:
		return unclear, err
	}
	defer resp.Body.Close()
	switch st := resp.StatusCode; {
	case d.ofNobody() && (st/100 == 4 || strings.HasPrefix(resp.Header.Get("Location"), p.public.String()+"/")):
		return kept, nil // no such host, in other words, or ours
	case st == http.StatusUnauthorized, st == http.StatusForbidden, strings.HasPrefix(resp.Header.Get("Location"), p.public.String()+"/.gatehouse/login?"):
		return kept, nil
	case st == http.StatusBadRequest, st == http.StatusNotFound, st == http.StatusMisdirectedRequest, st >= 500:
		return unclear, fmt.Errorf("the status is %d", st)
	default:
		return let, nil
	}
}

// hungUp reports whether somebody is there and wants to hear nothing.
func hungUp(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || ok && op.Op == "remote error" // an alert of TLS
}

// judge raises an alarm, or ends it once the same door is found shut. What is
// unclear changes neither.
func (p *prober) judge(proxy string, d door, how string, s heard, err error) {
	what, again := fmt.Sprintf("proxy %s lets nobody into %s at %s%s, asked %s", proxy, d.service, d.host, d.path, how), "proxy "+proxy+" asks again"
	if d.ofNobody() {
		what, again = fmt.Sprintf("proxy %s serves a host that nobody has, at %s%s, asked %s", proxy, d.host, d.path, how), "proxy "+proxy+" refuses a host again that nobody has"
	}
	p.mu.Lock()
	was := p.alarms[what]
	switch s {
	case let:
		p.alarms[what] = true
	case kept:
		delete(p.alarms, what)
	}
	p.mu.Unlock()
	switch {
	case s == let:
		p.log.Error(d.is()+" is open: "+what, "code", reasonOpen)
		if !was {
			p.record(audit.Event{Kind: "proxy.open", Code: reasonOpen, Service: d.service, Text: what})
		}
	case s == kept && !was:
		p.log.Debug(d.is()+" is closed", "proxy", proxy, "service", d.service, "path", d.path, "asked", how)
	case s == kept:
		p.log.Info(d.is()+" is closed again", "proxy", proxy, "service", d.service, "path", d.path)
		p.record(audit.Event{Kind: "proxy.closed", Service: d.service, Text: again})
	case s == unclear:
		p.log.Warn("a probe of a proxy found nothing out", "proxy", proxy, "service", d.service, "host", d.host, "path", d.path, "error", err)
	}
}

// reasonOpen is the code of the alarm.
const reasonOpen = "proxy.open"

// raised are the alarms that last, in words.
func (p *prober) raised() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for what := range p.alarms {
		list = append(list, what)
	}
	slices.Sort(list)
	return list
}
