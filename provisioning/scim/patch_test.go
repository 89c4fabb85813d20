package scim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// patch applies operations that are written in JSON.
func patch(t testing.TB, rt *scim.ResourceType, cur *scim.Resource, ops ...string) (*scim.Resource, error) {
	t.Helper()
	p, err := scim.ParsePatch(decode(t, `{"schemas":["`+scim.PatchURN+`"],"Operations":[`+strings.Join(ops, ",")+`]}`))
	if err != nil {
		return nil, err
	}
	return rt.Patch(cur, p)
}

// patched are operations and what they make of a user, who is written without schemas.
type patched struct{ was, op, want string }

func try(t *testing.T, cases []patched) {
	t.Helper()
	for _, c := range cases {
		cur := user(t, c.was)
		before := text(cur)
		next, err := patch(t, scim.UserType(), cur, c.op)
		if err != nil {
			t.Errorf("%s: %v", c.op, err)
			continue
		}
		if want := user(t, c.want); !next.Equal(want) {
			t.Errorf("%s: %s", c.op, cmp.Diff(text(want), text(next)))
		}
		if text(cur) != before {
			t.Errorf("%s: the resource that was given has changed", c.op)
		}
	}
}

const ext = `"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"`

func TestSC52_Add(t *testing.T) {
	t.Parallel()
	try(t, []patched{
		{`{"userName":"a"}`, `{"op":"add","path":"title","value":"Dr"}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a","title":"Mr"}`, `{"op":"add","path":"title","value":"Dr"}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a"}`, `{"op":"add","path":"active","value":true}`, `{"userName":"a","active":true}`},
		{`{"userName":"a"}`, `{"op":"add","path":"name.givenName","value":"A"}`, `{"userName":"a","name":{"givenName":"A"}}`},
		{`{"userName":"a","name":{"familyName":"F"}}`, `{"op":"add","path":"name","value":{"givenName":"A"}}`, `{"userName":"a","name":{"familyName":"F","givenName":"A"}}`},
		{`{"userName":"a"}`, `{"op":"add","path":"emails","value":[{"value":"x"}]}`, `{"userName":"a","emails":[{"value":"x"}]}`},
		{`{"userName":"a"}`, `{"op":"add","path":"emails","value":{"value":"x"}}`, `{"userName":"a","emails":[{"value":"x"}]}`},
		{`{"userName":"a","emails":[{"value":"x"}]}`, `{"op":"add","path":"emails","value":[{"value":"y"},{"value":"x"},{"value":"y"}]}`, `{"userName":"a","emails":[{"value":"x"},{"value":"y"}]}`},
		{`{"userName":"a","emails":[{"value":"x","type":"work"}]}`, `{"op":"add","path":"emails","value":[{"value":"x","type":"home"}]}`, `{"userName":"a","emails":[{"value":"x","type":"work"},{"value":"x","type":"home"}]}`},
		{`{"userName":"a","emails":[{"value":"x","type":"work","primary":true}]}`, `{"op":"add","path":"emails","value":[{"value":"x","type":"work"}]}`, `{"userName":"a","emails":[{"value":"x","type":"work","primary":true}]}`},
		{`{"userName":"a","title":"Mr"}`, `{"op":"add","value":{"title":"Dr","nickName":"n","emails":[{"value":"x"}],` + ext + `:{"department":"IT"}}}`, `{"userName":"a","title":"Dr","nickName":"n","emails":[{"value":"x"}],` + ext + `:{"department":"IT"}}`},
		{`{"userName":"a"}`, `{"op":"add","value":{"SCHEMAS":["x"],"TITLE":"Dr"}}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a"}`, `{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:department","value":"IT"}`, `{"userName":"a",` + ext + `:{"department":"IT"}}`},
		{`{"userName":"a"}`, `{"op":"add","path":` + ext + `,"value":{"department":"IT"}}`, `{"userName":"a",` + ext + `:{"department":"IT"}}`},
		{`{"userName":"a"}`, `{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value","value":"1"}`, `{"userName":"a",` + ext + `:{"manager":{"value":"1"}}}`},
		{`{"userName":"a"}`, `{"op":"add","path":"urn:ietf:params:scim:schemas:core:2.0:User:title","value":"Dr"}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a","emails":[{"value":"x","type":"work"},{"value":"y"}]}`, `{"op":"add","path":"emails[type eq \"work\"]","value":{"display":"X"}}`, `{"userName":"a","emails":[{"value":"x","type":"work","display":"X"},{"value":"y"}]}`},
		{`{"userName":"a","emails":[{"value":"x","type":"work"},{"value":"y"}]}`, `{"op":"add","path":"emails[type eq \"WORK\"].display","value":"X"}`, `{"userName":"a","emails":[{"value":"x","type":"work","display":"X"},{"value":"y"}]}`},
		{`{"userName":"a","title":"Mr"}`, `{"op":"add","path":"title","value":null}`, `{"userName":"a","title":"Mr"}`},
		{`{"userName":"a"}`, `{"op":"add","path":"roles","value":[{"display":"no value"},{"display":"no value"}]}`, `{"userName":"a","roles":[{"display":"no value"}]}`},
	})
}

func TestSC53_Replace(t *testing.T) {
	t.Parallel()
	two := `"emails":[{"value":"x","type":"work","display":"X"},{"value":"y","type":"home"}]`
	try(t, []patched{
		{`{"userName":"a","title":"Mr"}`, `{"op":"replace","path":"title","value":"Dr"}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a"}`, `{"op":"replace","path":"title","value":"Dr"}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a"}`, `{"op":"replace","path":"userName","value":"b"}`, `{"userName":"b"}`},
		{`{"userName":"a","active":true}`, `{"op":"replace","value":{"active":false}}`, `{"userName":"a","active":false}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","path":"emails","value":[{"value":"z"}]}`, `{"userName":"a","emails":[{"value":"z"}]}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","path":"emails","value":[]}`, `{"userName":"a"}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","value":{"emails":[]}}`, `{"userName":"a"}`},
		{`{"userName":"a","title":"Dr",` + two + `}`, `{"op":"replace","value":{"emails":null,"title":null,"ims":[]}}`, `{"userName":"a"}`},
		{`{"userName":"a","title":"Dr"}`, `{"op":"add","value":{"title":null}}`, `{"userName":"a","title":"Dr"}`},
		{`{"userName":"a","name":{"familyName":"F","givenName":"G"}}`, `{"op":"replace","path":"name","value":{"givenName":null,"middleName":"M"}}`, `{"userName":"a","name":{"familyName":"F","middleName":"M"}}`},
		{`{"userName":"a","name":{"givenName":"G"}}`, `{"op":"replace","value":{"name":{"givenName":null}}}`, `{"userName":"a"}`},
		{`{"userName":"a",` + ext + `:{"department":"IT","division":"D"}}`, `{"op":"replace","value":{` + ext + `:{"department":null}}}`, `{"userName":"a",` + ext + `:{"division":"D"}}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","path":"emails[type eq \"work\"]","value":{"value":"z"}}`, `{"userName":"a","emails":[{"value":"z"},{"value":"y","type":"home"}]}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","path":"emails[type eq \"work\"].value","value":"z"}`, `{"userName":"a","emails":[{"value":"z","type":"work","display":"X"},{"value":"y","type":"home"}]}`},
		{`{"userName":"a",` + two + `}`, `{"op":"replace","path":"emails.display","value":"D"}`, `{"userName":"a","emails":[{"value":"x","type":"work","display":"D"},{"value":"y","type":"home","display":"D"}]}`},
		{`{"userName":"a","name":{"familyName":"F","givenName":"G"}}`, `{"op":"replace","path":"name","value":{"givenName":"H"}}`, `{"userName":"a","name":{"familyName":"F","givenName":"H"}}`},
		{`{"userName":"a","name":{"familyName":"F","givenName":"G"}}`, `{"op":"replace","path":"name.givenName","value":null}`, `{"userName":"a","name":{"familyName":"F"}}`},
		{`{"userName":"a",` + ext + `:{"department":"IT","division":"D"}}`, `{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","value":"HR"}`, `{"userName":"a",` + ext + `:{"department":"HR","division":"D"}}`},
	})
	cur := user(t, `{"userName":"a",`+two+`}`)
	for _, op := range []string{
		`{"op":"replace","path":"emails[type eq \"fax\"].value","value":"z"}`, `{"op":"replace","path":"emails[type eq \"fax\"]","value":{"value":"z"}}`, `{"op":"add","path":"emails[type eq \"fax\"].value","value":"z"}`,
		`{"op":"replace","path":"ims[type eq \"x\"].value","value":"z"}`, `{"op":"add","path":"ims.value","value":"z"}`,
	} {
		_, err := patch(t, scim.UserType(), cur, op)
		refused(t, err, scim.NoTarget)
	}
}

func TestSC54_Remove(t *testing.T) {
	t.Parallel()
	two := `"emails":[{"value":"x","type":"work"},{"value":"y","type":"home"}]`
	try(t, []patched{
		{`{"userName":"a","title":"Mr"}`, `{"op":"remove","path":"title"}`, `{"userName":"a"}`},
		{`{"userName":"a"}`, `{"op":"remove","path":"title"}`, `{"userName":"a"}`},
		{`{"userName":"a","title":"Mr"}`, `{"op":"remove","path":"title","value":null}`, `{"userName":"a"}`},
		{`{"userName":"a","name":{"givenName":"G"}}`, `{"op":"remove","path":"name"}`, `{"userName":"a"}`},
		{`{"userName":"a","name":{"givenName":"G"}}`, `{"op":"remove","path":"name.givenName"}`, `{"userName":"a"}`},
		{`{"userName":"a","name":{"givenName":"G","familyName":"F"}}`, `{"op":"remove","path":"name.givenName"}`, `{"userName":"a","name":{"familyName":"F"}}`},
		{`{"userName":"a",` + two + `}`, `{"op":"remove","path":"emails"}`, `{"userName":"a"}`},
		{`{"userName":"a",` + two + `}`, `{"op":"remove","path":"emails[type eq \"work\"]"}`, `{"userName":"a","emails":[{"value":"y","type":"home"}]}`},
		{`{"userName":"a",` + two + `}`, `{"op":"remove","path":"emails[type eq \"fax\"]"}`, `{"userName":"a",` + two + `}`},
		{`{"userName":"a",` + two + `}`, `{"op":"remove","path":"emails[value pr]"}`, `{"userName":"a"}`},
		{`{"userName":"a",` + two + `}`, `{"op":"remove","path":"emails[type eq \"work\"].type"}`, `{"userName":"a","emails":[{"value":"x"},{"value":"y","type":"home"}]}`},
		{`{"userName":"a","emails":[{"value":"x"},{"value":"y","type":"home"}]}`, `{"op":"remove","path":"emails.value"}`, `{"userName":"a","emails":[{"type":"home"}]}`},
		{`{"userName":"a",` + ext + `:{"department":"IT"}}`, `{"op":"remove","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"}`, `{"userName":"a"}`},
		{`{"userName":"a",` + ext + `:{"department":"IT"}}`, `{"op":"remove","path":` + ext + `}`, `{"userName":"a"}`},
		{`{"userName":"a"}`, `{"op":"remove","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"}`, `{"userName":"a"}`},
	})
	cur := bjensen(t)
	for op, typ := range map[string]string{
		`{"op":"remove"}`: scim.NoTarget, `{"op":"remove","path":""}`: scim.NoTarget,
		`{"op":"remove","path":"userName"}`: scim.Mutability, `{"op":"replace","path":"userName","value":null}`: scim.Mutability,
		`{"op":"remove","path":"id"}`: scim.Mutability, `{"op":"remove","path":"meta"}`: scim.Mutability, `{"op":"remove","path":"meta.version"}`: scim.Mutability, `{"op":"remove","path":"groups"}`: scim.Mutability, `{"op":"remove","path":"schemas"}`: scim.Mutability,
		// Without its value this would take away all of them.
		`{"op":"remove","path":"emails","value":[{"value":"babs@jensen.org"}]}`: scim.InvalidSyntax,
	} {
		_, err := patch(t, scim.UserType(), cur, op)
		refused(t, err, typ)
	}
	grp, err := make1(t, scim.GroupType(), `{"displayName":"g","members":[{"value":"1"},{"value":"2"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	next, err := patch(t, scim.GroupType(), grp, `{"op":"remove","path":"members[value eq \"1\"]"}`, `{"op":"add","path":"members","value":[{"value":"3"},{"value":"2"}]}`)
	if err != nil || !strings.Contains(text(next), `"members":[{"value":"2"},{"value":"3"}]`) {
		t.Errorf("%v %v", next, err)
	}
	_, err = patch(t, scim.GroupType(), grp, `{"op":"replace","path":"members[value eq \"1\"].value","value":"9"}`)
	refused(t, err, scim.Mutability)
}

func TestSC55_OperationsAreReadAsClientsSendThem(t *testing.T) {
	t.Parallel()
	cur := user(t, `{"userName":"a"}`)
	good := fmt.Sprintf(`{"SCHEMAS":[%q],"id":"x","OPERATIONS":[{"OP":"Add","Path":"title","Value":"Dr","x":1},{"op":"REPLACE","value":{"nickName":"n"}}]}`, strings.ToUpper(scim.PatchURN))
	p, err := scim.ParsePatch(decode(t, good))
	if err != nil {
		t.Fatal(err)
	}
	next, err := scim.UserType().Patch(cur, p)
	if err != nil || next.String("title") != "Dr" || next.String("nickName") != "n" {
		t.Errorf("%v %v", next, err)
	}
	for json, typ := range map[string]string{
		`{"Operations":[{"op":"add","path":"title","value":"x"}]}`: scim.InvalidSyntax,
		`{"schemas":["` + scim.PatchURN + `"]}`:                    scim.InvalidSyntax, `{"schemas":["` + scim.PatchURN + `"],"Operations":[]}`: scim.InvalidSyntax,
		`{"schemas":["` + scim.PatchURN + `"],"Operations":{"op":"add"}}`: scim.InvalidSyntax, `{"schemas":["` + scim.PatchURN + `"],"Operations":["add"]}`: scim.InvalidSyntax,
		`{"schemas":["` + scim.PatchURN + `"],"Operations":[{"op":"test","path":"title"}]}`: scim.InvalidSyntax, `{"schemas":["` + scim.PatchURN + `"],"Operations":[{"path":"title"}]}`: scim.InvalidSyntax,
		`{"schemas":["` + scim.PatchURN + `"],"Operations":[{"op":1,"path":"title"}]}`: scim.InvalidSyntax, `{"schemas":["` + scim.PatchURN + `"],"Operations":[{"op":"add","path":1,"value":"x"}]}`: scim.InvalidPath,
	} {
		_, err := scim.ParsePatch(decode(t, json))
		refused(t, err, typ)
	}
}

func TestC08_PathTricks(t *testing.T) {
	t.Parallel()
	cur := bjensen(t)
	for op, typ := range map[string]string{
		`{"op":"add","value":"x"}`: scim.InvalidSyntax, `{"op":"add","value":["x"]}`: scim.InvalidSyntax, `{"op":"replace"}`: scim.InvalidSyntax,
		`{"op":"replace","path":"id","value":"x"}`: scim.Mutability, `{"op":"replace","value":{"id":"x"}}`: scim.Mutability, `{"op":"add","value":{"meta":{"version":"x"}}}`: scim.Mutability, `{"op":"add","path":"groups","value":[{"value":"admins"}]}`: scim.Mutability,
		`{"op":"replace","path":"groups[value pr].value","value":"admins"}`: scim.Mutability, `{"op":"replace","path":"meta.created","value":"2020-01-01T00:00:00Z"}`: scim.Mutability,
		`{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName","value":"x"}`: scim.Mutability,
		`{"op":"add","path":"schemas","value":["urn:x"]}`:                                                                  scim.Mutability,
		`{"op":"add","path":"__proto__","value":{"admin":true}}`:                                                           scim.InvalidPath, `{"op":"add","path":"__proto__.admin","value":true}`: scim.InvalidPath, `{"op":"add","value":{"__proto__":{"admin":true}}}`: scim.InvalidPath, `{"op":"add","path":"constructor.prototype.admin","value":true}`: scim.InvalidPath,
		`{"op":"add","value":{"name.givenName":"x"}}`: scim.InvalidPath, `{"op":"add","value":{"admin":true}}`: scim.InvalidPath, `{"op":"add","path":"roles.admin","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"/title","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"title/","value":"x"}`: scim.InvalidPath,
		`{"op":"add","path":"emails[","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"emails[]","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"emails[0]","value":{"value":"x"}}`: scim.InvalidPath, `{"op":"add","path":"emails[type eq \"work\"].value eq \"x\"","value":"x"}`: scim.InvalidPath,
		`{"op":"add","path":" ","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"title pr","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"name[givenName pr].familyName","value":"x"}`: scim.InvalidPath, `{"op":"add","path":"urn:x:y","value":"x"}`: scim.InvalidPath, `{"op":"add","value":{"urn:x:y":{"a":1}}}`: scim.InvalidPath,
		`{"op":"add","path":"emails[colour eq \"x\"].value","value":"x"}`: scim.InvalidFilter,
		`{"op":"add","path":` + ext + `,"value":{"colour":1}}`:            scim.InvalidPath, `{"op":"add","path":` + ext + `,"value":"x"}`: scim.InvalidValue, `{"op":"replace","path":"title","value":{"a":"b"}}`: scim.InvalidValue,
		`{"op":"replace","path":"active","value":"False"}`: scim.InvalidValue, `{"op":"add","path":"emails","value":"x"}`: scim.InvalidValue, `{"op":"replace","path":"emails[type eq \"work\"]","value":"x"}`: scim.InvalidValue, `{"op":"replace","path":"emails[type eq \"work\"]","value":{"x":1}}`: scim.InvalidValue, `{"op":"replace","path":"userName","value":""}`: scim.InvalidValue,
		`{"op":"add","path":"` + strings.Repeat("a", scim.MaxFilter+1) + `","value":"x"}`: scim.InvalidPath,
	} {
		_, err := patch(t, scim.UserType(), cur, op)
		if err == nil {
			t.Errorf("%.100s was done", op)
			continue
		}
		refused(t, err, typ)
	}
	many := make([]string, scim.MaxOperations+1)
	for i := range many {
		many[i] = `{"op":"add","path":"title","value":"x"}`
	}
	if _, err := patch(t, scim.UserType(), cur, many...); scim.AsError(err).Status != 413 {
		t.Errorf("%d operations: %v", len(many), err)
	}
	if _, err := patch(t, scim.UserType(), cur, many[1:]...); err != nil {
		t.Errorf("%d operations: %v", len(many)-1, err)
	}
	full := user(t, `{"userName":"a"}`)
	var values []any
	for i := range scim.MaxValues {
		values = append(values, scim.NewObject("value", fmt.Sprint(i)))
	}
	full.Set("roles", values)
	if _, err := patch(t, scim.UserType(), full, `{"op":"add","path":"roles","value":[{"value":"0"}]}`); err != nil {
		t.Errorf("a value that is there: %v", err)
	}
	if _, err := patch(t, scim.UserType(), full, `{"op":"add","path":"roles","value":[{"value":"x"}]}`); scim.AsError(err).Status != 413 {
		t.Errorf("one value too many: %v", err)
	}
}

func TestSC51_PatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	cur := bjensen(t)
	before := text(cur)
	good := `{"op":"replace","path":"title","value":"Dr"},{"op":"remove","path":"emails"},{"op":"replace","path":"name.givenName","value":"X"}`
	for _, bad := range []string{`{"op":"add","path":"colour","value":"x"}`, `{"op":"remove","path":"userName"}`, `{"op":"replace","path":"emails[type eq \"x\"].value","value":"x"}`} {
		for _, ops := range []string{good + "," + bad, bad + "," + good} {
			if next, err := patch(t, scim.UserType(), cur, ops); err == nil || next != nil {
				t.Errorf("%s: %v, %v", ops, next, err)
			}
			if text(cur) != before {
				t.Fatal("a failing PATCH changed the resource")
			}
		}
	}
	if next, err := patch(t, scim.UserType(), cur, good); err != nil || next.String("title") != "Dr" || next.Get("emails") != nil {
		t.Errorf("the operations that go before are no good: %v", err)
	}
	same, err := patch(t, scim.UserType(), cur, `{"op":"replace","path":"title","value":"Tour Guide"}`, `{"op":"add","path":"emails","value":[{"value":"babs@jensen.org"}]}`, `{"op":"remove","path":"ims"}`, `{"op":"add","path":"nickName","value":"x"}`, `{"op":"remove","path":"nickName"}`)
	if err != nil || !same.Equal(cur) {
		t.Errorf("operations that change nothing made %v, %v", same, err)
	}
}

func TestPatchMessageReadsBack(t *testing.T) {
	t.Parallel()
	p := scim.Patch{Operations: []scim.Operation{{Op: "add", Path: "title", Value: "x"}, {Op: "remove", Path: "nickName"}, {Op: "replace", Value: scim.NewObject("active", false)}}}
	again, err := scim.ParsePatch(decode(t, string(p.Object().AppendJSON(nil))))
	if err != nil || string(again.Object().AppendJSON(nil)) != string(p.Object().AppendJSON(nil)) {
		t.Errorf("%v, %v", again, err)
	}
}
