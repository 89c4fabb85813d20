package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

var (
	balances  = map[string]upstream.Balance{"round_robin": upstream.RoundRobin, "least_requests": upstream.LeastRequests}
	stickies  = map[string]upstream.Sticky{"none": upstream.Nothing, "cookie": upstream.ByCookie, "session": upstream.BySession}
	protocols = map[string]upstream.Protocol{"auto": upstream.Auto, "http1": upstream.HTTP1, "http2": upstream.HTTP2, "h2c": upstream.H2C}
)

// upstreams makes those of each service. What the site before knew about them is
// still so.
func (p *process) upstreams(cfg *configs.Config) (map[string]*upstream.Set, error) {
	sets := map[string]*upstream.Set{}
	old := p.site.Load()
	for _, s := range cfg.Services {
		set, err := p.upstreamsOf(s)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", s.ID, err)
		}
		if old != nil {
			set.Inherit(old.upstreams[s.ID])
		}
		sets[s.ID] = set
	}
	return sets, nil
}

func (p *process) upstreamsOf(s configs.Service) (*upstream.Set, error) {
	c := upstream.Config{
		Balance: balances[s.Balance], Sticky: stickies[s.Sticky], Key: p.sticky, Retries: s.Retries,
		Failures: s.Eject.Failures, Eject: s.Eject.For, Statuses: s.Eject.Statuses,
		Timeouts: upstream.Timeouts{Connect: s.Timeouts.Connect, Head: s.Timeouts.Head, Whole: s.Timeouts.Whole, Silence: s.Timeouts.Silence},
		MaxHead:  int(s.Response.HeaderSize), MaxBody: int64(s.Response.Size),
		Rewrite: upstream.Rewrite{Strip: s.Rewrite.Strip, Add: s.Rewrite.Add},
		Wire:    upstream.Wire{Protocol: protocols[s.Protocol]},
		Now:     p.now,
		Changed: func(member string, st upstream.State, why error) {
			level, attrs := slog.LevelWarn, []slog.Attr{slog.String("service", s.ID), slog.String("upstream", member), slog.String("state", st.String())}
			if st == upstream.Well {
				level = slog.LevelInfo
			} else {
				attrs = append(attrs, slog.Any("error", why))
			}
			p.log.LogAttrs(context.Background(), level, "upstream", attrs...)
		},
	}
	for _, u := range s.Upstream {
		c.Addresses = append(c.Addresses, u.URL())
	}
	if h := s.Health; h != nil {
		c.Check = &upstream.Check{Path: h.Path, Host: h.Host, Every: h.Every, Timeout: h.Timeout, Fails: h.Fails, Passes: h.Passes, Status: h.Status}
		if c.Check.Host == "" {
			c.Check.Host = s.Host
		}
	}
	var err error
	if c.Wire.TLS, err = upstreamTLS(s.UpstreamTLS); err != nil {
		return nil, err
	}
	return upstream.New(c)
}

func upstreamTLS(t *configs.UpstreamTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	roots, err := rootsFrom(string(t.CA))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: roots, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.Cert == "" {
		return c, nil
	}
	cert, err := os.ReadFile(string(t.Cert))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, []byte(t.Key.Value()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Cert, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// runUpstreams asks them whether they are well, until ctx ends, and then lets
// their idle connections go.
func (s *site) runUpstreams(ctx context.Context) {
	var wg sync.WaitGroup
	for _, set := range s.upstreams {
		wg.Go(func() { set.Run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	for _, set := range s.upstreams {
		set.Close()
	}
}

// upstreamLevels are the states of all upstreams, for metrics.
func (s *site) upstreamLevels(p *process) (list []metrics.Level) {
	now := p.now()
	for service, set := range s.upstreams {
		for _, m := range set.Members() {
			is := m.State(now).String()
			for _, state := range upstream.States {
				list = append(list, metrics.Level{Name: metrics.UpstreamState, Labels: []string{service, m.Name, state}, Value: truth(is == state)})
			}
		}
	}
	return list
}
