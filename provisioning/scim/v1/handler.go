package v1

import (
	"bytes"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Handler answers SCIM 1.1 by asking a SCIM 2.0 server. It has no state, and
// decides nothing: credentials, conditions and entity tags pass through it.
type Handler struct {
	Base   string       // the absolute address of 1.1, without a slash at its end
	Server http.Handler // SCIM 2.0
	At     string       // the absolute address of Server, without a slash at its end
}

// answer is what Server answers.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, write, err := h.ask(r)
	if err != nil {
		a = &answer{status: scim.AsError(err).Status, header: http.Header{}}
		a.body.Write(scim.AsError(err).Object().AppendJSON(nil))
	}
	for name, v := range a.header {
		if name != "Content-Type" && name != "Content-Length" {
			w.Header()[name] = v
		}
	}
	if loc := a.header.Get("Location"); loc != "" {
		w.Header().Set("Location", h.home(loc))
	}
	body := a.body.Bytes()
	if len(body) > 0 {
		w.Header().Set("Content-Type", MediaType)
		body = h.body(body, a.status, write)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // the client went away: there is nobody to tell
}

func (h *Handler) body(data []byte, status int, write func(*scim.Object) *scim.Object) []byte {
	// Our own server's answer may be larger than a message of a client.
	o, err := scim.Limits{Bytes: math.MaxInt, Values: math.MaxInt}.Decode(data)
	if err != nil {
		return scim.NewObject("Errors", []any{scim.NewObject("description", "the server failed", "code", "500")}).AppendJSON(nil)
	}
	if status >= 400 {
		o = scim.NewObject("Errors", []any{scim.NewObject("description", o.String("detail"), "code", strconv.Itoa(status))})
	} else {
		o = write(o)
	}
	data = bytes.ReplaceAll(o.AppendJSON(nil), []byte(`"`+h.At+`/`), []byte(`"`+h.Base+`/`))
	if o.Get("totalResults") != nil && o.Get("Resources") == nil { // an Object has no empty array
		data = append(data[:len(data)-1], `,"Resources":[]}`...)
	}
	return data
}

// home turns an address of Server into one of ours.
func (h *Handler) home(loc string) string {
	if rest, ok := strings.CutPrefix(loc, h.At); ok {
		return h.Base + rest
	}
	return loc
}

const errXML = "this server speaks JSON, not XML"

// ask makes a 2.0 request of r, and says how its answer is written.
func (h *Handler) ask(r *http.Request) (*answer, func(*scim.Object) *scim.Object, error) {
	base, err := url.Parse(h.Base)
	if err != nil {
		return nil, nil, err
	}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), base.EscapedPath()+"/")
	if !ok {
		rest = "nothing/at/all"
	}
	rest = strings.TrimSuffix(rest, "/")
	name, id, one := strings.Cut(rest, "/")
	switch tail := name; {
	case strings.HasSuffix(tail, ".xml"), strings.HasSuffix(id, ".xml"):
		return nil, nil, scim.Errorf(http.StatusNotAcceptable, "", "%s", errXML)
	case strings.HasSuffix(tail, ".json"):
		name = strings.TrimSuffix(name, ".json")
	}
	if wantsXML(r.Header.Get("Accept")) {
		return nil, nil, scim.Errorf(http.StatusNotAcceptable, "", "%s", errXML)
	}
	method := r.Method
	if over := r.Header.Get("X-HTTP-Method-Override"); over != "" && method == http.MethodPost {
		switch over = strings.ToUpper(over); over {
		case http.MethodPut, http.MethodPatch, http.MethodDelete:
			method = over
		default:
			return nil, nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "X-HTTP-Method-Override must be PUT, PATCH or DELETE")
		}
	}

	c := conversion{read: Read, core: scim.UserURN, write: writeAny}
	switch strings.ToLower(name) {
	case "users":
	case "groups":
		c.core = scim.GroupURN
	case "bulk":
		c.read, c.write = readBulk, writeBulk
		one = one && id != ""
	case "serviceproviderconfigs":
		name, c.write = "ServiceProviderConfig", writeConfig
	case "schemas":
		c.write = writeSchemas
		if one {
			id, c.write = schemaID(id), writeSchema
		}
	default: // .search, Me and whatever else 1.1 does not have; Server says 401 before 404
		name, id, one = "nothing", "at", true
	}
	to := "/" + name
	if one {
		to += "/" + id
	}
	return h.send(r, method, to, c)
}

// A conversion says how a message is read and its answer is written.
type conversion struct {
	read  func(in *scim.Object, core string) *scim.Object
	core  string
	write func(*scim.Object) *scim.Object
}

func (h *Handler) send(r *http.Request, method, to string, c conversion) (*answer, func(*scim.Object) *scim.Object, error) {
	at, err := url.Parse(h.At + to)
	if err != nil {
		return nil, nil, scim.Errorf(http.StatusNotFound, "", "there is nothing at this address")
	}
	if at.RawQuery, err = query(r.URL.RawQuery); err != nil {
		return nil, nil, err
	}
	out := r.Clone(r.Context())
	out.Method, out.URL, out.RequestURI = method, at, ""
	for _, name := range []string{"Accept", "Content-Type", "X-Http-Method-Override"} {
		out.Header.Del(name)
	}
	if method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		msg, err := message(r, method, c)
		// Who is not let in learns nothing, not even that the message is bad.
		if err != nil {
			out.Body = http.NoBody
			a := &answer{header: http.Header{}}
			if h.Server.ServeHTTP(a, out); a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
				return a, c.write, nil
			}
			return nil, nil, err
		}
		data := msg.AppendJSON(nil)
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
		out.Header.Set("Content-Type", scim.MediaType)
	}
	a := &answer{header: http.Header{}}
	h.Server.ServeHTTP(a, out)
	a.WriteHeader(http.StatusOK)
	return a, c.write, nil
}

// message reads a message of 1.1.
func message(r *http.Request, method string, c conversion) (*scim.Object, error) {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if kind, _, err := mime.ParseMediaType(ct); err != nil || kind != MediaType && kind != scim.MediaType {
			return nil, scim.Errorf(http.StatusUnsupportedMediaType, "", "%s", errXML)
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, scim.MaxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, scim.Errorf(http.StatusRequestEntityTooLarge, "", "the message is larger than %d bytes", scim.MaxBody)
	}
	if err != nil {
		return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the message could not be read to its end")
	}
	in, err := scim.Decode(data)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPatch {
		p, err := ReadPatch(in)
		if err != nil {
			return nil, err
		}
		return p.Object(), nil
	}
	return c.read(in, c.core), nil
}

// query turns the names in filter, attributes and sortBy into those of 2.0.
func query(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return "", scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the query of the address can not be read")
	}
	for name, vals := range q {
		for i := range vals {
			vals[i] = ReadText(vals[i])
		}
		if strings.EqualFold(name, "cursor") || strings.EqualFold(name, "excludedAttributes") {
			delete(q, name) // 1.1 has neither
		}
	}
	return q.Encode(), nil
}

func wantsXML(accept string) bool {
	xml := false
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := mime.ParseMediaType(part)
		switch kind {
		case "application/xml", "text/xml":
			xml = true
		case MediaType, scim.MediaType, "*/*", "application/*", "text/json":
			return false
		}
	}
	return xml
}

// writeAny writes a resource or a list.
func writeAny(o *scim.Object) *scim.Object {
	if o.Get("totalResults") == nil {
		return Write(o)
	}
	out := scim.NewObject("schemas", []any{CoreURN})
	for _, name := range []string{"totalResults", "itemsPerPage", "startIndex"} {
		out.Set(name, o.Get(name))
	}
	var list []any
	for _, v := range o.List("Resources") {
		if r, ok := v.(*scim.Object); ok {
			list = append(list, Write(r))
		}
	}
	out.Set("Resources", list)
	return out
}

// readBulk reads a bulk whose operations carry resources of 1.1.
func readBulk(in *scim.Object, _ string) *scim.Object {
	out := in.Clone()
	out.Set("schemas", []any{scim.BulkRequestURN})
	for _, v := range out.List("Operations") {
		op, _ := v.(*scim.Object)
		data := op.Sub("data")
		if data == nil {
			continue
		}
		core := scim.UserURN
		if strings.HasPrefix(strings.ToLower(op.String("path")), "/groups") {
			core = scim.GroupURN
		}
		if strings.EqualFold(op.String("method"), http.MethodPatch) {
			p, err := ReadPatch(data)
			if err != nil {
				continue // what it is not will be said of the operation
			}
			op.Set("data", p.Object())
		} else {
			op.Set("data", Read(data, core))
		}
	}
	return out
}

// writeBulk writes statuses as 1.1 does: an object with the code and what went wrong.
func writeBulk(o *scim.Object) *scim.Object {
	out := scim.NewObject("schemas", []any{CoreURN})
	var list []any
	for _, v := range o.List("Operations") {
		op, _ := v.(*scim.Object)
		status := scim.NewObject("code", op.String("status"))
		if detail := op.Sub("response").String("detail"); detail != "" {
			status.Set("description", detail)
		}
		w := op.Clone()
		w.Delete("response")
		w.Set("status", status)
		list = append(list, w)
	}
	out.Set("Operations", list)
	return out
}

func writeConfig(o *scim.Object) *scim.Object {
	out := scim.NewObject("schemas", []any{CoreURN})
	for _, name := range []string{"documentationUrl", "patch", "bulk", "filter", "changePassword", "sort", "etag", "authenticationSchemes"} {
		out.Set(name, o.Get(name))
	}
	out.Set("xmlDataFormat", scim.NewObject("supported", false))
	return out
}

// schemaID is the 2.0 name of a schema by its 1.1 name, such as urn:scim:schemas:core:1.0:User.
func schemaID(id string) string {
	plain, err := url.PathUnescape(id)
	if err != nil {
		return id
	}
	for one, two := range map[string]string{CoreURN + ":User": scim.UserURN, CoreURN + ":Group": scim.GroupURN, EnterpriseURN + ":User": scim.EnterpriseUserURN} {
		if strings.EqualFold(plain, one) {
			return url.PathEscape(two)
		}
	}
	return id
}

func writeSchemas(o *scim.Object) *scim.Object {
	out := writeAny(o)
	var list []any
	for _, v := range o.List("Resources") {
		if s, ok := v.(*scim.Object); ok {
			list = append(list, writeSchema(s))
		}
	}
	out.Set("Resources", list)
	return out
}

// writeSchema describes attributes with the characteristics of 1.1, where readOnly is a bool.
func writeSchema(o *scim.Object) *scim.Object {
	id, schema, endpoint := o.String("id"), o.String("id"), ""
	switch id {
	case scim.UserURN:
		id, schema, endpoint = CoreURN+":User", CoreURN, "/Users"
	case scim.GroupURN:
		id, schema, endpoint = CoreURN+":Group", CoreURN, "/Groups"
	case scim.EnterpriseUserURN:
		id, schema, endpoint = EnterpriseURN+":User", EnterpriseURN, "/Users"
	}
	out := scim.NewObject("id", id, "name", o.Get("name"), "description", o.Get("description"), "schema", schema)
	if endpoint != "" {
		out.Set("endpoint", endpoint)
	}
	out.Set("attributes", writeAttributes(o.List("attributes"), schema))
	return out
}

func writeAttributes(list []any, schema string) []any {
	var out []any
	for _, v := range list {
		a, _ := v.(*scim.Object)
		if a.String("name") == "$ref" {
			continue
		}
		w := scim.NewObject("name", a.Get("name"), "type", a.Get("type"), "multiValued", a.Get("multiValued"), "description", a.Get("description"),
			"schema", schema, "readOnly", a.String("mutability") == string(scim.ReadOnly), "required", a.Get("required"), "caseExact", a.Get("caseExact"))
		if sub := writeAttributes(a.List("subAttributes"), schema); len(sub) > 0 {
			w.Set("subAttributes", sub)
		}
		out = append(out, w)
	}
	return out
}
