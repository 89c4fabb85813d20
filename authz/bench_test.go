package authz_test

import (
	"fmt"
	"strconv"
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

// BenchmarkChange compares two policies for one person at 200 services of which each
// has eight rules, two of them with expressions, and the draft changes two of those:
// everywhere alike, and at each service otherwise. "whole" does it without a Change.
func BenchmarkChange(b *testing.B) {
	const services = 200
	compile := func(draft, otherwise bool) (*authz.ReleasePolicy, []string) {
		by, to := map[string][]authz.ReleaseRule{}, []string{}
		for i := range services {
			own := ""
			if otherwise {
				own = strconv.Itoa(i)
			}
			rules := []authz.ReleaseRule{
				{Attribute: "user_name"}, {Attribute: "mail", When: `"team` + own + `" in user.groups`}, {Attribute: "display_name", Transform: `"` + own + `" + value`},
				{Attribute: "groups", Values: []string{"wiki-*"}}, {Attribute: "given_name"}, {Attribute: "family_name"}, {Attribute: "phone"}, {Attribute: "department"},
			}
			if draft {
				rules[1].When, rules[2].Transform = `"staff`+own+`" in user.groups`, `value + "`+own+`"`
			}
			id := fmt.Sprint("service:", i)
			by[id], to = rules, append(to, id)
		}
		p, mistakes := authz.CompileRelease(by)
		if mistakes != nil {
			b.Fatal(mistakes)
		}
		return p, to
	}
	s := person("wiki-read", "wiki-write", "staff", "fin")
	s.Attributes["mail"], s.Attributes["display_name"] = []string{"kim@uni.example"}, []string{"Kim"}
	for name, otherwise := range map[string]bool{"alike": false, "otherwise": true} {
		was, to := compile(false, otherwise)
		is, _ := compile(true, otherwise)
		b.Run(name, func(b *testing.B) {
			c := authz.NewChange(was, is, to)
			b.ReportAllocs()
			for b.Loop() {
				c.Each(s, func([]string, []authz.Difference) {})
			}
		})
		b.Run(name+"/whole", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, one := range to {
					authz.Compare(was.Release(one, s), is.Release(one, s))
				}
			}
		})
	}
}
