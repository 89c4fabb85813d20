package authz_test

import (
	"testing"

	"github.com/gatehouse-sso/gatehouse/authz"
)

func BenchmarkDecide(b *testing.B) {
	p := rules(b, []authz.Role{{ID: "finance", From: []authz.Match{{Groups: []string{"fin"}}}}},
		allow(authz.Match{Roles: []string{"finance"}, ACR: []string{"mfa"}}),
		authz.Rule{Paths: []string{"/admin/*"}, Allow: &authz.Match{Groups: []string{"admins"}}},
		deny(authz.Match{Groups: []string{"banned"}}))
	s := person("staff", "fin", "everyone")
	s.ACR = "mfa"
	benchmark(b, p, p.Roles(s))
}

func BenchmarkDecideCEL(b *testing.B) {
	p := rules(b, []authz.Role{{ID: "finance", From: []authz.Match{{Groups: []string{"fin"}}}}},
		allow(authz.Match{Roles: []string{"finance"}, ACR: []string{"mfa"}}),
		authz.Rule{Paths: []string{"/admin/*"}, Allow: &authz.Match{Groups: []string{"admins"}}},
		deny(authz.Match{When: `!net(request.from, "192.0.2.0/24") && request.method != "GET"`}))
	s := person("staff", "fin", "everyone")
	s.ACR = "mfa"
	benchmark(b, p, p.Roles(s))
}

func benchmark(b *testing.B, p *authz.Policy, s authz.Subject) {
	r := get(s)
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(r); d.Outcome != authz.Allow {
			b.Fatal(spell(d))
		}
	}
}

func BenchmarkRelease(b *testing.B) {
	p, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:app": {
		{Attribute: "user_name"}, {Attribute: "mail"}, {Attribute: "groups", Values: []string{"wiki-*"}}, {Attribute: "display_name", As: "name"},
	}})
	if mistakes != nil {
		b.Fatal(mistakes)
	}
	s := person("wiki-read", "wiki-write", "staff", "fin")
	s.Attributes["mail"], s.Attributes["display_name"] = []string{"kim@uni.example"}, []string{"Kim"}
	b.ReportAllocs()
	for b.Loop() {
		if r := p.Release("service:app", s); len(r.Sent) != 4 {
			b.Fatal(r)
		}
	}
}
