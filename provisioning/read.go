package provisioning

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// readUser reads a row of users as the table writes it: its members in their order,
// without white space. Users are read at every request, and encoding/json takes
// several times as long. Of anything else it says false, and makes nothing up.
func readUser(raw []byte) (r userRow, ok bool) {
	s := rowText{rest: string(raw)}
	s.skip(`{"id":`)
	r.ID = s.text()
	s.skip(`,"store":`)
	r.Store = s.text()
	s.skip(`,"user_name":`)
	r.UserName = s.text()
	if s.has(`,"external_id":`) {
		r.ExternalID = s.text()
	}
	s.skip(`,"version":`)
	r.Version = s.number()
	if r.Active = s.has(`,"active":true`); !r.Active {
		s.skip(`,"active":false`)
	}
	if s.has(`,"attributes":{`) {
		r.Attributes = s.attributes()
	}
	s.skip(`,"created":`) // grants come before it, and are few
	r.Created = s.time()
	s.skip(`,"modified":`)
	r.Modified = s.time()
	s.skip(`}`)
	return r, !s.odd && s.rest == "" && utf8.Valid(raw)
}

// readTally is readUser for tallies, of which every page reads some.
func readTally(raw []byte) (r tallyRow, ok bool) {
	s := rowText{rest: string(raw)}
	s.skip(`{"store":`)
	r.Store = s.text()
	s.skip(`,"part":`)
	part := s.number()
	r.Part = byte(part)
	s.skip(`,"users":`)
	r.Users = int(s.number())
	s.skip(`}`)
	return r, !s.odd && s.rest == "" && part < 256 && utf8.Valid(raw)
}

// rowText is a row that is being read.
type rowText struct {
	rest string
	odd  bool // it is not as it is written
}

// has reports whether w comes next, and passes over it.
func (s *rowText) has(w string) bool {
	rest, ok := strings.CutPrefix(s.rest, w)
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *rowText) skip(w string) { s.odd = !s.has(w) || s.odd }

func (s *rowText) text() string {
	if !s.has(`"`) {
		s.odd = true
		return ""
	}
	escapes := 0
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			in := s.rest[:i]
			s.rest = s.rest[i+1:]
			if escapes == 0 {
				return in
			}
			return s.unescaped(in, escapes)
		case c == '\\':
			escapes++
			i++
		case c < ' ':
			s.odd = true
			return ""
		}
	}
	s.odd = true
	return ""
}

// unescaped is a text in which so many characters are escaped, most often quotation
// marks: claims keep JSON.
func (s *rowText) unescaped(in string, escapes int) (out string) {
	var b strings.Builder
	b.Grow(len(in) - escapes)
	for rest := in; ; {
		i := strings.IndexByte(rest, '\\')
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		if c := rest[i+1]; c != '"' && c != '\\' {
			s.odd = json.Unmarshal([]byte(`"`+in+`"`), &out) != nil || s.odd
			return out
		}
		b.WriteString(rest[:i])
		b.WriteByte(rest[i+1])
		rest = rest[i+2:]
	}
}

func (s *rowText) number() (n uint64) {
	i := 0
	for ; i < len(s.rest) && '0' <= s.rest[i] && s.rest[i] <= '9'; i++ {
		n = 10*n + uint64(s.rest[i]-'0')
	}
	s.odd = s.odd || i == 0 || i > 18 || i > 1 && s.rest[0] == '0'
	s.rest = s.rest[i:]
	return n
}

func (s *rowText) time() time.Time {
	t, err := time.Parse(time.RFC3339, s.text())
	s.odd = s.odd || err != nil
	return t
}

// attributes reads what is inside the braces, and the closing one.
func (s *rowText) attributes() map[string][]Claim {
	all := make(map[string][]Claim, 8)
	claims, values := make([]Claim, 0, 8), make([]string, 0, 8) // shared by the attributes
	for more := true; more && !s.odd; more = s.has(`,`) {
		attr := s.text()
		s.skip(`:[`)
		from := len(claims)
		for more := true; more && !s.odd; more = s.has(`,`) {
			var c Claim
			s.skip(`{"source":`)
			c.Source = Source(s.text())
			s.skip(`,"values":[`)
			first := len(values)
			for more := true; more && !s.odd; more = s.has(`,`) {
				values = append(values, s.text())
			}
			c.Values = values[first:len(values):len(values)]
			s.skip(`],"at":`)
			c.At = s.time()
			s.skip(`}`)
			claims = append(claims, c)
		}
		s.skip(`]`)
		all[attr] = claims[from:len(claims):len(claims)]
	}
	s.skip(`}`)
	return all
}
