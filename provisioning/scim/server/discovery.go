package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// discovery answers at an address that only describes the server (RFC 7644 section 4).
func discovery(w http.ResponseWriter, r *http.Request, make func() ([]byte, error)) (reply, error) {
	if err := allow(w, r, http.MethodGet); err != nil {
		return reply{}, err
	}
	par, err := parameters(r)
	if err != nil {
		return reply{}, err
	}
	if _, ok := par["filter"]; ok {
		return reply{}, scim.Errorf(http.StatusForbidden, "", "what describes the server can not be filtered")
	}
	data, err := make()
	return reply{status: http.StatusOK, body: data}, err
}

type described struct {
	id   string
	data []byte
}

func oneOrAll(all []described, which []string) ([]byte, error) {
	if len(which) == 0 {
		return listed{total: len(all), start: 1, n: len(all)}.encode(func(b []byte, i int) []byte { return append(b, all[i].data...) }), nil
	}
	for _, d := range all {
		if strings.EqualFold(d.id, which[0]) {
			return d.data, nil
		}
	}
	return nil, scim.NotFound(which[0])
}

// meta of what describes the server.
type meta struct {
	ResourceType string `json:"resourceType"`
	Location     string `json:"location"`
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own plain structs
	}
	return data
}

func (s *Server) config() []byte {
	type supported struct {
		Supported bool `json:"supported"`
	}
	type scheme struct {
		Type        string `json:"type"`
		Name        string `json:"name"`
		Description string `json:"description"`
		Primary     bool   `json:"primary"`
	}
	type bulk struct {
		Supported     bool `json:"supported"`
		MaxOperations int  `json:"maxOperations"`
		MaxPayload    int  `json:"maxPayloadSize"` // bytes
	}
	type pagination struct {
		Cursor        bool   `json:"cursor"`
		Index         bool   `json:"index"`
		Default       string `json:"defaultPaginationMethod"`
		DefaultSize   int    `json:"defaultPageSize"`
		MaxSize       int    `json:"maxPageSize"`
		CursorTimeout int    `json:"cursorTimeout"` // seconds
	}
	type events struct {
		Async string   `json:"asyncRequest"`
		URIs  []string `json:"eventUris"`
	}
	ev := events{"none", []string{}}
	if s.Async > 0 {
		ev = events{"request", []string{asyncEvent}}
	}
	schemes := []scheme{{"oauthbearertoken", "Bearer token", "A token in the header Authorization (RFC 6750).", true}}
	if s.Basic {
		schemes = append(schemes, scheme{"httpbasic", "HTTP Basic", "A user name and a password in the header Authorization (RFC 7617).", false})
	}
	return encode(struct {
		Schemas []string  `json:"schemas"`
		Patch   supported `json:"patch"`
		Bulk    bulk      `json:"bulk"`
		Filter  struct {
			Supported  bool `json:"supported"`
			MaxResults int  `json:"maxResults"`
		} `json:"filter"`
		ChangePassword supported  `json:"changePassword"`
		Sort           supported  `json:"sort"`
		ETag           supported  `json:"etag"`
		Pagination     pagination `json:"pagination"`
		Events         events     `json:"securityEvents"`
		Schemes        []scheme   `json:"authenticationSchemes"`
		Meta           meta       `json:"meta"`
	}{
		Schemas: []string{scim.ConfigURN},
		Patch:   supported{true},
		Bulk:    bulk{true, s.MaxOperations, scim.MaxBody},
		Filter: struct {
			Supported  bool `json:"supported"`
			MaxResults int  `json:"maxResults"`
		}{true, s.MaxPage},
		Sort:       supported{true},
		ETag:       supported{true},
		Pagination: pagination{true, true, "index", s.DefaultPage, s.MaxPage, int(s.CursorTimeout.Seconds())},
		Events:     ev,
		Schemes:    schemes,
		Meta:       meta{"ServiceProviderConfig", s.Base + "/ServiceProviderConfig"},
	})
}

func (s *Server) resourceTypes() []described {
	type extension struct {
		Schema   string `json:"schema"`
		Required bool   `json:"required"`
	}
	var all []described
	for _, res := range s.Resources {
		rt := res.Type
		exts := []extension{}
		for _, e := range rt.Extensions {
			exts = append(exts, extension{e.Schema.ID, e.Required})
		}
		all = append(all, described{rt.Name, encode(struct {
			Schemas     []string    `json:"schemas"`
			ID          string      `json:"id"`
			Name        string      `json:"name"`
			Endpoint    string      `json:"endpoint"`
			Description string      `json:"description"`
			Schema      string      `json:"schema"`
			Extensions  []extension `json:"schemaExtensions"`
			Meta        meta        `json:"meta"`
		}{
			[]string{scim.ResourceTypeURN}, rt.Name, rt.Name, rt.Endpoint, rt.Description, rt.Schema.ID, exts,
			meta{"ResourceType", s.Base + "/ResourceTypes/" + url.PathEscape(rt.Name)},
		})})
	}
	return all
}

func (s *Server) schemas() []described {
	var all []described
	seen := map[string]bool{}
	for _, res := range s.Resources {
		for _, sc := range res.Type.Schemas() {
			if seen[sc.ID] {
				continue
			}
			seen[sc.ID] = true
			all = append(all, described{sc.ID, encode(struct {
				Schemas []string `json:"schemas"`
				*scim.Schema
				Meta meta `json:"meta"`
			}{[]string{scim.SchemaURN}, sc, meta{"Schema", s.Base + "/Schemas/" + url.PathEscape(sc.ID)}})})
		}
	}
	return all
}
