package dialect_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
)

const enterprise = scim.EnterpriseUserURN

func decode(t testing.TB, text string) *scim.Object {
	t.Helper()
	o, err := scim.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

func patchOf(ops string) string {
	return `{"schemas":["` + scim.PatchURN + `"],"Operations":[` + ops + `]}`
}

func userOf(rest string) string { return `{"schemas":["` + scim.UserURN + `"],` + rest + `}` }

func rulesOf(made []dialect.Rewrite) []string {
	var list []string
	for _, r := range made {
		list = append(list, r.Rule)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// The shapes that clients really send, and what they mean.
func TestSC20SC32SC55_ShapesOfClients(t *testing.T) {
	t.Parallel()
	user, group := scim.UserType(), scim.GroupType()
	for _, c := range []struct {
		name       string
		dialect    dialect.Dialect
		rt         *scim.ResourceType
		sent, want string // operations of a PATCH
		rules      string
	}{
		{"Entra: capitals and a truth value as text", dialect.Entra, user,
			`{"op":"Replace","path":"active","value":"False"}`,
			`{"op":"replace","path":"active","value":false}`, "boolean.text op.case"},
		{"Entra: Add", dialect.Entra, user,
			`{"op":"Add","path":"nickName","value":"B"}`,
			`{"op":"add","path":"nickName","value":"B"}`, "op.case"},
		{"Entra: members to remove in the value", dialect.Entra, group,
			`{"op":"Remove","path":"members","value":[{"value":"id"}]}`,
			`{"op":"remove","path":"members[value eq \"id\"]"}`, "op.case remove.value"},
		{"Entra: several members to remove", dialect.Entra, group,
			`{"op":"remove","path":"members","value":[{"$ref":null,"value":"a\"b"},{"value":"c"}]}`,
			`{"op":"remove","path":"members[value eq \"a\\\"b\"]"},{"op":"remove","path":"members[value eq \"c\"]"}`, "remove.value"},
		{"Entra: a value that the path says already", dialect.Entra, user,
			`{"op":"Remove","path":"title","value":"x"}`,
			`{"op":"remove","path":"title"}`, "op.case remove.value"},
		{"Entra, flag aadOptscim062020: paths as names", dialect.Entra, user,
			`{"op":"replace","value":{"displayName":"x","name.givenName":"y","` + enterprise + `:employeeNumber":"z"}}`,
			`{"op":"replace","path":"displayName","value":"x"},{"op":"replace","path":"name.givenName","value":"y"},{"op":"replace","path":"` + enterprise + `:employeeNumber","value":"z"}`, "path.in-key"},
		{"Entra, flag: a path with brackets as name", dialect.Entra, user,
			`{"op":"add","value":{"emails[type eq \"work\"].value":"x","active":"True"}}`,
			`{"op":"add","path":"emails[type eq \"work\"].value","value":"x"},{"op":"add","path":"active","value":true}`, "boolean.text path.in-key path.makes"},
		{"Entra: a manager as text", dialect.Entra, user,
			`{"op":"Add","path":"` + enterprise + `:manager","value":"271"}`,
			`{"op":"add","path":"` + enterprise + `:manager","value":{"value":"271"}}`, "op.case value.text"},
		{"Entra: a manager as text, among names", dialect.Entra, user,
			`{"op":"add","value":{"` + enterprise + `:manager":"271"}}`,
			`{"op":"add","path":"` + enterprise + `:manager","value":{"value":"271"}}`, "path.in-key value.text"},
		{"Entra: a manager as list", dialect.Entra, user,
			`{"op":"replace","path":"` + enterprise + `:manager","value":[{"$ref":null,"value":"271"}]}`,
			`{"op":"replace","path":"` + enterprise + `:manager","value":{"$ref":null,"value":"271"}}`, "value.list"},
		{"Entra: a single value as list", dialect.Entra, user,
			`{"op":"replace","path":"displayName","value":[{"$ref":null,"value":"Ann"}]}`,
			`{"op":"replace","path":"displayName","value":"Ann"}`, "value.list"},
		{"Entra: roles wrapped twice", dialect.Entra, user,
			`{"op":"add","path":"roles","value":[{"value":"{\"id\":\"18d1\",\"value\":\"admin\",\"displayName\":\"Administrators\"}"}]}`,
			`{"op":"add","path":"roles","value":[{"value":"admin","display":"Administrators"}]}`, "value.json"},
		{"Entra: a role without a value of its own", dialect.Entra, user,
			`{"op":"add","path":"roles","value":[{"value":"{\"id\":\"18d1\"}"}]}`,
			`{"op":"add","path":"roles","value":[{"value":"18d1"}]}`, "value.json"},
		{"Entra: a mail address that may not be there", dialect.Entra, user,
			`{"op":"replace","path":"emails[type eq \"work\"].value","value":"x@y.test"}`,
			`{"op":"replace","path":"emails[type eq \"work\"].value","value":"x@y.test"}`, "path.makes"},
		{"Entra: a truth value as text in brackets", dialect.Entra, user,
			`{"op":"remove","path":"roles[primary eq \"True\"]"}`,
			`{"op":"remove","path":"roles[primary eq true]"}`, "boolean.text"},
		{"Entra: $ref is null", dialect.Entra, group,
			`{"op":"add","path":"members","value":[{"$ref":null,"value":"id"}]}`,
			`{"op":"add","path":"members","value":[{"$ref":null,"value":"id"}]}`, ""},
		{"Microsoft's collection: a member as text", dialect.Entra, group,
			`{"op":"add","path":"members","value":"string id 2"}`,
			`{"op":"add","path":"members","value":[{"value":"string id 2"}]}`, "value.text"},
		{"Microsoft's collection: displayName of a member", dialect.Entra, group,
			`{"name":"addMember","op":"add","path":"members","value":[{"displayName":"new User","value":"id"}]}`,
			`{"name":"addMember","op":"add","path":"members","value":[{"value":"id","display":"new User"}]}`, "display.name"},

		{"Okta: deactivation", dialect.Okta, user,
			`{"op":"replace","value":{"active":false}}`,
			`{"op":"replace","value":{"active":false}}`, ""},
		{"Okta: a rename repeats the id", dialect.Okta, group,
			`{"op":"replace","value":{"id":"abf4","displayName":"Tour Guides"}}`,
			`{"op":"replace","value":{"displayName":"Tour Guides"}}`, "id.in-value"},
		{"Okta: one member goes, others come", dialect.Okta, group,
			`{"op":"remove","path":"members[value eq \"a\"]"},{"op":"add","path":"members","value":[{"value":"b","display":"b@x.test"}]}`,
			`{"op":"remove","path":"members[value eq \"a\"]"},{"op":"add","path":"members","value":[{"value":"b","display":"b@x.test"}]}`, ""},
		{"Okta: all members", dialect.Okta, group,
			`{"op":"replace","path":"members","value":[{"value":"a"},{"value":"b"}]}`,
			`{"op":"replace","path":"members","value":[{"value":"a"},{"value":"b"}]}`, ""},
		{"Okta: no members", dialect.Okta, group,
			`{"op":"replace","path":"members","value":[]},{"op":"replace","value":{"members":[]}}`,
			`{"op":"replace","path":"members","value":[]},{"op":"replace","value":{"members":[]}}`, ""},

		{"WSO2: short names in paths", dialect.WSO2, user,
			`{"op":"replace","path":"EnterpriseUser.manager.managerId","value":"1"},{"op":"replace","value":{"wso2Extension":{"department":"d"}}}`,
			`{"op":"replace","path":"` + enterprise + `:manager.value","value":"1"},{"op":"replace","value":{"` + enterprise + `":{"department":"d"}}}`, "manager.id schema.short-name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in, want := decode(t, patchOf(c.sent)), decode(t, patchOf(c.want))
			before := in.Clone()
			got, made := c.dialect.Patch(c.rt, in)
			if !got.Equal(want) {
				t.Errorf("got  %s\nwant %s", got.AppendJSON(nil), want.AppendJSON(nil))
			}
			if d := cmp.Diff(strings.Fields(c.rules), rulesOf(made)); d != "" && c.rules+d != "" && len(made)+len(c.rules) > 0 {
				t.Error(d)
			}
			if !in.Equal(before) {
				t.Error("what was given changed")
			}
			// What is right stays as it is.
			if again, more := c.dialect.Patch(c.rt, got); !again.Equal(got) || len(more) > 0 && rulesOf(more)[0] != "path.makes" {
				t.Errorf("a second time makes %s by %v", again.AppendJSON(nil), more)
			}
			// The RFCs' dialect takes nothing for anything else.
			if same, none := dialect.RFC.Patch(c.rt, in); same != in || none != nil {
				t.Error("strict is not strict")
			}
		})
	}
}

func TestSC07SC14SC20_ShapesOfResources(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		dialect    dialect.Dialect
		rt         *scim.ResourceType
		sent, want string
		rules      string
	}{
		{"Entra: truth values as text", dialect.Entra, scim.UserType(),
			userOf(`"userName":"emp1","active":"True","emails":[{"Primary":"true","value":"a"}]`),
			userOf(`"userName":"emp1","active":true,"emails":[{"Primary":true,"value":"a"}]`), "boolean.text"},
		{"Entra: a group of Active Directory's schema", dialect.Entra, scim.GroupType(),
			`{"schemas":["` + scim.GroupURN + `","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],"displayName":"g"}`,
			`{"schemas":["` + scim.GroupURN + `"],"displayName":"g"}`, "schemas.foreign"},
		{"Entra: the manager in the extension", dialect.Entra, scim.UserType(),
			userOf(`"userName":"a","` + enterprise + `":{"manager":"271"}`),
			userOf(`"userName":"a","` + enterprise + `":{"manager":{"value":"271"}}`), "value.text"},
		{"Microsoft's collection: what is misspelt stays misspelt", dialect.Entra, scim.UserType(),
			userOf(`"userName":"a","adreses":[{"country":"Germany"}]`),
			userOf(`"userName":"a","adreses":[{"country":"Germany"}]`), ""},
		{"Okta: groups and a password on creation", dialect.Okta, scim.UserType(),
			userOf(`"userName":"a","groups":[],"password":"x"`),
			userOf(`"userName":"a","groups":[],"password":"x"`), ""},
		{"WSO2: the first call", dialect.WSO2, scim.UserType(),
			`{"schemas":[],"userName":"SureshAtt","password":"Wso2@123","EnterpriseUser":{"employeeNumber":"000111","costCenter":"111111","organization":"WSO2Org","division":"Engineering","department":"Intigration","manager":{"managerId":"111000","displayName":"Prabath"}}}`,
			userOf(`"userName":"SureshAtt","password":"Wso2@123","` + enterprise + `":{"employeeNumber":"000111","costCenter":"111111","organization":"WSO2Org","division":"Engineering","department":"Intigration","manager":{"value":"111000","displayName":"Prabath"}},"name":{"familyName":"SureshAtt"},"roles":[{"value":"Internal/everyone","type":"default"}]`),
			"manager.id name.family roles.everyone schema.short-name schemas.missing"},
		{"WSO2: the second call", dialect.WSO2, scim.UserType(),
			`{"schemas":[],"userName":'mysql/kim',"password":"Wso2@123"}`,
			userOf(`"userName":"mysql/kim","password":"Wso2@123","name":{"familyName":"kim"},"roles":[{"value":"Internal/everyone","type":"default"}]`),
			"json.quotes name.family roles.everyone schemas.missing"},
		{"WSO2: roles as texts, and a name", dialect.WSO2, scim.UserType(),
			`{"userName":"kim","wso2Extension":{"department":"d"},"roles":["Internal/everyone","admin"],"name":{"familyName":"Kim"}}`,
			userOf(`"userName":"kim","` + enterprise + `":{"department":"d"},"roles":[{"value":"Internal/everyone"},{"value":"admin"}],"name":{"familyName":"Kim"}`),
			"schema.short-name schemas.missing value.text"},
		{"WSO2: an extension by two names is for the engine to judge", dialect.WSO2, scim.UserType(),
			userOf(`"userName":"kim","EnterpriseUser":{"department":"a"},"` + enterprise + `":{"department":"b"},"roles":[{"value":"Internal/everyone"}],"name":{"familyName":"Kim"}`),
			userOf(`"userName":"kim","EnterpriseUser":{"department":"a"},"` + enterprise + `":{"department":"b"},"roles":[{"value":"Internal/everyone"}],"name":{"familyName":"Kim"}`), ""},
		{"WSO2: a group", dialect.WSO2, scim.GroupType(), `{"schemas":[],"displayName":"g"}`, `{"schemas":["` + scim.GroupURN + `"],"displayName":"g"}`, "schemas.missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in, made, err := c.dialect.Decode([]byte(c.sent))
			if err != nil {
				t.Fatal(err)
			}
			before := in.Clone()
			got, more := c.dialect.Resource(c.rt, in)
			if want := decode(t, c.want); !got.Equal(want) {
				t.Errorf("got  %s\nwant %s", got.AppendJSON(nil), want.AppendJSON(nil))
			}
			if d := strings.Join(rulesOf(append(made, more...)), " "); d != c.rules {
				t.Errorf("by %s, want %s", d, c.rules)
			}
			if !in.Equal(before) {
				t.Error("what was given changed")
			}
			if again, more := c.dialect.Resource(c.rt, got); !again.Equal(got) || len(more) > 0 {
				t.Errorf("a second time makes %s by %v", again.AppendJSON(nil), more)
			}
			if same, none := dialect.RFC.Resource(c.rt, in); same != in || none != nil {
				t.Error("strict is not strict")
			}
		})
	}
}

func TestSC32_Filters(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		`userName sw O`:        `userName sw "O"`,
		`externalId eq jyoung`: `externalId eq "jyoung"`,
		`externalId eq 4711`:   `externalId eq "4711"`,
		`userName EQ true`:     `userName EQ "true"`,
		`userName Eq O'Malley`: `userName Eq "O'Malley"`,
		`meta.Created gt 2015-10-10T14:38:21.8617979-07:00`:                                            `meta.Created gt "2015-10-10T14:38:21.8617979-07:00"`,
		`name.FamilyName eq Employee and (emails.Value co example.com or emails.Value co example.org)`: `name.FamilyName eq "Employee" and (emails.Value co "example.com" or emails.Value co "example.org")`,
		`emails[type eq work and value co @x].value eq y`:                                              `emails[type eq "work" and value co "@x"].value eq "y"`,
		`active eq "True" and not (active eq FALSE)`:                                                   `active eq true and not (active eq false)`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq IT`:                  `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "IT"`,
		// What is right stays.
		`userName eq "a b" and active eq true`: ``, `title pr and (emails pr)`: ``, `emails[type eq "work"]`: ``, `userName eq "say \"eq\" and or"`: ``,
		`title eq null`: ``, `not (userName eq "x")`: ``, `emails[primary eq true] and userName pr`: ``,
		// What nobody can read stays for the engine to refuse.
		`userName eq`: ``, `userName eq "`: ``, `(((`: ``, ``: ``, `]`: ``, `and and and`: ``,
	} {
		if want == "" {
			want = sent
		}
		got, made := dialect.Entra.Filter(scim.UserType(), sent)
		if got != want || (got != sent) != (len(made) > 0) {
			t.Errorf("%s\ngot  %s by %v\nwant %s", sent, got, made, want)
		}
		if got != sent {
			if _, err := scim.UserType().Filter(got); err != nil {
				t.Errorf("%s: %v", got, err)
			}
		}
		for _, strict := range []dialect.Dialect{dialect.RFC, dialect.Okta} {
			if got, made := strict.Filter(scim.UserType(), sent); got != sent || made != nil {
				t.Errorf("%s makes %s of %s", strict.Name, got, sent)
			}
		}
	}
}

func TestSingleQuotes(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		`{'a':'b'}`:            `{"a":"b"}`,
		`{"a":'it\'s "so"'}`:   `{"a":"it's \"so\""}`,
		`{"a":'\u00e9\\'}`:     `{"a":"é\\"}`,
		`{"a":"it's","b":'x'}`: `{"a":"it's","b":"x"}`,
		`{"a":'"'}`:            `{"a":"\""}`,
	} {
		got, made, err := dialect.WSO2.Decode([]byte(sent))
		if err != nil || !got.Equal(decode(t, want)) || len(made) != 1 {
			t.Errorf("%s makes %s by %v, %v", sent, got.AppendJSON(nil), made, err)
		}
		if _, _, err := dialect.Entra.Decode([]byte(sent)); err == nil {
			t.Errorf("%s is no JSON", sent)
		}
	}
	for _, sent := range []string{`{"a":'b}`, `{'a':b}`, `{"a":"b'}`, `'a'`, `{"a":'b' 'c'}`, `{"a":'\`, `{"a":'x','A':'y'}`, "{\"a\":'\xff'}", `{"a":'` + strings.Repeat("x", scim.MaxBody) + `'}`, `{"a":'` + strings.Repeat(`"`, scim.MaxBody-10) + `'}`} {
		if o, _, err := dialect.WSO2.Decode([]byte(sent)); err == nil {
			t.Errorf("%.40s is read as %.40s", sent, o.AppendJSON(nil))
		}
	}
	plain := `{"a":"it's ' fine"}`
	if o, made, err := dialect.WSO2.Decode([]byte(plain)); err != nil || made != nil || o.String("a") != "it's ' fine" {
		t.Errorf("%v by %v, %v", o, made, err)
	}
}

// A sample shows the habit and nothing of a person.
func TestC21_SamplesBearNoValues(t *testing.T) {
	t.Parallel()
	const secret = "Wso2@123 kim@x.test"
	var made []dialect.Rewrite
	_, more := dialect.Entra.Patch(scim.UserType(), decode(t, patchOf(`{"op":"Replace","path":"emails[value eq \"`+secret+`\"].value","value":"`+secret+`"},
		{"op":"Add","value":{"name.givenName":"`+secret+`","`+secret+`":4711,"emails[value eq \"`+secret+`\"].type":"x"}},{"op":"Remove","path":"emails","value":[{"value":"`+secret+`"}]},
		{"op":"Replace","path":"`+secret+`","value":[["`+secret+`"],4711,null,{"`+secret+`":{"x":"`+secret+`"}}]},{"op":"`+secret+`Q"}`)))
	made = append(made, more...)
	_, more = dialect.Entra.Filter(scim.UserType(), `userName eq 'Wso2@123 and title eq "kim@x.test" and externalId eq 4711`)
	made = append(made, more...)
	o, more, err := dialect.WSO2.Decode([]byte(`{"userName":'` + secret + `',"EnterpriseUser":{"manager":{"managerId":"` + secret + `"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, more...)
	_, more = dialect.WSO2.Resource(scim.UserType(), o)
	made = append(made, more...)
	if len(made) < 12 {
		t.Fatalf("only %d rewrites", len(made))
	}
	for _, r := range made {
		if strings.Contains(r.Sample, "Wso2") || strings.Contains(r.Sample, "x.test") || strings.Contains(r.Sample, "4711") || len(r.Sample) > 210 || r.Sample == "" {
			t.Errorf("%s shows %s", r.Rule, r.Sample)
		}
		if dialect.Rules[r.Rule] == "" {
			t.Errorf("%s is not explained", r.Rule)
		}
	}
	if _, made := dialect.Entra.Patch(scim.UserType(), decode(t, patchOf(`{"op":"Replace","path":"active","value":"False"}`))); made[0].Sample != `{"op":"Replace","path":"active","value":"False"}` {
		t.Errorf("the habit is not seen in %v", made)
	}
}

func TestTallyCountsByClientAndRule(t *testing.T) {
	t.Parallel()
	var tally dialect.Tally
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	if got := tally.Of("hr"); got == nil || len(got) != 0 {
		t.Errorf("of nothing there is %v", got)
	}
	tally.Add("hr", at, []dialect.Rewrite{{Rule: "op.case", Sample: "a"}, {Rule: "boolean.text", Sample: "b"}})
	tally.Add("hr", at.Add(time.Hour), []dialect.Rewrite{{Rule: "op.case", Sample: "c"}})
	tally.Add("other", at, []dialect.Rewrite{{Rule: "op.case", Sample: "d"}})
	tally.Add("quiet", at, nil)
	want := []dialect.Count{{"boolean.text", 1, at, at, "b"}, {"op.case", 2, at, at.Add(time.Hour), "c"}}
	if d := cmp.Diff(want, tally.Of("hr")); d != "" {
		t.Error(d)
	}
	if got := tally.Of("quiet"); len(got) != 0 {
		t.Errorf("of quiet there is %v", got)
	}
}

func TestDialectsAreNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "rfc", "entra", "okta", "wso2"} {
		if d, ok := dialect.Named(name); !ok || name != "" && d.Name != name {
			t.Errorf("%q is %v, %t", name, d, ok)
		}
	}
	if d, ok := dialect.Named("Entra"); ok {
		t.Errorf("there is %v", d)
	}
}

// Whatever is sent, nothing fails, and what comes out can be put right again
// without a change.
func FuzzPatch(f *testing.F) {
	for _, ops := range []string{`{"op":"Replace","path":"active","value":"False"}`, `{"op":"Remove","path":"members","value":[{"value":"id"}]}`, `{"op":"add","value":{"name.givenName":"y","roles":["{}"]}}`, `{"op":"x","path":"emails[type eq","value":[[]]}`} {
		f.Add([]byte(patchOf(ops)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range []dialect.Dialect{dialect.RFC, dialect.Entra, dialect.Okta, dialect.WSO2} {
			o, _, err := d.Decode(data)
			if err != nil {
				continue
			}
			for _, rt := range []*scim.ResourceType{scim.UserType(), scim.GroupType()} {
				once, _ := d.Patch(rt, o)
				twice, _ := d.Patch(rt, once)
				if !once.Equal(twice) {
					t.Errorf("%s: %s then %s", d.Name, once.AppendJSON(nil), twice.AppendJSON(nil))
				}
				d.Resource(rt, o)
				d.Filter(rt, string(data))
			}
		}
	})
}
