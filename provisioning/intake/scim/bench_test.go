package scim_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// crowd is a world with 2,000 users, and the ID of one. Their accounts come
// from the same message as in package server's benchmarks.
func crowd(b *testing.B) (*world, string) {
	w := newWorld(b)
	id := ""
	for i := range 2000 {
		id = w.user(hr, person(i))
	}
	return w, id
}

func person(i int) string {
	return fmt.Sprintf(`"userName":"u%d@x.test","externalId":"e%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT"}`, i, i, i)
}

func (w *world) raw(b *testing.B, status int, method, path, body string) {
	r := httptest.NewRequest(method, "http://inside.test/.gatehouse/scim/v2"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+hr)
	rec := httptest.NewRecorder()
	if w.h.ServeHTTP(rec, r); rec.Code != status {
		b.Fatalf("%d %s", rec.Code, rec.Body)
	}
}

func BenchmarkGet(b *testing.B) {
	w, id := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		w.raw(b, 200, "GET", "/Users/"+id, "")
	}
}

func BenchmarkFilterUserName(b *testing.B) {
	w, _ := crowd(b)
	path := "/Users?" + url.Values{"filter": {`userName eq "u1000@x.test"`}}.Encode()
	b.ReportAllocs()
	for b.Loop() {
		w.raw(b, 200, "GET", path, "")
	}
}

func BenchmarkPage(b *testing.B) {
	w, _ := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		w.raw(b, 200, "GET", "/Users?startIndex=500&count=100", "")
	}
}

func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		w.raw(b, 201, "POST", "/Users", userJSON(person(i)))
	}
}

func BenchmarkPatchActive(b *testing.B) {
	w, id := crowd(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		w.raw(b, 200, "PATCH", "/Users/"+id, patchJSON(fmt.Sprintf(`{"op":"replace","path":"active","value":%v}`, i%2 == 0)))
	}
}
