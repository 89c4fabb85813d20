package scim_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// decode makes an Object of JSON.
func decode(t testing.TB, json string) *scim.Object {
	t.Helper()
	o, err := scim.Decode([]byte(json))
	if err != nil {
		t.Fatalf("decode %s: %v", json, err)
	}
	return o
}

// user makes a resource of a JSON object without its schemas.
func user(t testing.TB, json string) *scim.Resource {
	t.Helper()
	o := decode(t, json)
	o.Set("schemas", []any{scim.UserURN})
	r, err := scim.UserType().New(o)
	if err != nil {
		t.Fatalf("new user %s: %v", json, err)
	}
	return r
}

// refused fails unless err is an *scim.Error with this scimType.
func refused(t *testing.T, err error, typ string) {
	t.Helper()
	var e *scim.Error
	switch {
	case !errors.As(err, &e):
		t.Errorf("got %v, want %s", err, typ)
	case e.Type != typ || typ != "" && e.Status/100 != 4:
		t.Errorf("got %d %v, want %s", e.Status, e, typ)
	case scim.Reasons[e.Reason()] == "":
		t.Errorf("the reason code %q is not listed", e.Reason())
	case e.Detail == "":
		t.Error("the error has no detail")
	}
}

const barbara = `{"userName":"bjensen@Example.com","externalId":"Ext-1","active":true,"title":"Tour Guide","userType":"Employee",
	"name":{"familyName":"Jensen","givenName":"Barbara"},
	"emails":[{"value":"bjensen@example.com","type":"work","primary":true},{"value":"babs@jensen.org","type":"home"}],
	"x509Certificates":[{"value":"TUlJ"}],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Tours","manager":{"value":"26118915"}}}`

func bjensen(t testing.TB) *scim.Resource {
	r := user(t, barbara)
	r.Set("id", "Id-1")
	r.Set("meta", scim.NewObject("resourceType", "User", "created", "2011-05-13T04:42:34.123Z", "lastModified", "2015-10-11T00:38:21+02:00"))
	return r
}

func TestSC30_Operators(t *testing.T) {
	t.Parallel()
	matches(t, map[string]bool{
		`userName eq "BJENSEN@example.COM"`: true, `userName eq "bjensen"`: false,
		`USERNAME EQ "bjensen@example.com"`: true, `userName Ne "x"`: true, `userName ne "bjensen@example.com"`: false,
		`name.familyName co "ENS"`: true, `name.familyName co "x"`: false,
		`userName sw "BJ"`: true, `userName sw "jensen"`: false, `userName ew ".com"`: true, `userName ew "bj"`: false,
		`title pr`: true, `nickName pr`: false, `emails pr`: true, `ims pr`: false, `name pr`: true, `name.middleName pr`: false,
		`title gt "Tour"`: true, `title lt "Tour"`: false, `title ge "tour guide"`: true, `title le "tour guide"`: true, `title gt "tour guide"`: false,
		`title pr and userType eq "Employee"`: true, `title pr and userType eq "Intern"`: false,
		`nickName pr or userType eq "Employee"`: true, `nickName pr or userType eq "Intern"`: false,
		// and binds tighter than or
		`title pr or nickName pr and nickName pr`: true, `(title pr or nickName pr) and nickName pr`: false,
		`nickName pr and nickName pr or title pr`: true, `nickName pr and (nickName pr or title pr)`: false,
		`not (nickName pr)`: true, `not (title pr)`: false, `NOT (title pr) OR title pr`: true, `not(nickName pr)`: true,
		`not (title pr and nickName pr)`: true, `title pr and not (nickName pr)`: true,
		`((((title pr))))`: true,
	})
}

func TestSC31_PathsAndLiterals(t *testing.T) {
	t.Parallel()
	matches(t, map[string]bool{
		`emails[type eq "work" and value co "@example.com"]`:    true,
		`emails[type eq "home" and value co "@example.com"]`:    false,
		`emails[type eq "work"].value eq "bjensen@EXAMPLE.com"`: true, `emails[type eq "home"].value eq "bjensen@example.com"`: false,
		`emails[value eq "babs@jensen.org"]`: true, `emails[not (type eq "work")]`: true, `emails[type eq "fax"]`: false,
		`emails[type eq "work" or type eq "fax"].primary eq true`: true,
		`emails[type eq "home"].primary pr`:                       false,
		`emails co "jensen.org"`:                                  true, `emails.value co "jensen.org"`: true, `emails.type eq "fax"`: false,
		`urn:ietf:params:scim:schemas:core:2.0:User:userName sw "b"`:                             true,
		`URN:ietf:params:scim:schemas:extension:enterprise:2.0:user:DEPARTMENT eq "tours"`:       true,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "26118915"`: true,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "26118915"`:       true,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter pr`:               false,
		`active eq true`: true, `active eq false`: false, `active ne false`: true,
		`nickName eq null`: true, `title eq null`: false, `title ne null`: true, `nickName ne null`: false, `nickName ne "x"`: true,
		`meta.lastModified gt "2015-10-10T14:38:21.8617979-07:00"`: true,
		`meta.lastModified gt "2015-10-10T15:38:21.8617979-07:00"`: false,
		`meta.lastModified eq "2015-10-10T22:38:21Z"`:              true, // the same moment at another offset
		`meta.created lt "2011-05-13T04:42:34.124Z"`:               true, `meta.created ge "2011-05-13T04:42:34.124Z"`: false,
		`meta.created sw "2011-05"`: true, `meta.resourceType eq "User"`: true,
		`schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"`: true,
		`title eq "Tour\u0020Guide"`: true, `title eq "a \"quoted\" \\ one"`: false,
	})
	f, err := scim.UserType().Filter(`nickName eq "a \"b\" \\ ü (] \ud83d\ude00"`)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Match(&user(t, `{"userName":"x","nickName":"a \"b\" \\ ü (] 😀"}`).Object) {
		t.Error("escapes in a string are not understood")
	}
}

func TestSC13_CaseExactDrivesTheFilter(t *testing.T) {
	t.Parallel()
	matches(t, map[string]bool{
		`userName eq "BJENSEN@EXAMPLE.COM"`: true,
		`id eq "Id-1"`:                      true, `id eq "ID-1"`: false,
		`externalId eq "Ext-1"`: true, `externalId eq "ext-1"`: false, `externalId sw "ext"`: false, `externalId co "xt-"`: true,
		`x509Certificates.value eq "TUlJ"`: true, `x509Certificates.value eq "tulj"`: false,
	})
	// Case and normal form of what is not ASCII (C13).
	f, err := scim.UserType().Filter(`userName eq "CAFÉ STRASSE"`)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Match(&user(t, `{"userName":"cafe\u0301 straße"}`).Object) {
		t.Error("a user name in another case and normal form is another one")
	}
}

func matches(t *testing.T, cases map[string]bool) {
	t.Helper()
	r := bjensen(t)
	for text, want := range cases {
		f, err := scim.UserType().Filter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(&r.Object); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		again, err := scim.UserType().Filter(f.String())
		if err != nil || again.Match(&r.Object) != want {
			t.Errorf("%s: written as %s, which reads differently: %v", text, f, err)
		}
	}
}

func TestSC32_UnquotedLiteralsAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`userName sw O`, `externalId eq jyoung`, `active eq True`, `meta.created gt 2015-10-10T14:38:21Z`, `userName eq 'x'`, `title eq nul`, `title eq 1`, `active eq "true"`, `active eq 1`} {
		_, err := scim.UserType().Filter(text)
		refused(t, err, scim.InvalidFilter)
	}
}

func TestSC33_UnknownAttributeIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`colour eq "x"`, `name.colour pr`, `emails[colour eq "x"]`, `emails[type eq "work"].colour pr`, `urn:x:colour pr`, `title[type eq "x"]`, `name[givenName eq "x"]`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:userName pr`, `department pr`, `title pr and colour pr`, `not (colour pr)`, `__proto__ pr`, `schemas.x pr`, `emails[emails.value eq "x"]`,
	} {
		_, err := scim.UserType().Filter(text)
		refused(t, err, scim.InvalidFilter)
	}
}

func TestSC34_AllConditionsHoldForOneValue(t *testing.T) {
	t.Parallel()
	matches(t, map[string]bool{
		`emails[type eq "work" and value ew "jensen.org"]`:          false, // each holds, of different values
		`emails.type eq "work" and emails.value ew "jensen.org"`:    true,
		`emails[type eq "home" and value ew "jensen.org"]`:          true,
		`emails[type eq "home"] and emails[value ew "example.com"]`: true,
	})
}

func TestC07_SecretsCanNotBeAskedFor(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`password sw "a"`, `password pr`, `title pr or password eq "x"`, `urn:ietf:params:scim:schemas:core:2.0:User:PASSWORD pr`} {
		_, err := scim.UserType().Filter(text)
		refused(t, err, scim.InvalidFilter)
	}
}

func TestC09_FilterAbuseIsRefused(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("(", n) + "title pr" + strings.Repeat(")", n) }
	for _, text := range []string{
		"", " ", "title", "title eq", `title eq "x`, `title eq "\`, `title eq "\x"`, `title eq "\ud800`, `title eq"x"`, `title  "x"`, `title is "x"`, `eq "x"`, `"x" eq title`,
		`title pr and`, `and title pr`, `title pr title pr`, `title pr or or title pr`, `title pr andtitle pr`, `title prand title pr`, `(title pr`, `title pr)`, `()`, `not title pr`, `not`, `not ()`, `emails[`, `emails[]`, `emails[type eq "x"`, `emails[type eq "x"]]`, `emails[type eq "x"].`, `emails[type eq "x"].1`, `emails[type eq "x"]x pr`, `emails.value[type eq "x"]`,
		`emails[type eq "x" and emails[type eq "y"]]`, `title pr or 1 eq 1`, `1 eq 1`, "title\x00 pr", "title eq \"\x00\"", "title eq \"\xff\"", "title\teq\t\"x\"", `.title pr`, `title. pr`, `a.b.c pr`, `urn: pr`, `urn:x: pr`, `title pr; drop`, `title eq "x" and`, `$where pr`,
		`active gt true`, `active co true`, `active sw "t"`, `title gt null`, `title co null`, `meta.created gt "yesterday"`, `meta.created eq 5`, `name eq "x"`, `x509Certificates.value gt "a"`, `emails[primary eq "true"]`,
		deep(scim.MaxFilterDepth + 1), deep(300), strings.Repeat("not (", 11) + "title pr" + strings.Repeat(")", 11),
		strings.Repeat("(", 10_000), strings.Repeat("a", 1<<20), `title eq "` + strings.Repeat("x", scim.MaxFilter) + `"`, strings.Repeat("title pr and ", 100) + "title pr",
	} {
		if _, err := scim.UserType().Filter(text); err == nil {
			t.Errorf("%.60q was taken", text)
		} else {
			refused(t, err, scim.InvalidFilter)
			if len(err.Error()) > 400 {
				t.Errorf("%.60q: the error has %d bytes", text, len(err.Error()))
			}
		}
	}
	for _, text := range []string{deep(scim.MaxFilterDepth), `title co ".*(a+)+$"`, strings.Repeat("title pr and ", 70) + "title pr", "  title   pr  "} {
		if _, err := scim.UserType().Filter(text); err != nil {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestFilterIsWrittenAsItReads(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`(a pr and b pr) and c pr`:                  `a pr and b pr and c pr`,
		`a pr and (b pr and c pr)`:                  `a pr and (b pr and c pr)`,
		`(a pr or b pr) and c pr`:                   `(a pr or b pr) and c pr`,
		`a pr or (b pr and c pr)`:                   `a pr or b pr and c pr`,
		`a pr or (b pr or c pr)`:                    `a pr or (b pr or c pr)`,
		`NOT(A EQ "<\u00fc>") OR b[c EQ 1.50].d PR`: `not (A eq "<ü>") or b[c eq 1.50].d pr`,
		`urn:x:2.0:User:a.b co "c"`:                 `urn:x:2.0:User:a.b co "c"`,
		`a[b eq true or c eq null]`:                 `a[b eq true or c eq null]`,
	} {
		f, err := scim.ParseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if f.String() != want {
			t.Errorf("%s is written as %s, want %s", text, f, want)
		}
	}
}

func TestEqualIsWhatTheFilterImplies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`userName eq "a"`: "a", `USERNAME EQ "a" and title pr`: "a", `title pr and (active eq true and userName eq "a")`: "a",
		`urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a"`: "a",
		`userName eq "a" or title pr`:                                "", `not (userName eq "a")`: "", `userName ne "a"`: "", `userName sw "a"`: "", `externalId eq "a"`: "", `userName pr`: "", `userName eq null`: "",
	} {
		f, err := scim.UserType().Filter(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := scim.Equal(f, "userName"); got != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
