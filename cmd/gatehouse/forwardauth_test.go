package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// The program answers by gRPC, on the listener that everything else is on, those
// alone who are listed at the time; and a session that ends has ended for them.
func TestAnEnvoyIsAnsweredByGRPCFromWhenItIsListed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	alice := l.in("campus", "alice")
	cookie := alice.sessionAt(l.at("wiki", "/"))
	ask := func() (*auth.CheckResponse, error) {
		t.Helper()
		c, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", l.port), grpc.WithAuthority("gatehouse"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return auth.NewAuthorizationClient(c).Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{
			Source: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "192.0.2.7"}}}},
			Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
				Method: http.MethodGet, Scheme: "http", Host: fmt.Sprintf("wiki.localhost:%d", l.port), Path: "/x",
				Headers: map[string]string{"cookie": cookie.Name + "=" + cookie.Value, "x-forwarded-user": "forged"},
			}},
		}})
	}
	if resp, err := ask(); status.Code(err) != codes.Unavailable {
		t.Fatalf("before it is listed: %v %v", resp, err)
	}
	l.reload(func(s string) string {
		return strings.Replace(s, "\nstore: ", "\n  forward_auth: [ { id: edge, kind: envoy, from: [127.0.0.1/32] } ]\nstore: ", 1)
	})
	resp, err := ask()
	user := ""
	for _, o := range resp.GetOkResponse().GetHeaders() {
		if o.Header.Key == "x-forwarded-user" {
			user += o.Header.Value
		}
	}
	if err != nil || user != "alice" {
		t.Fatalf("once it is: the service gets the name %q: %v %v", user, resp, err)
	}
	l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"false"}}, nil)
	if resp, err := ask(); err != nil || resp.GetDeniedResponse().GetStatus().GetCode() != http.StatusUnauthorized {
		t.Errorf("whose account is disabled: %v %v", resp, err)
	}
	l.reload(func(s string) string {
		return strings.Replace(s, "\n  forward_auth: [ { id: edge, kind: envoy, from: [127.0.0.1/32] } ]", "", 1)
	})
	if resp, err := ask(); status.Code(err) != codes.Unavailable {
		t.Errorf("no longer listed: %v %v", resp, err)
	}
}
