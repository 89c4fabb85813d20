package bearer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// An Issuer makes JWTs (RFC 7519) by which programs are known, as RFC 9068 or as
// OpenID Connect has them.
type Issuer struct {
	ID         string // what its programs are called in rules
	Issuer     string
	Audience   []string // one of which a JWT must be for
	Subjects   []string // that are let in, exact or with * for any text; empty: nobody
	Algorithms []string // that may sign
	KeysURL    string   // of its JWK set; empty: as its discovery document says
	// Attributes of ours, and the claims that they are taken from.
	Attributes map[string]string
	Longest    time.Duration // that a JWT may live, from when it was made
	Skew       time.Duration // by which its clock may be off
	Client     *http.Client  // for its keys; follows no redirects
}

// claims are what is kept of a JWT.
type claims struct {
	issuer, subject, alg string
	audience             []string
	made, from, until    time.Time // zero: not said
}

// A JWT's type, if it has one. Others are for something else: a logout, a proof
// of possession.
var jwtTypes = []string{"jwt", "at+jwt", "application/at+jwt"}

// judge checks a JWT for a service.
func (c *Callers) judge(ctx context.Context, raw string, s Service) (*Caller, error) {
	var algs []jose.SignatureAlgorithm
	for _, i := range s.Issuers {
		for _, a := range i.Algorithms {
			if alg := jose.SignatureAlgorithm(a); !slices.Contains(algs, alg) {
				algs = append(algs, alg)
			}
		}
	}
	if len(algs) == 0 {
		return nil, refused(ReasonUnknown, "no token of ours, and the service takes no JWTs")
	}
	tok, err := jwt.ParseSigned(raw, algs)
	if err != nil || len(tok.Headers) != 1 {
		return nil, refused(ReasonJWT, "no signed JWT with an algorithm that is taken: %v", err)
	}
	head := tok.Headers[0]
	if typ, given := head.ExtraHeaders[jose.HeaderType]; given {
		if name, _ := typ.(string); !slices.Contains(jwtTypes, strings.ToLower(name)) {
			return nil, refused(ReasonJWT, "the type %q is for something else", typ)
		}
	}
	var unproved jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&unproved); err != nil {
		return nil, refused(ReasonJWT, "the claims can not be read: %v", err)
	}
	var last error = refused(ReasonJWT, "nobody is listed as the issuer %.100q", unproved.Issuer)
	for _, i := range s.Issuers {
		if i.Issuer != unproved.Issuer || !slices.Contains(i.Algorithms, head.Algorithm) {
			continue
		}
		k, err := i.judge(ctx, tok, head, c)
		if err == nil {
			return k, nil
		}
		last = err
	}
	return nil, last
}

// judge checks the signature first, and then what was signed.
func (i *Issuer) judge(ctx context.Context, tok *jwt.JSONWebToken, head jose.Header, c *Callers) (*Caller, error) {
	keys, err := c.Keys.of(i).get(ctx, i, head.KeyID, c.Now)
	if err != nil {
		return nil, err
	}
	var said jwt.Claims
	var all map[string]any
	err = errors.New("no key of the issuer is meant")
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if err = tok.Claims(key.Key, &said, &all); err == nil {
			break
		}
	}
	if err != nil {
		return nil, refused(ReasonJWT, "the signature is not the issuer's: %v", err)
	}
	if _, bound := all["cnf"]; bound {
		return nil, refused(ReasonJWT, "it is bound to a key (RFC 7800), which nobody has shown")
	}
	cl := claims{issuer: said.Issuer, subject: said.Subject, audience: said.Audience, alg: head.Algorithm}
	for to, at := range map[*time.Time]*jwt.NumericDate{&cl.made: said.IssuedAt, &cl.from: said.NotBefore, &cl.until: said.Expiry} {
		if at != nil {
			*to = at.Time()
		}
	}
	if err := i.fits(cl, c.Now()); err != nil {
		return nil, err
	}
	name := subjects + i.ID
	k := &Caller{
		Subject: authz.Subject{ID: name + "/" + cl.subject, Store: name, UserName: cl.subject, Active: true, Caller: i.ID, Attributes: map[string][]string{}},
		Until:   cl.until, claims: cl,
	}
	for ours, theirs := range i.Attributes {
		if vals := texts(all[theirs]); len(vals) > 0 {
			k.Subject.Attributes[ours] = vals
		}
	}
	return k, nil
}

// maxSubject bounds the name of a program, in bytes, as OpenID Connect does.
const maxSubject = 255

// fits says why claims are not what the issuer's programs are known by.
func (i *Issuer) fits(c claims, now time.Time) error {
	no := func(format string, args ...any) error { return refused(ReasonJWT, format, args...) }
	switch {
	case c.issuer != i.Issuer:
		return no("another issuer")
	case !slices.Contains(i.Algorithms, c.alg):
		return no("the algorithm %s is not listed", c.alg)
	case !slices.ContainsFunc(c.audience, func(a string) bool { return slices.Contains(i.Audience, a) }):
		return no("it is for %.200q", c.audience)
	case c.until.IsZero():
		return no("it has no end")
	case !now.Before(c.until.Add(i.Skew)):
		return no("it ended at %s", c.until.UTC().Format(time.RFC3339))
	case !c.from.IsZero() && now.Add(i.Skew).Before(c.from):
		return no("it begins at %s", c.from.UTC().Format(time.RFC3339))
	case !c.made.IsZero() && now.Add(i.Skew).Before(c.made):
		return no("it was made at %s, which is to come", c.made.UTC().Format(time.RFC3339))
	}
	began := c.made
	if began.IsZero() {
		began = now
	}
	if c.until.Sub(began) > i.Longest {
		return no("it lives for %s", c.until.Sub(began).Round(time.Second))
	}
	if c.subject == "" || len(c.subject) > maxSubject || !utf8.ValidString(c.subject) || strings.ContainsFunc(c.subject, unicode.IsControl) {
		return no("it has no subject that can be a name")
	}
	if !slices.ContainsFunc(i.Subjects, func(pattern string) bool { return authz.Like(c.subject, pattern) }) {
		return no("its subject %q is not listed", c.subject)
	}
	return nil
}

// texts are the values of a claim: a text, a number, true or false, or a list of
// these. Of anything else there are none.
func texts(v any) (list []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool, json.Number:
		return []string{fmt.Sprint(v)}
	case float64:
		raw, _ := json.Marshal(v) // as it stood there
		return []string{string(raw)}
	case []any:
		for _, one := range v {
			if _, nested := one.([]any); !nested {
				list = append(list, texts(one)...)
			}
		}
	}
	return list
}

// Keys are those of issuers, as they were fetched. They outlive configurations.
type Keys struct {
	mu sync.Mutex
	m  map[string]*keySet
}

// NewKeys makes Keys that know none.
func NewKeys() *Keys { return &Keys{m: map[string]*keySet{}} }

func (k *Keys) of(i *Issuer) *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := i.Issuer + " " + i.KeysURL
	set := k.m[name]
	if set == nil {
		set = &keySet{free: make(chan bool, 1)}
		k.m[name] = set
	}
	return set
}

// keySet is the keys of one issuer.
type keySet struct {
	free chan bool // holds something while somebody fetches

	mu    sync.Mutex
	keys  []jose.JSONWebKey
	at    time.Time // when they were fetched
	tried time.Time // when somebody last began to
	err   error     // what came of that
}

// Times of keys: how soon after a fetch the next may be, however many JWTs name a
// key that is not there; after how long they are fetched anew; and for how long
// they are believed if that fails.
const (
	keysSoonest = time.Minute
	keysFresh   = time.Hour
	keysLongest = 24 * time.Hour
)

// get returns the keys that a JWT may mean: those with its key ID, or all if it
// has none.
func (s *keySet) get(ctx context.Context, i *Issuer, id string, now func() time.Time) ([]jose.JSONWebKey, error) {
	keys, fetch := s.have(id, now())
	if fetch && len(keys) > 0 { // they are to be fetched anew, which whoever is first does
		select {
		case s.free <- true:
			s.fetch(ctx, i, now())
			keys, _ = s.have(id, now())
			<-s.free
		default:
		}
	} else if fetch {
		select {
		case s.free <- true:
			if keys, fetch = s.have(id, now()); fetch { // nobody did while this waited
				s.fetch(ctx, i, now())
				keys, _ = s.have(id, now())
			}
			<-s.free
		case <-ctx.Done():
			return nil, refused(ReasonKeys, "nobody waited for the keys of %s", i.Issuer)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(keys) > 0:
		return keys, nil
	case s.err != nil:
		return nil, refused(ReasonKeys, "keys of %s: %v", i.Issuer, s.err)
	}
	return nil, refused(ReasonJWT, "the issuer has no key %.100q", id)
}

// have returns what is known, and whether to fetch.
func (s *keySet) have(id string, now time.Time) (keys []jose.JSONWebKey, fetch bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := now.Sub(s.at)
	if age >= 0 && age < keysLongest {
		for _, k := range s.keys {
			if id == "" || k.KeyID == id {
				keys = append(keys, k)
			}
		}
	}
	since := now.Sub(s.tried)
	return keys, (len(keys) == 0 || age < 0 || age >= keysFresh) && (since < 0 || since >= keysSoonest)
}

func (s *keySet) fetch(ctx context.Context, i *Issuer, now time.Time) {
	// Whoever asked may leave; the others who wait need the keys all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	keys, err := i.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.err = now, err
	if err == nil {
		s.keys, s.at = keys, now
	}
}

// fetch asks the issuer for its keys.
func (i *Issuer) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	at := i.KeysURL
	if at == "" {
		var found struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := i.read(ctx, strings.TrimSuffix(i.Issuer, "/")+"/.well-known/openid-configuration", &found); err != nil {
			return nil, err
		}
		from, err := url.Parse(found.Keys)
		switch {
		case found.Issuer != i.Issuer:
			return nil, fmt.Errorf("the discovery document is that of %.200q", found.Issuer)
		case err != nil || from.Host == "" || from.Scheme != "https" && !strings.HasPrefix(i.Issuer, from.Scheme+":"):
			return nil, fmt.Errorf("the discovery document names the keys %.200q", found.Keys)
		}
		at = found.Keys
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := i.read(ctx, at, &set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		// What can not be read is of a kind that signs nothing here.
		if err := k.UnmarshalJSON(raw); err == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key for signatures")
	}
	return keys, nil
}

// maxKeys bounds what an issuer says of itself, in bytes.
const maxKeys = 1 << 20

func (i *Issuer) read(ctx context.Context, at string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := i.Client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", at, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	switch {
	case err != nil:
		return err
	case len(raw) > maxKeys:
		return fmt.Errorf("%s answered with more than %d bytes", at, maxKeys)
	}
	return json.Unmarshal(raw, into)
}
