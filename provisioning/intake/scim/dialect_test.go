package scim_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// A babel is a world whose clients speak differently, each with a user store
// and a token of its name.
type babel struct {
	*world
	tally dialect.Tally
}

// speakers are the clients of a babel. flag is Entra with aadOptscim062020.
var speakers = map[string]dialect.Dialect{"rfc": dialect.RFC, "entra": dialect.Entra, "flag": dialect.Entra, "okta": dialect.Okta, "wso2": dialect.WSO2}

func newBabel(t testing.TB) *babel {
	t.Helper()
	b := &babel{world: &world{t: t, file: filepath.Join(t.TempDir(), "db")}}
	st, err := boltstore.Open(b.file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	conf := provisioning.Config{Store: st, Followers: []provisioning.Follower{func(_ store.Tx, _, _ provisioning.User, d provisioning.Delta) error {
		b.deltas = append(b.deltas, d)
		return nil
	}}}
	reg := client.NewRegistry(client.Config{})
	for id, d := range speakers {
		conf.UserStores = append(conf.UserStores, id)
		conf.Precedence = append(conf.Precedence, provisioning.SourceClient(id))
		if err := reg.Add(client.Client{ID: id, UserStores: []string{id}, Groups: []string{"*"}, Dialect: d}, client.Credential{Bearer: id}); err != nil {
			t.Fatal(err)
		}
	}
	if b.dir, err = provisioning.New(conf); err != nil {
		t.Fatal(err)
	}
	b.h, err = intake.New(intake.Config{
		Base: base, Directory: b.dir, Clients: reg, Log: slog.New(slog.DiscardHandler), EndSessions: func(context.Context, string) error { return nil },
		Rewritten: func(client string, made []dialect.Rewrite) { b.tally.Add(client, time.Unix(1, 0), made) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A wish is one change of a user.
type wish struct{ attr, value string } // no value: away with it

const work = `emails[type eq "work"].value`

// values are JSON, but of what only the dialects write in another way.
var wishes = map[string][]string{
	"displayName": {`"Ann"`, `"Ann B"`}, "title": {`"Boss"`, ""}, "nickName": {`"A"`, `"B"`, ""}, "active": {"true", "false"}, "name.givenName": {`"Ann"`, `"Anna"`}, work: {`"a@x.test"`, `"b@x.test"`},
	ext + ":department": {`"IT"`, `"HR"`, ""}, ext + ":employeeNumber": {`"7"`, `"8"`}, ext + ":costCenter": {`"7"`, ""}, ext + ":manager": {`"271"`, `"272"`},
}

const ext = scim.EnterpriseUserURN

// patches are the wishes as each of the four writes them: the operations of a
// PATCH, of rfc and entra in their order.
func patches(list []wish) map[string]string {
	var rfc, entra, flag []string
	var names []string
	for _, w := range list {
		value := w.value
		switch {
		case value == "":
			rfc = append(rfc, fmt.Sprintf(`{"op":"remove","path":%q}`, w.attr))
			entra = append(entra, fmt.Sprintf(`{"op":"Remove","path":%q,"value":"x"}`, w.attr))
			flag = append(flag, fmt.Sprintf(`{"op":"remove","path":%q}`, w.attr))
			continue
		case w.attr == work:
			rfc = append(rfc, `{"op":"replace","path":"emails","value":[{"type":"work","value":`+value+`}]}`)
		case w.attr == ext+":manager":
			rfc = append(rfc, fmt.Sprintf(`{"op":"replace","path":%q,"value":{"value":%s}}`, w.attr, value))
		default:
			rfc = append(rfc, fmt.Sprintf(`{"op":"replace","path":%q,"value":%s}`, w.attr, value))
		}
		if w.attr == "active" {
			value = map[string]string{"true": `"True"`, "false": `"False"`}[value]
		}
		entra = append(entra, fmt.Sprintf(`{"op":"Replace","path":%q,"value":%s}`, w.attr, value))
		names = append(names, fmt.Sprintf(`%q:%s`, w.attr, w.value))
	}
	if len(names) > 0 {
		flag = append(flag, `{"op":"replace","value":{`+strings.Join(names, ",")+`}}`)
	}
	return map[string]string{"rfc": scimtest.Patch(rfc...), "entra": scimtest.Patch(entra...), "flag": scimtest.Patch(flag...)}
}

// put is what Okta sends instead: the whole user as it is to be.
func put(id string, state map[string]string) string {
	value := func(attr, form string) string {
		if state[attr] == "" {
			return ""
		}
		return fmt.Sprintf(form, state[attr]) + ","
	}
	inExt := strings.TrimSuffix(value(ext+":manager", `"manager":{"value":%s}`)+value(ext+":costCenter", `"costCenter":%s`)+value(ext+":department", `"department":%s`)+value(ext+":employeeNumber", `"employeeNumber":%s`), ",")
	if inExt != "" {
		inExt = `"` + ext + `":{` + inExt + `},`
	}
	return `{"schemas":["` + scim.UserURN + `","` + ext + `"],"id":"` + id + `",` + inExt + value(work, `"emails":[{"value":%s,"type":"work"}]`) + value("nickName", `"nickName":%s`) +
		value("title", `"title":%s`) + value("name.givenName", `"name":{"givenName":%s}`) + value("displayName", `"displayName":%s`) + value("active", `"active":%s`) + `"userName":"` + state["userName"] + `","groups":[],"meta":{"resourceType":"User"}}`
}

// However a client says it, one change of a user is one and the same Delta.
func TestSC53SC50_OneChangeInEveryDialectIsOneDelta(t *testing.T) {
	t.Parallel()
	b := newBabel(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		state := map[string]string{"userName": fmt.Sprintf("u%d", n), "active": "true"}
		draw := func(label string, most int) (list []wish) {
			for _, attr := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys(wishes)), 1, most, rapid.ID).Draw(rt, label) {
				v := rapid.SampledFrom(wishes[attr]).Draw(rt, attr)
				if v == "" && state[attr] == "" {
					continue // what is not there is not taken away twice
				}
				state[attr] = v
				list = append(list, wish{attr, v})
			}
			return list
		}
		draw("to begin with", 6)
		ids := map[string]string{}
		for _, who := range []string{"rfc", "entra", "flag", "okta"} {
			ids[who] = b.do(who, "POST", "/Users", put("", state)).want(t, 201, "").obj.String("id")
		}
		for step := range 2 {
			ops := patches(draw(fmt.Sprint("step ", step), 4))
			var want []provisioning.Delta
			for _, who := range []string{"rfc", "entra", "flag", "okta"} {
				b.deltas = nil
				sent := ops[who]
				var a answer
				switch {
				case who == "okta":
					sent = put(ids[who], state)
					a = b.do(who, "PUT", "/Users/"+ids[who], sent)
				case strings.Contains(sent, `"Operations":[]`):
					continue
				default:
					a = b.do(who, "PATCH", "/Users/"+ids[who], sent)
				}
				if a.StatusCode >= 300 {
					rt.Fatalf("%s sends %s: %d %s", who, sent, a.StatusCode, a.body)
				}
				got := b.deltas
				if who == "rfc" {
					want = got
				} else if d := cmp.Diff(want, got, sameDelta, cmpopts.EquateEmpty()); d != "" {
					rt.Fatalf("%s sends %s, rfc %s: %s", who, sent, ops["rfc"], d)
				}
			}
		}
	})
	for _, who := range []string{"rfc", "okta"} {
		if got := b.tally.Of(who); len(got) != 0 {
			t.Errorf("put right for %s: %v", who, got)
		}
	}
	for who, rules := range map[string]string{"entra": "boolean.text op.case path.makes remove.value value.text", "flag": "path.in-key path.makes value.text"} {
		var got []string
		for _, c := range b.tally.Of(who) {
			got = append(got, c.Rule)
		}
		if strings.Join(got, " ") != rules {
			t.Errorf("put right for %s: %v, want %s", who, got, rules)
		}
	}
}

// Whose user it is, and when it was, is each client's own.
var sameDelta = cmpopts.IgnoreFields(provisioning.Delta{}, "UserID", "By", "At")

func keys(m map[string][]string) []string { return slices.Sorted(maps.Keys(m)) }

// The same for who joins and who leaves a group.
func TestSC52SC54_OneMoveInEveryDialectIsOneDelta(t *testing.T) {
	t.Parallel()
	b := newBabel(t)
	type side struct{ group, a, c string }
	sides := map[string]side{}
	for _, who := range []string{"rfc", "entra", "okta", "wso2"} {
		s := side{a: b.do(who, "POST", "/Users", scimtest.User(`"userName":"a"`)).want(t, 201, "").obj.String("id"), c: b.do(who, "POST", "/Users", scimtest.User(`"userName":"c"`)).want(t, 201, "").obj.String("id")}
		s.group = b.do(who, "POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"g","members":[{"value":"`+s.c+`"}]}`).want(t, 201, "").obj.String("id")
		sides[who] = s
	}
	shapes := []map[string]string{
		{ // a joins
			"rfc":   `{"op":"add","path":"members","value":[{"value":"@A"}]}`,
			"entra": `{"op":"Add","path":"members","value":[{"$ref":null,"value":"@A"}]}`,
			"okta":  `{"op":"add","path":"members","value":[{"value":"@A","display":"a"}]}`,
			"wso2":  `{"op":"add","value":{"members":[{"value":"@A","display":"a"}]}}`,
		},
		{ // c leaves
			"rfc":   `{"op":"remove","path":"members[value eq \"@C\"]"}`,
			"entra": `{"op":"Remove","path":"members","value":[{"value":"@C"}]}`,
			"okta":  `{"op":"remove","path":"members[value eq \"@C\"]"},{"op":"replace","value":{"id":"@G","displayName":"g"}}`,
			"wso2":  `{"op":"replace","path":"members","value":[{"value":"@A"}]}`,
		},
		{ // c comes, a goes
			"rfc":   `{"op":"replace","path":"members","value":[{"value":"@C"}]}`,
			"entra": `{"op":"Remove","path":"members","value":[{"value":"@A"}]},{"op":"Add","path":"members","value":"@C"}`,
			"okta":  `{"op":"remove","path":"members[value eq \"@A\"]"},{"op":"add","path":"members","value":[{"value":"@C","display":"c"}]}`,
			"wso2":  `{"op":"REPLACE","value":{"members":[{"value":"@C"}]}}`,
		},
		{ // nobody is left
			"rfc":   `{"op":"remove","path":"members"}`,
			"entra": `{"op":"Replace","path":"members","value":[]}`,
			"okta":  `{"op":"replace","value":{"members":[]}}`,
			"wso2":  `{"op":"replace","path":"members","value":null}`,
		},
	}
	for _, shape := range shapes {
		var want []provisioning.Delta
		for _, who := range []string{"rfc", "entra", "okta", "wso2"} {
			s := sides[who]
			b.deltas = nil
			sent := strings.NewReplacer("@A", s.a, "@C", s.c, "@G", s.group).Replace(shape[who])
			b.do(who, "PATCH", "/Groups/"+s.group, scimtest.Patch(sent)).want(t, 204, "")
			got := b.deltas
			for i := range got { // in the terms of the test
				got[i].UserID = map[string]string{s.a: "a", s.c: "c"}[got[i].UserID]
				for _, list := range [][]string{got[i].Joined, got[i].Left} {
					for j := range list {
						list[j] = map[string]string{s.group: "g"}[list[j]]
					}
				}
			}
			if who == "rfc" {
				want = got
			}
			if d := cmp.Diff(want, got, cmpopts.IgnoreFields(provisioning.Delta{}, "By", "At"), cmpopts.EquateEmpty()); d != "" || len(got) == 0 {
				t.Errorf("%s sends %s: %s", who, sent, d)
			}
		}
	}
}

// What a client calls a member is its own name for them, in that group, as
// long as they are in it.
func TestSC16SC18_NamesThatAClientGivesMembers(t *testing.T) {
	t.Parallel()
	b := newBabel(t)
	kim := b.do("entra", "POST", "/Users", scimtest.User(`"userName":"kim"`)).want(t, 201, "").obj.String("id")
	inner := b.do("entra", "POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"inner"}`).want(t, 201, "").obj.String("id")
	g := b.do("entra", "POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"g","members":[{"value":"`+inner+`","display":"not kept"}]}`).want(t, 201, "").obj.String("id")
	shows := func(want string) {
		t.Helper()
		a := b.do("entra", "GET", "/Groups/"+g, "").want(t, 200, "")
		var got []string
		for _, v := range a.obj.List("members") {
			got = append(got, v.(*scim.Object).String("display"))
		}
		if s := strings.Join(got, " | "); s != want {
			t.Errorf("the members are %s, want %s", s, want)
		}
	}
	patch := func(op string) {
		t.Helper()
		b.do("entra", "PATCH", "/Groups/"+g, scimtest.Patch(op)).want(t, 204, "")
	}
	patch(`{"op":"add","path":"members","value":[{"displayName":"new User","value":"` + kim + `"}]}`)
	shows("new User | inner")
	patch(`{"op":"add","path":"members","value":[{"value":"` + kim + `"}]}`) // says nothing of it
	shows("new User | inner")
	b.do("entra", "PUT", "/Groups/"+g, `{"schemas":["`+scim.GroupURN+`"],"displayName":"g","members":[{"value":"`+kim+`","display":"other"}]}`).want(t, 200, "")
	shows("other")
	patch(`{"op":"add","path":"members","value":[{"display":"kim","value":"` + kim + `"}]}`)
	shows("kim")
	patch(`{"op":"add","path":"members","value":[{"display":"again","value":"` + kim + `"}]}`)
	shows("again")
	patch(`{"op":"remove","path":"members[value eq \"` + kim + `\"]"}`)
	patch(`{"op":"add","path":"members","value":[{"value":"` + kim + `"}]}`)
	shows("kim")
	for attr := range b.stored(kim).Attributes {
		t.Errorf("%s is left", attr)
	}
}

// Entra sends members that it has not provisioned; with its dialect they are
// left out and counted, with any other they are refused.
func TestSC18_MembersWhomThereAreNot(t *testing.T) {
	t.Parallel()
	b := newBabel(t)
	for who, status := range map[string]int{"entra": 204, "rfc": 400, "okta": 400, "wso2": 400} {
		kim := b.do(who, "POST", "/Users", scimtest.User(`"userName":"kim"`)).want(t, 201, "").obj.String("id")
		g := b.do(who, "POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"g"}`).want(t, 201, "").obj.String("id")
		a := b.do(who, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"string id 1"},{"value":"`+kim+`"}]}`))
		if a.StatusCode != status {
			t.Errorf("%s: %d %s", who, a.StatusCode, a.body)
		}
		if n := len(b.do(who, "GET", "/Groups/"+g, "").obj.List("members")); n != map[bool]int{true: 1, false: 0}[status == 204] {
			t.Errorf("%s: there are %d members", who, n)
		}
	}
	counted := b.tally.Of("entra")
	if len(counted) != 1 || counted[0].Rule != "member.unknown" || counted[0].Count != 1 {
		t.Errorf("counted are %v", counted)
	}
}

// A PATCH of Entra's is answered with 204, of others as RFC 7644 prefers.
func TestSC56_AnswerByDialect(t *testing.T) {
	t.Parallel()
	b := newBabel(t)
	for who, status := range map[string]int{"entra": 204, "rfc": 200, "okta": 200, "wso2": 200} {
		kim := b.do(who, "POST", "/Users", scimtest.User(`"userName":"kim"`)).want(t, 201, "").obj.String("id")
		op := scimtest.Patch(`{"op":"replace","path":"title","value":"x"}`)
		b.do(who, "PATCH", "/Users/"+kim, op).want(t, status, "")
		b.do(who, "PATCH", "/Users/"+kim+"?attributes=title", op).want(t, 200, "")
	}
}
