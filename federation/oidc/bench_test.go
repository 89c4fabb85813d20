package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
)

// direct is a transport that calls the provider's handler, without a network.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// BenchmarkFinish is the gateway's share of a sign-in and the provider's, for a
// provider that is known: code exchange, signature, checks, userinfo. The
// provider's signature is in it, the network is not. The provider signs with
// alg; "token" has everything in the ID token and asks no userinfo.
func BenchmarkFinish(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		for _, userinfo := range []oidc.UserInfo{oidc.Auto, oidc.Never} {
			name := alg + "/userinfo"
			if userinfo == oidc.Never {
				name = alg + "/token"
			}
			b.Run(name, func(b *testing.B) {
				const callback = "https://gate.example/cb"
				op := idptest.NewOP(idptest.OPConfig{
					Issuer: "https://op.example", Algorithm: alg, People: idptest.Campus(), ClaimsInIDToken: userinfo == oidc.Never,
					Clients: []idptest.OPClient{{ID: "c", Secret: "s", RedirectURIs: []string{callback}}},
				})
				h := op.Handler()
				p, err := oidc.New(oidc.Config{
					ID: "x", Issuer: op.Issuer(), ClientID: "c", Secret: "s", RedirectURL: callback, UserInfo: userinfo,
					Client: &http.Client{Transport: direct{h}},
				})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					c, pending, err := p.Begin(b.Context(), federation.Login{})
					if err != nil {
						b.Fatal(err)
					}
					post := httptest.NewRequest(http.MethodPost, c.URL.String()+"&", nil)
					post.PostForm = map[string][]string{"user": {"alice"}}
					w := httptest.NewRecorder()
					h.ServeHTTP(w, post)
					r := httptest.NewRequest(http.MethodGet, w.Header().Get("Location"), nil)
					b.StartTimer()
					if _, err := p.Finish(r, pending); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
