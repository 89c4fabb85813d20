package expr_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

func compile(t testing.TB, k expr.Kind, src string) *expr.Program {
	t.Helper()
	p, err := expr.Compile(k, src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return p
}

func vars() *expr.Vars {
	return &expr.Vars{
		User: expr.User{ID: "u1", Store: "primary", UserName: "kim", Active: true, Groups: []string{"fin", "wiki-read"}, Roles: []string{"finance"},
			Attributes: map[string][]string{"mail": {"kim@uni.example"}, "dept": {"a", "b"}, "none": {}},
			Asserted:   map[string]map[string][]string{"idp:campus": {"groups": {"fin"}}}},
		Login:   expr.Login{Provider: "campus", ACR: "mfa", AMR: []string{"pwd", "otp"}, At: time.Date(2030, 1, 1, 11, 30, 0, 0, time.UTC)},
		Request: expr.Request{Service: "wiki", Method: "GET", Path: "/a/b", From: "10.1.2.3", Now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)},
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`user.id == "u1" && user.active`:                                         "true",
		`user.store + "/" + user.user_name == "primary/kim"`:                     "true",
		`"fin" in user.groups`:                                                   "true",
		`"FIN" in user.groups`:                                                   "false",
		`user.groups.exists(g, glob(g, "wiki-*"))`:                               "true",
		`user.groups.all(g, glob(g, "wiki-*"))`:                                  "false",
		`user.attributes.mail[0].endsWith("@uni.example")`:                       "true",
		`user.attributes["mail"] == ["kim@uni.example"]`:                         "true",
		`one(user.attributes.mail).split("@")[1] == "uni.example"`:               "true",
		`one(user.attributes.dept) == "a"`:                                       "error: one: the list has 2 elements",
		`one(user.attributes.none) == "a"`:                                       "error: one: the list has 0 elements",
		`first(user.attributes.dept) == "a"`:                                     "true",
		`first(user.attributes.none) == "a"`:                                     "error: first: the list is empty",
		`user.attributes.phone == ["1"]`:                                         "error: no such key: phone",
		`has(user.attributes.phone)`:                                             "false",
		`has(user.attributes.mail)`:                                              "true",
		`"phone" in user.attributes`:                                             "false",
		`"fin" in user.asserted["idp:campus"].groups`:                            "true",
		`"fin" in user.asserted["idp:other"].groups`:                             "error: no such key: idp:other",
		`login.provider == "campus" && "otp" in login.amr`:                       "true",
		`request.now - login.at < duration("1h")`:                                "true",
		`request.now - login.at < duration("10m")`:                               "false",
		`request.now.getDayOfWeek() == 2`:                                        "true",
		`net(request.from, "10.0.0.0/8")`:                                        "true",
		`net(request.from, "192.0.2.0/24", "10.1.2.3")`:                          "true",
		`net(request.from, ["192.0.2.0/24", "10.1.2.4"])`:                        "false",
		`net(user.id, "10.0.0.0/8")`:                                             `error: net: "u1" is no IP address`,
		`net(request.from, user.id)`:                                             `error: net: "u1" is no network`,
		`net(request.from, "10.0.0.0/8", user.id)`:                               `error: net: "u1" is no network`,
		`sets.intersects(user.groups, ["x", "fin"])`:                             "true",
		`user.user_name.upperAscii() == "KIM" && "a-b".replace("-", "") == "ab"`: "true",
		`user.id.matches("^u[0-9]+$")`:                                           "true",
		`"%s@%d".format([user.id, 3]) == "u1@3"`:                                 "true",
		`user.groups.join(",") == "fin,wiki-read"`:                               "true",
		`user.groups.distinct().sort()[0] == "fin"`:                              "true",
		`user == user`: "true",
	} {
		got := ""
		ok, err := compile(t, expr.Condition, src).Holds(vars())
		if got = fmt.Sprint(ok); err != nil {
			got = "error: " + strings.TrimPrefix(err.Error(), "evaluate: ")
			if ok {
				t.Errorf("%s: true with an error", src)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", src, got, want)
		}
		v := vars()
		if same, _ := compile(t, expr.Condition, src).Bool(map[string]any{"user": &v.User, "login": &v.Login, "request": &v.Request}); same != ok {
			t.Errorf("%s: Bool and Holds differ", src)
		}
	}
	// What the zero variables do not have is an error or false, never a panic.
	if ok, err := compile(t, expr.Condition, `"x" in user.groups || user.attributes.a[0] == "b"`).Holds(&expr.Vars{}); ok || err == nil {
		t.Error(ok, err)
	}
	if _, err := compile(t, expr.Condition, `user.id == "x"`).Bool(nil); err == nil {
		t.Error("a variable that is not there is no error")
	}
}

func TestMappingsAndTransforms(t *testing.T) {
	t.Parallel()
	claims := map[string]any{"claims": map[string][]string{"mail": {"Kim@Uni.example"}, "groups": {"b", "a", "b"}, "none": {}}}
	values := map[string]any{"value": "Kim", "values": []string{"Kim", "Lee"}}
	for _, c := range []struct {
		kind expr.Kind
		src  string
		want string
	}{
		{expr.Mapping, `claims.mail`, "Kim@Uni.example"},
		{expr.Mapping, `claims.mail[0].lowerAscii()`, "kim@uni.example"},
		{expr.Mapping, `one(claims.mail)`, "Kim@Uni.example"},
		{expr.Mapping, `claims.groups.filter(g, g != "b")`, "a"},
		{expr.Mapping, `claims.groups.distinct()`, "b,a"},
		{expr.Mapping, `"upn" in claims ? one(claims.upn) : one(claims.mail)`, "Kim@Uni.example"},
		{expr.Mapping, `has(claims.upn) ? claims.upn : claims.mail`, "Kim@Uni.example"},
		{expr.Mapping, `claims.none`, ""},
		{expr.Mapping, `claims.upn`, "error: no such key: upn"},
		{expr.Mapping, `one(claims.groups)`, "error: one: the list has 3 elements"},
		{expr.Mapping, `claims.mail[3]`, "error: index out of bounds: 3"},
		{expr.Mapping, `["x"] + claims.mail`, "x,Kim@Uni.example"},
		{expr.Transform, `value.upperAscii()`, "KIM"},
		{expr.Transform, `values.map(v, v.lowerAscii())`, "kim,lee"},
		{expr.Transform, `values`, "Kim,Lee"},
		{expr.Transform, `string(int(value))`, "error: type conversion error from 'string' to 'int'"},
	} {
		vars := claims
		if c.kind == expr.Transform {
			vars = values
		}
		list, err := compile(t, c.kind, c.src).Strings(vars)
		got := strings.Join(list, ",")
		if err != nil {
			got = "error: " + strings.TrimPrefix(err.Error(), "evaluate: ")
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.src, got, c.want)
		}
	}
}

func TestMistakesAreToldWithTheirPlaceAndCure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind expr.Kind
		src  string
		want string // beginning
	}{
		{expr.Condition, ``, `1:1: the expression is empty`},
		{expr.Condition, " \n", `1:1: the expression is empty`},
		{expr.Condition, `user.gruops == []`, `1:5: there is no field "gruops" — did you mean "groups"?`},
		{expr.Condition, "user.active &&\n  has(user.usr_name)", `2:6: there is no field "usr_name" — did you mean "user_name"?`},
		{expr.Condition, `user.zzzzzzzz == ""`, `1:5: there is no field "zzzzzzzz" — there are active, asserted,`},
		{expr.Condition, `usr.id == ""`, `1:1: there is no variable or function "usr" here — did you mean "user"?`},
		{expr.Condition, `claims.mail == []`, `1:1: there is no variable or function "claims" here`},
		{expr.Condition, `user.id.lowerAsci() == ""`, `1:18: there is no variable or function "lowerAsci" here — did you mean "lowerAscii"?`},
		{expr.Condition, `user.id`, `1:5: a condition must be true or false, but this is a text — compare`},
		{expr.Condition, `user.groups`, `1:5: a condition must be true or false, but this is a list`},
		{expr.Condition, `user.id == 3`, `1:9: == does not work with (string, int)`},
		{expr.Condition, `user.id in "u1"`, `1:9: in does not work with (string, string)`},
		{expr.Condition, `user.id ==`, `1:11: it can not be read: `},
		{expr.Condition, `user.id == "`, `1:12: it can not be read: `},
		{expr.Condition, `net(request.from, "10.0.0.0/33")`, `1:4: "10.0.0.0/33" is no network`},
		{expr.Condition, `net(request.from, ["::/0", "x"])`, `1:4: "x" is no network`},
		{expr.Condition, `user.id.matches("(")`, `1:17: `},
		{expr.Condition, `user.id.matches(user.store)`, `1:16: a regular expression must be written out`},
		{expr.Condition, `request.now > timestamp("2030")`, `1:25: `},
		{expr.Condition, `dyn(user).nmae == ""`, `1:4: dyn hides mistakes`},
		{expr.Condition, `expr.User{id: "u1"} == user`, `1:10: an expression can not make objects`},
		{expr.Condition, `user.attributes.exists(a, a == "x")`, `1:23: a map has no order`},
		{expr.Condition, "\xff", `1:1: the expression is not UTF-8`},
		{expr.Condition, strings.Repeat("(", 2000), `1:`},
		{expr.Condition, strings.Repeat("a", expr.MaxSource+1), `1:1: the expression has 4097 bytes, more than 4096`},
		{expr.Mapping, `claims`, `1:1: a mapping must give a text or a list of texts, but this is a map`},
		{expr.Mapping, `claims.mail.size()`, `1:17: a mapping must give a text or a list of texts, but this is a number`},
		{expr.Mapping, `[claims.mail]`, `1:1: a mapping must give a text or a list of texts, but this is a list`},
		{expr.Mapping, `claims.map(c, c)`, `1:11: a map has no order`},
		{expr.Mapping, `user.id`, `1:1: there is no variable or function "user" here`},
		{expr.Transform, `claims.mail`, `1:1: there is no variable or function "claims" here`},
		{expr.Kind(7), `true`, `1:1: there is no such kind`},
	} {
		p, err := expr.Compile(c.kind, c.src)
		var e *expr.Error
		if p != nil || !errors.As(err, &e) || !strings.HasPrefix(e.Error(), c.want) {
			t.Errorf("%.60q: %v, want %s", c.src, err, c.want)
		}
	}
}

func TestReadsArePathsOfVariables(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`user.id == "x"`: "user.id",
		`user.attributes.mail[0] == "x" || user.attributes["dept"] == []`: "user.attributes.dept user.attributes.mail",
		`user.attributes[request.path] == []`:                             "request.path user.attributes",
		`has(user.attributes.mail) && request.now > login.at`:             "login.at request.now user.attributes.mail",
		`user.groups.exists(g, g == login.acr)`:                           "login.acr user.groups",
		`[request].exists(r, r.path == "/")`:                              "request",
		`user.asserted["idp:x"].groups.size() > 0`:                        "user.asserted.idp:x.groups",
		`"a" == "b"`:                 "",
		`{"a": user.id}["a"] == "x"`: "user.id",
		`(user.active ? user.groups : user.roles).size() > 0`: "user.active user.groups user.roles",
		`["x"].exists(user, user == "x")`:                     "user", // another user; too much is safe
	} {
		p := compile(t, expr.Condition, src)
		if got := strings.Join(p.Reads(), " "); got != want {
			t.Errorf("%s reads %q, want %q", src, got, want)
		}
	}
	p := compile(t, expr.Condition, `[request].exists(r, r.path == "/") && user.attributes.mail == []`)
	for path, want := range map[string]bool{"request": true, "request.now": true, "user": true, "user.attributes": true, "user.attributes.mail": true,
		"user.attributes.mail2": false, "user.id": false, "login": false, "req": false} {
		if p.ReadsUnder(path) != want {
			t.Errorf("ReadsUnder(%s) is %v", path, !want)
		}
	}
}

// What an expression reads is all that makes a difference to it.
func TestWhatIsNotReadMakesNoDifference(t *testing.T) {
	t.Parallel()
	sources := []string{`user.id == "a"`, `"a" in user.groups || user.store == "b"`, `user.attributes.a.exists(x, x == "a")`, `login.acr == "a" && request.path == "b"`,
		`net(request.from, "10.0.0.0/8")`, `[login].exists(l, l.provider == "a")`, `user.attributes[login.acr] == ["a"]`}
	rapid.Check(t, func(t *rapid.T) {
		p, err := expr.Compile(expr.Condition, rapid.SampledFrom(sources).Draw(t, "source"))
		if err != nil {
			t.Fatal(err)
		}
		word := rapid.SampledFrom([]string{"", "a", "b"})
		draw := func(label string) map[string]any {
			list := rapid.SliceOfN(word, 0, 2)
			return map[string]any{
				"user.id": word.Draw(t, label), "user.store": word.Draw(t, label), "user.groups": list.Draw(t, label), "user.attributes": map[string][]string{"a": list.Draw(t, label)},
				"login.acr": word.Draw(t, label), "login.provider": word.Draw(t, label), "request.path": word.Draw(t, label), "request.from": rapid.SampledFrom([]string{"", "10.0.0.1", "::1"}).Draw(t, label),
			}
		}
		one, mixed := draw("one"), draw("mixed")
		for path := range one {
			if p.ReadsUnder(path) {
				mixed[path] = one[path]
			}
		}
		if a, b := run(p, one), run(p, mixed); a != b {
			t.Fatalf("%s reads %v, but with other %v it is %s, not %s", p.Source(), p.Reads(), mixed, b, a)
		}
	})
}

func run(p *expr.Program, v map[string]any) string {
	ok, err := p.Holds(&expr.Vars{
		User:    expr.User{ID: v["user.id"].(string), Store: v["user.store"].(string), Groups: v["user.groups"].([]string), Attributes: v["user.attributes"].(map[string][]string)},
		Login:   expr.Login{ACR: v["login.acr"].(string), Provider: v["login.provider"].(string)},
		Request: expr.Request{Path: v["request.path"].(string), From: v["request.from"].(string)},
	})
	return fmt.Sprint(ok, err)
}

func TestZ09_AddressesInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network, addr string
		want          bool
	}{
		{"10.0.0.0/8", "10.0.0.1", true}, {"10.0.0.0/8", "::ffff:10.0.0.1", true}, {"10.0.0.0/8", "::ffff:10.0.0.1%eth0", true},
		{"::ffff:10.0.0.0/104", "10.0.0.1", true}, {"::ffff:10.0.0.0/104", "::ffff:10.0.0.1", true}, {"10.9.9.9/8", "10.0.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false}, {"10.0.0.0/8", "::10.0.0.1", false}, {"::/0", "10.0.0.1", false}, {"0.0.0.0/0", "::1", false},
		{"::ffff:0:0/90", "10.0.0.1", false}, {"fe80::/10", "fe80::1%eth0", true}, {"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.2", false},
		{"::ffff:10.0.0.1", "10.0.0.1", true}, {"fe80::1%eth0", "fe80::1", true}, {"2001:db8::1", "2001:db8::1", true},
	} {
		n, err := expr.ParseNetwork(c.network)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := expr.Contains(n, netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s has %s: %v", c.network, c.addr, got)
		}
	}
	if expr.Contains(netip.MustParsePrefix("::/0"), netip.Addr{}) || expr.Contains(netip.Prefix{}, netip.MustParseAddr("::1")) {
		t.Error("a zero network or address is somewhere")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, pattern string
		want          bool
	}{
		{"wiki", "wiki", true}, {"wiki", "wiki*", true}, {"wiki-read", "wiki-*", true}, {"wiki", "wiki-*", false}, {"", "*", true}, {"", "", true}, {"a", "", false},
		{"abcabc", "a*c", true}, {"abcab", "a*c", false}, {"aXbYc", "a*b*c", true}, {"ab", "a*b*b", false}, {"aba", "ab*ba", false}, {"a", "a*a", false},
		{"a*b", "a*b", true}, {"Wiki", "wiki*", false}, {"wiki", "w?ki", false}, {"wiki", "[w]iki", false}, {"a/b", "a*", true}, {"mississippi", "m*iss*ip*", true},
	} {
		if got := expr.Glob(c.text, c.pattern); got != c.want {
			t.Errorf("Glob(%q, %q) is %v", c.text, c.pattern, got)
		}
	}
	// As the obvious recursion says.
	rapid.Check(t, func(t *rapid.T) {
		text, pattern := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "text"), rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		if got, want := expr.Glob(text, pattern), slowGlob(text, pattern); got != want {
			t.Fatalf("Glob(%q, %q) is %v", text, pattern, got)
		}
	})
}

func slowGlob(text, pattern string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return slowGlob(text, pattern[1:]) || text != "" && slowGlob(text[1:], pattern)
	}
	return text != "" && text[0] == pattern[0] && slowGlob(text[1:], pattern[1:])
}

// Values are data: nothing in them is read as an expression, a template or a
// pattern, however they look; and none takes long.
func TestJ13_ValuesAreTakenLiterally(t *testing.T) {
	t.Parallel()
	p := compile(t, expr.Mapping, `claims.name.map(n, n.lowerAscii().replace("x", "y") + "!")`)
	group := compile(t, expr.Condition, `user.groups.exists(g, glob(g, "admin*") || g.matches("^(a+)+$"))`)
	for _, v := range []string{"{{.}}", "${user.id}", "' || true || '", `" + claims.name[0] + "`, "(a+)+$", "*", "\\", "\x00", "%s%d", "\xff\xfe", "a\u202eb"} {
		got, err := p.Strings(map[string]any{"claims": map[string][]string{"name": {v}}})
		if want := strings.ToLower(v) + "!"; err != nil || len(got) != 1 || strings.ToValidUTF8(got[0], "\ufffd") != strings.ToValidUTF8(want, "\ufffd") && v != "\xff\xfe" {
			t.Errorf("%q became %q, %v", v, got, err)
		}
		if ok, err := group.Holds(&expr.Vars{User: expr.User{Groups: []string{v}}}); ok || err != nil {
			t.Errorf("%q is a group that it is not: %v", v, err)
		}
	}
	if ok, err := group.Holds(&expr.Vars{User: expr.User{Groups: []string{strings.Repeat("a", 1000) + "!"}}}); ok || err != nil {
		t.Errorf("a regular expression: %v %v", ok, err)
	}
}

func TestCostAndSizeAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64<<10)
	many := slices.Repeat([]string{"abc"}, 1000)
	for src, want := range map[string]string{
		`value.replace("a", value)`:        "too large",
		`value.replace("", value)`:         "too large",
		`value.replace("a", value, 100)`:   "too large",
		`values.map(v, value).join(value)`: "too large",
		`[value].map(a, a+a).map(b, b+b).map(c, c+c).map(d, d+d).map(e, e+e).map(f, f+f).map(g, g+g).map(h, h+h).map(i, i+i).map(j, j+j)`: "cost limit",
		`values.filter(a, values.all(b, values.all(c, a + b + c != ""))) `:                                                                "cost limit",
		`lists.range(100000).map(i, value)`: "range",
		`value.replace("b", "c")`:           "",
		`values.join(",")`:                  "",
	} {
		_, err := compile(t, expr.Transform, src).Strings(map[string]any{"value": long, "values": many})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}

// The largest sign-in that is accepted has a thousand groups: what people write
// about groups works for it.
func TestAThousandGroupsAreWithinTheLimits(t *testing.T) {
	t.Parallel()
	var groups []string
	for i := range 1000 {
		groups = append(groups, fmt.Sprintf("CN=group-%04d,OU=departments,DC=uni,DC=example", i))
	}
	for _, src := range []string{
		`"x" in user.groups`, `user.groups.exists(g, glob(g, "CN=wiki-*"))`, `user.groups.exists(g, g.matches("^CN=group-0999,")) && !user.groups.exists(g, g == "x")`,
		`user.groups.filter(g, g.startsWith("CN=a")).size() == 0`,
	} {
		if _, err := compile(t, expr.Condition, src).Holds(&expr.Vars{User: expr.User{Groups: groups}}); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
	for _, src := range []string{
		`claims.groups.map(g, g.split(",")[0].replace("CN=", "").lowerAscii())`, `claims.groups.filter(g, glob(g, "CN=group-0*")).map(g, g.substring(3, g.indexOf(",")))`,
		`claims.groups.map(g, "campus:" + g).distinct()`,
	} {
		if _, err := compile(t, expr.Mapping, src).Strings(map[string]any{"claims": map[string][]string{"groups": groups}}); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func TestAProgramServesManyAtOnce(t *testing.T) {
	t.Parallel()
	p := compile(t, expr.Condition, `user.groups.exists(g, glob(g, "wiki-*")) && user.id.matches("^u[0-9]+$") && net(request.from, "10.0.0.0/8")`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			v := vars()
			if i%2 == 1 {
				v.User.Groups = nil
			}
			for range 200 {
				if ok, err := p.Holds(v); ok != (i%2 == 0) || err != nil {
					t.Errorf("%d: %v %v", i, ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// The race detector says it.
func TestManyCompileAtOnceWithTheFirstMistakeAmongThem(t *testing.T) {
	t.Parallel()
	for range 5 {
		env, err := expr.Environment(expr.Condition)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, src := range []string{`user.groups.exists(g, g == "wiki")`, `no.such == "x"`} {
			wg.Go(func() {
				for range 20 {
					if _, issues := env.Compile(src); (issues.Err() != nil) != strings.HasPrefix(src, "no") {
						t.Errorf("%s: %v", src, issues.Err())
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestProgramsOfAnotherKindDoNotRun(t *testing.T) {
	t.Parallel()
	if ok, err := compile(t, expr.Mapping, `claims.a`).Bool(map[string]any{"claims": map[string][]string{"a": {"true"}}}); ok || err == nil {
		t.Error("a mapping ran as a condition")
	}
	if list, err := compile(t, expr.Condition, `user.active`).Strings(nil); list != nil || err == nil {
		t.Error("a condition ran as a mapping")
	}
	var none *expr.Program
	if ok, err := none.Holds(vars()); ok || err == nil {
		t.Error("no program holds")
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"groups", "user_name", "id"}
	for word, want := range map[string]string{"gruops": "groups", "group": "groups", "username": "user_name", "ID": "", "xyz": "", "": ""} {
		if got := expr.Nearest(word, names); got != want {
			t.Errorf("%q is near %q, want %q", word, got, want)
		}
	}
}

// FuzzExpr: no source makes Compile or a run of it panic, or an error that does
// not say where; what compiles gives the same answer twice.
func FuzzExpr(f *testing.F) {
	for _, s := range []string{`user.id == "x"`, `claims.a.map(x, x + "b")`, `values.join(value)`, `net(request.from, "10.0.0.0/8")`, `has(user.attributes.a)`,
		`one(claims.a).split("@")[0]`, `"%s".format([user.id])`, `user.nmae`, `((((`, "a\n.b", `{"a": 1}["b"]`, `request.now - login.at < duration("1h")`} {
		for k := range 3 {
			f.Add(uint8(k), s)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, src string) {
		k := expr.Kind(kind % 3)
		p, err := expr.Compile(k, src)
		if err != nil {
			var e *expr.Error
			if p != nil || !errors.As(err, &e) || e.Line < 1 || e.Col < 1 || e.Text == "" {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		if k == expr.Condition {
			a, errA := p.Holds(vars())
			b, errB := p.Holds(vars())
			if a != b || (errA == nil) != (errB == nil) || a && errA != nil {
				t.Fatalf("%q: %v %v, then %v %v", src, a, errA, b, errB)
			}
			return
		}
		v := map[string]any{"claims": map[string][]string{"a": {"x", "y"}}, "value": "x@y", "values": []string{"x@y", "b"}}
		a, errA := p.Strings(v)
		b, errB := p.Strings(v)
		if !slices.Equal(a, b) || (errA == nil) != (errB == nil) {
			t.Fatalf("%q: %q %v, then %q %v", src, a, errA, b, errB)
		}
	})
}

func BenchmarkCondition(b *testing.B) {
	p := compile(b, expr.Condition, `!net(request.from, "192.0.2.0/24") && request.method == "GET" && "finance" in user.roles`)
	v := vars()
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Holds(v); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkCostLimit(b *testing.B) {
	p := compile(b, expr.Condition, `user.groups.all(a, user.groups.all(b, user.groups.all(c, a + b + c != "")))`)
	v := &expr.Vars{User: expr.User{Groups: slices.Repeat([]string{"abc"}, 1000)}}
	for b.Loop() {
		if _, err := p.Holds(v); err == nil {
			b.Fatal("no limit")
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compile(b, expr.Condition, `!net(request.from, "192.0.2.0/24") && request.method == "GET" && "finance" in user.roles`)
	}
}
