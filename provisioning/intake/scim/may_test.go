package scim_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// A client sees and changes no more of users than it was given.
func TestC02_ClientSeesAndChangesWhatItWasGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t,
		client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}},
		client.Client{ID: "off", UserStores: []string{"primary"}, Read: []string{"userName", "active"}, Write: []string{"Active"}},
		client.Client{ID: "mute", UserStores: []string{"primary"}, Write: []string{}},
		client.Client{ID: "mail", UserStores: []string{"primary"}, Read: []string{"userName", "emails"}})
	const off, mute, mail = "off-token", "mute-token", "mail-token"
	id := w.user(all, `"userName":"kim","displayName":"Kim","nickName":"K","title":"Boss","emails":[{"value":"kim@x.test","type":"work"}]`)
	w.do(all, "POST", "/Groups", groupJSON(`"displayName":"g","members":[{"value":"`+id+`"}]`)).want(t, 201, "")

	got := w.get(off, id)
	if got.String("userName") != "kim" || got.Get("active") != true || got.Get("displayName") != nil || got.Get("emails") != nil || got.Get("title") != nil || got.Get("groups") != nil || got.String("id") != id || got.Sub("meta") == nil {
		t.Errorf("off reads %s", got.AppendJSON(nil))
	}
	for _, f := range []string{`title eq "Boss"`, `emails.value eq "kim@x.test"`, `displayName sw "K"`, `nickName pr`} {
		if found := w.found(off, f); len(found) != 0 {
			t.Errorf("off finds out that %s", f)
		}
	}
	if found := w.found(off, `userName eq "kim"`); len(found) != 1 {
		t.Errorf("off finds %v", found)
	}
	before := w.stored(id)
	for _, body := range []string{`{"op":"replace","path":"title","value":"x"}`, `{"op":"replace","path":"userName","value":"lee"}`, `{"op":"replace","value":{"active":false,"displayName":"x"}}`} {
		a := w.do(off, "PATCH", "/Users/"+id, scimtest.Patch(body)).want(t, 403, "")
		if strings.Contains(a.body, "Boss") {
			t.Errorf("%s", a.body)
		}
	}
	w.do(off, "POST", "/Users", scimtest.User(`"userName":"lee"`)).want(t, 403, "")
	w.do(off, "DELETE", "/Users/"+id, "").want(t, 403, "")
	w.do(off, "DELETE", "/Users/nobody", "").want(t, 404, "")
	for _, b := range []string{`{"op":"replace","path":"active","value":false}`, `{"op":"add","path":"title","value":"x"}`} {
		w.do(mute, "PATCH", "/Users/"+id, scimtest.Patch(b)).want(t, 403, "")
	}
	if d := cmp.Diff(before, w.stored(id)); d != "" {
		t.Error(d)
	}
	// What it may, it can, and what it does not see stays.
	w.do(off, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"active","value":false}`)).want(t, 200, "")
	w.do(off, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim","active":true`)).want(t, 200, "")
	w.do(mail, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim","emails":[{"value":"new@x.test"}]`)).want(t, 200, "")
	o := w.get(all, id)
	if o.String("displayName") != "Kim" || o.String("nickName") != "K" || o.String("title") != "Boss" || o.Get("active") != true || len(o.List("groups")) != 1 {
		t.Errorf("left is %s", o.AppendJSON(nil))
	}
	if got := w.get(mail, id); got.Get("active") != nil || len(got.List("emails")) == 0 {
		t.Errorf("mail reads %s", got.AppendJSON(nil))
	}
	w.do(mail, "POST", "/Users", scimtest.User(`"userName":"lee","displayName":"Lee"`)).want(t, 201, "") // it may write all
}
