package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A keyPurpose says how keys of one use follow each other.
type keyPurpose struct {
	name, does     string
	announce, keep time.Duration
	fresh          func(*configs.Config) ([]byte, error) // nil: it is never another
}

// keyPurposes are those of all keys that the gateway makes by itself.
var keyPurposes = []keyPurpose{
	{"jwt", "signs tokens for services", time.Hour, time.Hour, func(*configs.Config) ([]byte, error) { return gateway.FreshJWT() }},
	{"cookie", "seals what a browser carries", time.Minute, 24 * time.Hour, freshSecret},
	{"access", "signs access tokens of clients", time.Minute, time.Hour, freshSecret},
	{"saml", "signs requests to identity providers and opens what they encrypt, where no keys are configured", 7 * 24 * time.Hour, 7 * 24 * time.Hour,
		func(cfg *configs.Config) ([]byte, error) { return selfSigned(cfg.Server.PublicURL.Hostname()) }},
	{"pairwise", "makes pairwise identifiers: another would make everybody another person to the services", 0, 0, nil},
	{"passing", "keys the hashes of users who pass through: another would find nobody", 0, 0, nil},
	{"cursor", "seals cursors of SCIM", 0, 0, nil},
	{"tokens", "keys the hashes of service tokens: another would know none of them", 0, 0, nil},
	{"sticky", "marks who stays at which upstream", 0, 0, nil},
}

func freshSecret(*configs.Config) ([]byte, error) { return gateway.FreshSecret() }

// readKeys reads the keys that this process uses.
func (p *process) readKeys(ctx context.Context) error {
	if p.keys == nil {
		keys, err := gateway.LoadKeys(ctx, p.store, p.sealer, p.now)
		if errors.Is(err, store.ErrSeal) {
			return fmt.Errorf("%w — the key of the store is not the one that its keys were sealed with: put that back, or name it with store_key_before", err)
		}
		if err != nil {
			return err
		}
		p.keys = keys
	} else if err := p.keys.Reload(ctx); err != nil {
		return err
	}
	ring, err := gateway.Ring(ctx, p.store, p.sealer, "access", p.now(), random32)
	if err != nil {
		return err
	}
	p.access = nil
	for _, k := range ring {
		p.access = append(p.access, k.Plain)
	}
	for purpose, key := range map[string]*[]byte{"cursor": &p.cursors, "passing": &p.passing, "sticky": &p.sticky, "tokens": &p.hashes} {
		if *key, err = gateway.Secret(ctx, p.store, p.sealer, purpose, p.now(), random32); err != nil {
			return err
		}
	}
	return nil
}

// watchKeys has keys taken when they are others than before: one was made, here or
// elsewhere, or the time of one has come. What fails is tried again soon.
func (p *process) watchKeys(ctx context.Context, take func(context.Context) error) {
	changed := make(chan struct{}, 1)
	go func() {
		for range p.store.Watch(ctx, gateway.KeyPrefix()) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for known := ""; ; {
		var again <-chan time.Time
		if now, err := p.keyStates(ctx); err == nil && now != known {
			if known == "" || take(ctx) == nil {
				known = now
			} else {
				again = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		case <-tick.C:
		}
	}
}

func (p *process) keyStates(ctx context.Context) (string, error) {
	list, err := p.listKeys(ctx)
	var b strings.Builder
	for _, k := range list {
		fmt.Fprintln(&b, k.Purpose, k.State, k.Created.UnixNano())
	}
	return b.String(), err
}

// States of a key, for people.
const (
	keyAnnounced  = "announced"
	keyInUse      = "in use"
	keyStillTaken = "still taken"
)

// keyView is a key as the tools show it.
type keyView struct {
	Purpose string    `json:"purpose"`
	State   string    `json:"state"`
	Created time.Time `json:"created"`
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Does    string    `json:"does"`
}

func (p *process) listKeys(ctx context.Context) (list []keyView, err error) {
	now := p.now()
	keys, err := gateway.AllKeys(ctx, p.store, now)
	if err != nil {
		return nil, err
	}
	used := map[string]time.Time{}
	for _, k := range keys {
		if at, ok := used[k.Purpose]; !k.From.After(now) && (!ok || k.From.After(at)) {
			used[k.Purpose] = k.From
		}
	}
	for _, k := range keys {
		v := keyView{Purpose: k.Purpose, State: keyStillTaken, Created: k.Created, From: k.From, Until: k.Until}
		switch {
		case k.From.After(now):
			v.State = keyAnnounced
		case k.From.Equal(used[k.Purpose]):
			v.State = keyInUse
		}
		if i := slices.IndexFunc(keyPurposes, func(kp keyPurpose) bool { return kp.name == k.Purpose }); i >= 0 {
			v.Does = keyPurposes[i].does
		}
		list = append(list, v)
	}
	return list, nil
}

// keyRoutes are what the API can do about the gateway's own keys.
func (a *api) keyRoutes() {
	a.route("GET /v1/keys", func(r *http.Request) (any, error) { return a.p.listKeys(r.Context()) }, "auditors").
		doc("The gateway's own keys, without what is secret in them.", []keyView{})
	a.route("POST /v1/keys", a.rotateKey).
		doc("Lets another key follow the one in use.", keyView{}, "purpose! which: jwt, cookie, access or saml",
			"announce how long it is shown before it is used, such as 90m or 7d; 0: not at all", "keep how long the one before is taken after that")
	a.route("POST /v1/keys/store", func(r *http.Request) (any, error) { return a.p.rotateStoreKey(r.Context(), a.s.cfg, a.actor(r)) }).
		doc("Seals what is sealed in the store with another key; asked again, it goes on where it ended.", resealed{})
}

func (a *api) rotateKey(r *http.Request) (any, error) {
	purpose := r.FormValue("purpose")
	i := slices.IndexFunc(keyPurposes, func(kp keyPurpose) bool { return kp.name == purpose })
	if i < 0 {
		return nil, errNone(fmt.Sprintf("there is no key %q — `gatehouse keys list` shows those there are", purpose))
	}
	kp := keyPurposes[i]
	if kp.fresh == nil {
		return nil, errNo(fmt.Sprintf("the key %s is never another: it %s", kp.name, kp.does))
	}
	announce, keep := kp.announce, kp.keep
	for name, d := range map[string]*time.Duration{"announce": &announce, "keep": &keep} {
		text := r.FormValue(name)
		if text == "" {
			continue
		}
		if *d = 0; text == "0" {
			continue
		}
		var err error
		if *d, err = configs.Duration(text); err != nil {
			return nil, errBad(fmt.Sprintf("%s: %v", name, err))
		}
	}
	made, err := gateway.Rotate(r.Context(), a.p.store, a.p.sealer, kp.name, a.p.now(), announce, keep, func() ([]byte, error) { return kp.fresh(a.s.cfg) }, a.p.keyEvent(kp.name, a.actor(r)))
	if errors.Is(err, gateway.ErrAnnounced) {
		return nil, errNo(err.Error())
	}
	if err != nil {
		return nil, err
	}
	return keyView{Purpose: kp.name, State: keyAnnounced, Created: made.Created, From: made.From, Does: kp.does}, nil
}

// resealed is what became of what is sealed in the store.
type resealed struct {
	Rows int    `json:"rows"` // sealed again
	Lost int    `json:"lost"` // opened by no key that is known
	Next string `json:"next"` // what is left to do for a person
}

// errOlder: somebody else would still seal with the key from before.
var errOlder = errNo("a process from before an upgrade still serves, and seals with the key that it knows — do it again when it has ended")

// rotateStoreKey seals everything in the store with another key: one that it makes,
// where the key is in the gateway's own file, or the one that is configured. Each
// step leaves everything readable, and done again it goes on where it ended:
//
//  1. The file holds the next key, and after it the one from before.
//  2. Rows are sealed again, some in each transaction.
//  3. The file holds the next key alone.
func (p *process) rotateStoreKey(ctx context.Context, cfg *configs.Config, by string) (done resealed, err error) {
	if p.older != nil && p.older() {
		return done, errOlder
	}
	p.resealing.Lock()
	defer p.resealing.Unlock()
	if !cfg.StoreKey.IsZero() {
		if cfg.StoreKeyBefore.IsZero() {
			return done, errNo("the key is configured: give the other key as store_key and the one in use as store_key_before, run `gatehouse upgrade`, and do this again")
		}
		done, err = p.reseal(ctx, by)
		done.Next = "store_key_before may go; what a backup from before holds opens with that key only"
		return done, err
	}
	path := ownKeyFile(cfg)
	secrets, err := store.SecretFile(path)
	if err != nil {
		return done, err
	}
	if len(secrets) == 1 { // otherwise it is half done
		secrets = append([][]byte{store.NewSecret()}, secrets...)
		if err := store.ReplaceSecretFile(path, secrets); err != nil {
			return done, err
		}
	}
	if err := p.sealer.Rekey(secrets[0], secrets[1:]...); err != nil {
		return done, err
	}
	if done, err = p.reseal(ctx, by); err != nil {
		return done, err
	}
	if err := store.ReplaceSecretFile(path, secrets[:1]); err != nil {
		return done, err
	}
	done.Next = "put " + path + " into the backup; what a backup from before holds opens with the key from before only"
	return done, p.sealer.Rekey(secrets[0])
}

// reseal passes over all tables until a pass finds nothing to do: what was sealed
// with the key from before just when that ceased to be in use may be written while
// the first one runs.
func (p *process) reseal(ctx context.Context, by string) (done resealed, err error) {
	for again := true; again; {
		again, done.Lost = false, 0
		for _, table := range []func(context.Context, store.Store, *store.Sealer) (int, int, error){
			gateway.SealedKeys.Reseal, lifecycle.SealedGrants.Reseal, sealedCertificates.Reseal,
		} {
			n, lost, err := table(ctx, p.store, p.sealer)
			done.Rows, done.Lost = done.Rows+n, done.Lost+lost
			if err != nil {
				return done, err
			}
			again = again || n > 0
		}
		if again {
			select {
			case <-ctx.Done():
				return done, ctx.Err()
			case <-time.After(time.Second):
			}
		}
	}
	return done, p.store.Update(ctx, p.keyEvent("store", by))
}

// eventKey is the kind of the event of another key.
const eventKey = "key.rotated"

// keyEvent records that a key was made.
func (p *process) keyEvent(purpose, by string) func(store.Tx) error {
	return func(tx store.Tx) error {
		return p.audit.Append(tx, audit.Event{Kind: eventKey, By: by, Names: []string{purpose}})
	}
}

func keysCommand() *cobra.Command {
	atOnce := false
	rotate := adminVerb("rotate PURPOSE", "Let another key follow the one in use: jwt, cookie, access, saml; or store, which seals the store", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a []string) (string, string, url.Values) {
			if a[0] == "store" {
				return "POST", "keys/store", nil
			}
			q := url.Values{"purpose": {a[0]}}
			if atOnce {
				q.Set("announce", "0")
				q.Set("keep", "0")
			}
			for _, name := range []string{"announce", "keep"} {
				if f := cmd.Flags().Lookup(name); f.Changed {
					q.Set(name, f.Value.String())
				}
			}
			return "POST", "keys", q
		}, func(w io.Writer, v struct {
			keyView
			resealed
		}) {
			if v.Purpose == "" {
				fmt.Fprintf(w, "%d %s sealed again, %d could not be opened; %s\n", v.Rows, plural(v.Rows, "row", "rows"), v.Lost, v.Next)
				return
			}
			fmt.Fprintf(w, "a key for %s was made, and is used from %s\n", v.Purpose, v.From.Local().Format(time.DateTime))
		})
	rotate.Flags().String("announce", "", "how long it is shown before it is used, such as 90m or 7d; 0: not at all")
	rotate.Flags().String("keep", "", "how long the one before is taken after that")
	rotate.Flags().BoolVar(&atOnce, "at-once", false, "use it at once and take no other: when somebody else has the key")
	return group("keys", "The gateway's own keys: list, rotate", rotate,
		adminVerb("list", "List the keys, and which is in use", cobra.NoArgs,
			func(*cobra.Command, []string) (string, string, url.Values) { return "GET", "keys", nil },
			func(w io.Writer, list []keyView) {
				fmt.Fprintln(w, "PURPOSE\tSTATE\tMADE\tFROM\tUNTIL\tWHAT IT DOES")
				for _, k := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Purpose, k.State, k.Created.Local().Format(time.DateTime), dash(k.From), dash(k.Until), k.Does)
				}
			}))
}

// dash is a time, or none.
func dash(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Local().Format(time.DateTime)
}
