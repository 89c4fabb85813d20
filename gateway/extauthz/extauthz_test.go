package extauthz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// asked is a question with everything that Envoy can say.
func asked() *auth.CheckRequest {
	return &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source: &auth.AttributeContext_Peer{
			Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "192.0.2.7", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 40000}}}},
			Service: "edge", Labels: map[string]string{"a": "b"}, Principal: "p", Certificate: "c",
		},
		Destination: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: "/x"}}}},
		Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/a%2fb?c=d", Host: "wiki.test:80", Scheme: "https", Size: -1, Protocol: "HTTP/2", Body: "body", RawBody: []byte{0xff},
			Headers: map[string]string{":path": "/a", "cookie": "a=b", "x-empty": "", "accept": "text/html,*/*"},
		}},
		ContextExtensions: map[string]string{"k": "v"},
		TlsSession:        &auth.AttributeContext_TLSSession{Sni: "wiki.test"},
	}}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatEnvoySaysOfARequestIsRead(t *testing.T) {
	t.Parallel()
	want := Request{
		Method: "GET", Scheme: "https", Host: "wiki.test:80", Path: "/a%2fb?c=d", From: netip.MustParseAddr("192.0.2.7"),
		Header: http.Header{"Cookie": {"a=b"}, "X-Empty": {""}, "Accept": {"text/html,*/*"}},
	}
	addresses := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	got, err := Read(marshal(t, asked()))
	if d := cmp.Diff(want, got, addresses); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	raw := asked()
	raw.Attributes.Request.Http.Headers = nil
	raw.Attributes.Request.Http.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{
		{Key: ":method", RawValue: []byte("GET")}, {Key: "cookie", RawValue: []byte("a=\xff")}, {Key: "cookie", Value: "c=d"}, {Key: "x-empty"},
	}}
	want.Header = http.Header{"Cookie": {"a=\xff", "c=d"}, "X-Empty": {""}}
	got, err = Read(marshal(t, raw))
	if d := cmp.Diff(want, got, addresses); err != nil || d != "" {
		t.Errorf("raw: %v\n%s", err, d)
	}
}

func TestWhatIsSaidTwiceOrNotAtAllIsNotRead(t *testing.T) {
	t.Parallel()
	change := func(f func(*auth.AttributeContext)) []byte {
		m := asked()
		f(m.Attributes)
		return marshal(t, m)
	}
	whole := change(func(*auth.AttributeContext) {})
	about := func(f func(*auth.AttributeContext_HttpRequest)) []byte {
		return change(func(a *auth.AttributeContext) { f(a.Request.Http) })
	}
	if _, err := Read(whole); err != nil {
		t.Fatal(err)
	}
	for what, msg := range map[string][]byte{
		"nothing":           nil,
		"half":              whole[:len(whole)/2],
		"bytes":             bytes.Repeat([]byte{0xff}, 64),
		"twice":             slices.Concat(whole, whole),
		"the request twice": slices.Concat(whole, marshal(t, &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{Path: "/public"}}}})),
		"no source":         change(func(a *auth.AttributeContext) { a.Source = nil }),
		"a pipe as source":  change(func(a *auth.AttributeContext) { a.Source = a.Destination }),
		"no request":        change(func(a *auth.AttributeContext) { a.Request = nil }),
		"no method":         about(func(r *auth.AttributeContext_HttpRequest) { r.Method = "" }),
		"no host":           about(func(r *auth.AttributeContext_HttpRequest) { r.Host = "" }),
		"no scheme":         about(func(r *auth.AttributeContext_HttpRequest) { r.Scheme = "" }),
		"no path":           about(func(r *auth.AttributeContext_HttpRequest) { r.Path = "" }),
		"a query":           about(func(r *auth.AttributeContext_HttpRequest) { r.Query = "a" }),
		"a fragment":        about(func(r *auth.AttributeContext_HttpRequest) { r.Fragment = "a" }),
		"two spellings":     about(func(r *auth.AttributeContext_HttpRequest) { r.Headers["Cookie"] = "c" }),
		"an empty name":     about(func(r *auth.AttributeContext_HttpRequest) { r.Headers[""] = "c" }),
		"a line in a value": about(func(r *auth.AttributeContext_HttpRequest) { r.Headers["a"] = "b\nc: d" }),
		"a line in a name":  about(func(r *auth.AttributeContext_HttpRequest) { r.Headers["a: b\r\nc"] = "d" }),
		"headers in two": about(func(r *auth.AttributeContext_HttpRequest) {
			r.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "a"}}}
		}),
		"a header with two": about(func(r *auth.AttributeContext_HttpRequest) {
			r.Headers, r.HeaderMap = nil, &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "a", Value: "b", RawValue: []byte("c")}}}
		}),
	} {
		if r, err := Read(msg); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// What is read is what Envoy's own definitions have it mean, or it is refused.
func FuzzRead(f *testing.F) {
	f.Add(marshal(f, asked()))
	raw := asked()
	raw.Attributes.Request.Http.Headers = nil
	raw.Attributes.Request.Http.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "a", RawValue: []byte("b")}, {Key: "a", Value: "c"}}}
	f.Add(marshal(f, raw))
	f.Add(slices.Concat(marshal(f, asked()), marshal(f, raw)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := Read(msg)
		if err != nil {
			return
		}
		var m auth.CheckRequest
		if proto.Unmarshal(msg, &m) != nil {
			return // of bytes that are no text where nothing is read: Envoy sends none
		}
		r := m.GetAttributes().GetRequest().GetHttp()
		want := Request{Method: r.GetMethod(), Scheme: r.GetScheme(), Host: r.GetHost(), Path: r.GetPath(), Header: http.Header{}}
		want.From, _ = netip.ParseAddr(m.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress())
		add := func(name, value string) {
			if !strings.HasPrefix(name, ":") {
				want.Header.Add(name, value)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.GetHeaders())) {
			add(name, r.GetHeaders()[name])
		}
		for _, h := range r.GetHeaderMap().GetHeaders() {
			add(h.GetKey(), h.GetValue()+string(h.GetRawValue()))
		}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Error(d)
		}
	})
}

func unframed(t *testing.T, body []byte) *auth.CheckResponse {
	t.Helper()
	msg, err := Message(bytes.NewReader(body), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var m auth.CheckResponse
	if err := proto.Unmarshal(msg, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 || len(m.GetOkResponse().ProtoReflect().GetUnknown()) > 0 || len(m.GetDeniedResponse().ProtoReflect().GetUnknown()) > 0 {
		t.Errorf("something in it is in no definition: %v", &m)
	}
	return &m
}

// appends is what Envoy is told of a header that is there: nil, nothing.
func appends(o *core.HeaderValueOption) *wrapperspb.BoolValue {
	//lint:ignore SA1019 what took its place is not read by every Envoy that is in use
	return o.Append
}

func TestAYesSaysWhatIsSetAndWhatIsRemoved(t *testing.T) {
	t.Parallel()
	m := unframed(t, Yes(http.Header{
		"X-Forwarded-User": {"Zoë"}, "Cookie": {""}, "X-Groups": {"a", "b"}, "X-Parted": {"a", "b,c"}, "X-One": {"a,b"}, "X-Bytes": {"\xff"}, "X-Long": {strings.Repeat("x", 5000)},
	}, []string{"remote-user"}))
	set := map[string]string{}
	for _, o := range m.GetOkResponse().Headers {
		if appends(o) == nil || appends(o).Value {
			t.Errorf("%s does not take the place of the client's", o.Header.Key)
		}
		set[o.Header.Key] = o.Header.Value
	}
	if d := cmp.Diff(map[string]string{"x-forwarded-user": "Zoë", "x-groups": "a,b", "x-one": "a,b", "x-long": strings.Repeat("x", 5000)}, set); d != "" || m.Status.Code != 0 {
		t.Error(m.Status, d)
	}
	gone := m.GetOkResponse().HeadersToRemove
	slices.Sort(gone)
	if d := cmp.Diff([]string{"cookie", "remote-user", "x-bytes", "x-parted"}, gone); d != "" {
		t.Error(d)
	}
}

func TestANoSaysWhatTheClientGets(t *testing.T) {
	t.Parallel()
	m := unframed(t, No(303, http.Header{"Location": {"http://gate.test/"}, "Set-Cookie": {"a=b", "c=d"}}, []byte("page \xff")))
	no := m.GetDeniedResponse()
	if m.Status.Code == 0 || no.GetStatus().GetCode() != 303 || no.Body != "page ?" || m.GetOkResponse() != nil {
		t.Errorf("%v", m)
	}
	got := http.Header{}
	for _, o := range no.Headers {
		if first := got[http.CanonicalHeaderKey(o.Header.Key)] == nil; first != (appends(o) != nil) || appends(o).GetValue() {
			t.Errorf("%s: %v", o.Header.Key, appends(o))
		}
		got.Add(o.Header.Key, o.Header.Value)
	}
	if d := cmp.Diff(http.Header{"Location": {"http://gate.test/"}, "Set-Cookie": {"a=b", "c=d"}}, got); d != "" {
		t.Error(d)
	}
}

func TestACallHasOneMessageOfALimitedSize(t *testing.T) {
	t.Parallel()
	framed := func(kind byte, size int, msg string) io.Reader {
		return strings.NewReader(string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(size))) + msg)
	}
	if msg, err := Message(framed(0, 3, "abc"), 3); err != nil || string(msg) != "abc" {
		t.Errorf("%q %v", msg, err)
	}
	var tooLarge *http.MaxBytesError
	if _, err := Message(framed(0, 4, "abcd"), 3); !errors.As(err, &tooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := Message(framed(0, -1, "abcd"), 3); !errors.As(err, &tooLarge) {
		t.Errorf("as large as can be: %v", err)
	}
	for what, body := range map[string]io.Reader{
		"nothing": strings.NewReader(""), "a beginning": strings.NewReader("\x00\x00"), "half": framed(0, 3, "ab"),
		"more": framed(0, 3, "abcd"), "compressed": framed(1, 3, "abc"),
	} {
		if msg, err := Message(body, 3); err == nil {
			t.Errorf("%s: %q", what, msg)
		}
	}
}

func TestTimeoutsAreReadAsGRPCWritesThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "1": 0, "S": 0, "1S": time.Second, "200m": 200 * time.Millisecond, "5u": 5 * time.Microsecond, "7n": 7, "2M": 2 * time.Minute,
		"99999999H": longest, "123456789S": 0, "-1S": 0, "1.5S": 0, "1s": 0,
	} {
		if got := Timeout(http.Header{"Grpc-Timeout": {text}}); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

// BenchmarkRead beside the messages that are generated from Envoy's definitions.
func BenchmarkRead(b *testing.B) {
	m := asked()
	for _, name := range []string{"accept", "accept-language", "accept-encoding", "user-agent", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-dest", "x-request-id", "x-forwarded-for", "x-forwarded-proto"} {
		m.Attributes.Request.Http.Headers[name] = "some value of a usual length"
	}
	msg := marshal(b, m)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Read(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(msg, new(auth.CheckRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
