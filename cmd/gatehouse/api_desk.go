package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// deskRoutes say how things are.
func (a *api) deskRoutes() {
	a.route("GET /v1/overview", a.overview, "helpdesk", "auditors").doc("How things are today: sign-ins and denials, what waits, what is in trouble, what ends soon.", webapi.Overview{})
	a.route("GET /v1/settings", a.settings, "auditors").doc("What the gateway runs with; it is changed in the configuration file.", webapi.Settings{})
}

// mostEvents of one kind are counted for a day; beyond that there are "more".
const mostEvents = 20_000

// mostEnds are shown, those that come first.
const mostEnds = 5

func (a *api) overview(r *http.Request) (any, error) {
	now := a.p.now().UTC()
	v := webapi.Overview{Since: now.Truncate(24 * time.Hour), Targets: []webapi.TargetWork{}, Ends: a.ends()}
	for h := range now.Hour() + 1 {
		v.Hours = append(v.Hours, webapi.Hour{Hour: h})
	}
	for kind, add := range map[string]func(*webapi.Hour){
		"login":         func(h *webapi.Hour) { h.SignIns++; v.SignIns++ },
		"login.refused": func(h *webapi.Hour) { h.Refused++; v.Refused++ },
		"denied":        func(h *webapi.Hour) { h.Denied++; v.Denied++ },
	} {
		n := 0
		for e, err := range audit.Events(r.Context(), a.p.store, audit.Query{Kind: kind}) {
			if err != nil {
				return nil, err
			}
			if n++; e.At.Before(v.Since) || n > mostEvents {
				v.More = v.More || n > mostEvents
				break
			}
			if h := e.At.UTC().Hour(); h < len(v.Hours) {
				add(&v.Hours[h])
			}
		}
	}
	v.Targets = a.targetWork(r.Context())
	v.Ends = v.Ends[:min(mostEnds, len(v.Ends))]
	found, err := a.s.access.All(r.Context(), access.Pending, "", mostCounted)
	if err != nil {
		return nil, err
	}
	v.Requests = len(found)
	v.Backup, err = a.lastBackup(r.Context())
	return v, err
}

// targetWork is how targets do and what waits there, as metrics have it: counted a
// few seconds ago at most.
func (a *api) targetWork(ctx context.Context) []webapi.TargetWork {
	list := []webapi.TargetWork{}
	for _, t := range a.targetViews(ctx) {
		list = append(list, webapi.TargetWork{TargetView: t})
	}
	for _, l := range a.p.levels.read(ctx) {
		if len(l.Labels) == 0 {
			continue
		}
		i := slices.IndexFunc(list, func(t webapi.TargetWork) bool { return t.ID == l.Labels[0] })
		switch {
		case i < 0:
		case l.Name == metrics.TasksPending:
			list[i].Pending = int(l.Value)
		case l.Name == metrics.TasksDead:
			list[i].Dead = int(l.Value)
		case l.Name == metrics.TaskOldest:
			list[i].Oldest = time.Duration(l.Value * float64(time.Second))
		}
	}
	return list
}

// ends are when certificates and what identity providers publish end, the first first.
func (a *api) ends() []webapi.End {
	list := []webapi.End{}
	for use, until := range a.p.certificates(a.s.cfg) {
		kind, id, _ := strings.Cut(use, ":")
		list = append(list, webapi.End{Use: kind, ID: id, Until: until})
	}
	for _, p := range a.s.providers {
		if sp, ok := p.Provider.(*saml.Provider); ok {
			if until := sp.Status().ValidUntil; !until.IsZero() {
				list = append(list, webapi.End{Use: "metadata", ID: p.ID, Until: until})
			}
		}
	}
	slices.SortFunc(list, func(a, b webapi.End) int { return a.Until.Compare(b.Until) })
	return list
}

// lastBackup is when the store was copied last, as the audit log has it.
func (a *api) lastBackup(ctx context.Context) (at time.Time, err error) {
	for e, err := range audit.Events(ctx, a.p.store, audit.Query{Kind: eventBackup, Limit: 1}) {
		return e.At, err
	}
	return at, nil
}

func (a *api) settings(r *http.Request) (any, error) {
	cfg := a.s.cfg
	file, _, _ := strings.Cut(cfg.Pos("version"), ":")
	v := webapi.Settings{
		Version: version, File: filepath.Base(file), PublicURL: cfg.Server.PublicURL.String(), Listen: string(cfg.Server.Listen), Languages: append([]string{}, cfg.Languages...),
		Store: string(cfg.Store), Duties: []webapi.Duty{dutyOf(administrator, cfg.Admins.All())},
	}
	v.Good, v.Taken = a.p.config.last()
	for duty, p := range dutiesOf(cfg) {
		v.Duties = append(v.Duties, dutyOf(duty, p))
	}
	slices.SortFunc(v.Duties[1:], func(a, b webapi.Duty) int { return strings.Compare(a.Duty, b.Duty) })
	path := cfg.Store.Bolt()
	if info, err := os.Stat(path); err == nil {
		v.Size = info.Size()
	}
	if free, ok := freeBytes(filepath.Dir(path)); ok {
		v.Free = int64(free)
	}
	var err error
	if v.Keys, err = a.ownKeys(r.Context()); err != nil {
		return nil, err
	}
	v.Backup, err = a.lastBackup(r.Context())
	return v, err
}

func dutyOf(duty string, p configs.People) webapi.Duty {
	return webapi.Duty{Duty: duty, Roles: p.Roles, Groups: p.Groups, Users: p.Users}
}

// ownKeys are those of the gateway, by what others may know of them.
func (a *api) ownKeys(ctx context.Context) ([]webapi.Key, error) {
	list := []webapi.Key{}
	own, err := a.p.listKeys(ctx)
	for _, k := range own {
		list = append(list, webapi.Key{Use: k.Purpose, ID: k.Does, Kind: k.State, Until: k.Until})
	}
	for _, e := range a.ends() {
		if e.Use != "metadata" {
			list = append(list, webapi.Key{Use: e.Use, ID: e.ID, Kind: "X.509", Until: e.Until})
		}
	}
	return list, err
}

// fingerprint is short for a key.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}
