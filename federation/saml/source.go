package saml

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// Metadata says where the identity provider's metadata comes from: exactly
// one of XML, File and URL.
type Metadata struct {
	XML  []byte
	File string
	// URL is fetched over https; over http only from this machine, or if the
	// document is signed by one of Certificates.
	URL string
	// Certificates pins who signs the document. If there are any, an unsigned
	// document is refused; if there are none, a signature is not looked at.
	Certificates []*x509.Certificate
	// Refresh is how old a document from a file or URL may grow before it is
	// read again; zero means one hour, and less than a minute means a minute.
	// A document that can not be had or is refused leaves the last good one
	// in use until its validUntil.
	Refresh time.Duration
	// Longest is how far ahead a validUntil may lie in a document from a URL;
	// zero means 14 days.
	Longest time.Duration
	// InsecureNoValidUntil accepts documents from a URL that never end.
	InsecureNoValidUntil bool
}

const (
	defaultRefresh = time.Hour
	leastRefresh   = time.Minute
	defaultLongest = 14 * 24 * time.Hour
	fetchTimeout   = 10 * time.Second
)

// Status is how a provider's metadata stands, for administrators.
type Status struct {
	EntityID   string
	Read       time.Time          // when the document in use was read; zero: none is
	ValidUntil time.Time          // zero: it does not end
	Err        error              // why the last attempt failed; nil if it did not
	Keys       []crypto.PublicKey // that it signs with
}

// A source gives the metadata in use and reads it again when it has aged. It
// starts nothing in the background: whoever finds it old reads it, and all
// others go on with what there is.
type source struct {
	from     Metadata
	entityID string
	check    func(*peer) error // what our own configuration needs of it
	client   *http.Client
	now      func() time.Time
	signers  []crypto.PublicKey

	reading sync.Mutex // held by the one who reads
	mu      sync.Mutex // guards what follows
	peer    *peer
	read    time.Time // of peer
	tried   time.Time
	err     error
}

func newSource(from Metadata, entityID string, client *http.Client, now func() time.Time) (*source, error) {
	given := 0
	for _, is := range []bool{len(from.XML) > 0, from.File != "", from.URL != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("metadata: exactly one of a document, a file and an address is needed")
	}
	s := &source{from: from, entityID: entityID, now: now}
	for _, c := range from.Certificates {
		if err := usable(c.PublicKey); err != nil {
			return nil, fmt.Errorf("metadata: the pinned certificate: %w", err)
		}
		s.signers = append(s.signers, c.PublicKey)
	}
	if s.from.Refresh == 0 {
		s.from.Refresh = defaultRefresh
	}
	s.from.Refresh = max(s.from.Refresh, leastRefresh)
	if s.from.Longest == 0 {
		s.from.Longest = defaultLongest
	}
	if from.URL != "" {
		u, err := url.Parse(from.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("metadata: %.100q is not an http address", from.URL)
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) && len(s.signers) == 0 {
			return nil, fmt.Errorf("metadata: %.100q is not https, and no signer of the document is pinned", from.URL)
		}
	}
	s.client = guarded(client)
	return s, nil
}

// guarded gives a client that does not wait for ever and follows no redirect
// to another host or to another scheme.
func guarded(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{}
	}
	own := *c
	if own.Timeout == 0 || own.Timeout > fetchTimeout {
		own.Timeout = fetchTimeout
	}
	own.Jar = nil
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if first := via[0].URL; len(via) > 3 || r.URL.Host != first.Host || r.URL.Scheme != first.Scheme {
			return fmt.Errorf("the address redirects to %.100q, which is not followed", r.URL.Host)
		}
		return nil
	}
	return &own
}

// current gives the metadata to work with.
func (s *source) current(ctx context.Context) (*peer, error) {
	if p := s.inUse(); p != nil && !s.due() {
		return p, nil
	}
	if p := s.inUse(); p == nil {
		s.reading.Lock()
	} else if !s.reading.TryLock() {
		return p, nil
	}
	defer s.reading.Unlock()
	if s.due() {
		s.refresh(ctx)
	}
	if p := s.inUse(); p != nil {
		return p, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil, unavailable(fmt.Errorf("the document was valid until %s, which is over", stamp(s.peer.validUntil)))
	}
	return nil, unavailable(s.err)
}

// inUse is the last good metadata, nil if there is none or its time is over.
func (s *source) inUse() *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == nil || !s.peer.validUntil.IsZero() && !s.now().Before(s.peer.validUntil) {
		return nil
	}
	return s.peer
}

// due reports whether it is time to read again: the document has aged, and
// the last attempt, which may have failed, is not too recent. A clock that
// went backward makes it due.
func (s *source) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	old := func(t time.Time, by time.Duration) bool { return now.Before(t) || !now.Before(t.Add(by)) }
	if s.peer != nil && len(s.from.XML) > 0 {
		return false
	}
	if s.err != nil {
		return old(s.tried, leastRefresh)
	}
	return s.peer == nil || old(s.read, s.from.Refresh) || !s.peer.validUntil.IsZero() && !now.Before(s.peer.validUntil)
}

// refresh reads the document once and takes it if it is good.
func (s *source) refresh(ctx context.Context) {
	p, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.err = s.now(), err
	if err == nil {
		s.peer, s.read = p, s.tried
	}
}

func (s *source) load(ctx context.Context) (*peer, error) {
	b, err := s.bytes(ctx)
	if err != nil {
		return nil, err
	}
	rules := metadataRules{entityID: s.entityID, signers: s.signers, now: s.now()}
	if s.from.URL != "" {
		rules.validUntil, rules.longest = !s.from.InsecureNoValidUntil, s.from.Longest
	}
	s.mu.Lock()
	if s.peer != nil && rules.entityID == "" {
		// People are known by the provider's entity ID, so it can not become
		// another one while we run.
		rules.entityID = s.peer.entityID
	}
	s.mu.Unlock()
	p, err := readMetadata(b, rules)
	if err != nil {
		return nil, err
	}
	return p, s.check(p)
}

func (s *source) bytes(ctx context.Context) ([]byte, error) {
	switch {
	case len(s.from.XML) > 0:
		return s.from.XML, nil
	case s.from.File != "":
		f, err := os.Open(s.from.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return limited(f)
	}
	// A caller who goes away does not leave the others without metadata.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.from.URL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9")
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the address answers %s", resp.Status)
	}
	return limited(resp.Body)
}

// limited reads up to the limit of a metadata document.
func limited(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMetadata+1))
	if err == nil && len(b) > maxMetadata {
		err = fmt.Errorf("the document has more than %d bytes", maxMetadata)
	}
	return b, err
}

// status says how things stand.
func (s *source) status() Status {
	p := s.inUse()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{EntityID: s.entityID, Err: s.err}
	if p != nil {
		st.EntityID, st.Read, st.ValidUntil, st.Keys = p.entityID, s.read, p.validUntil, p.keys
	}
	return st
}
