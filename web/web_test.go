package web_test

import (
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/webtest"
)

func TestEveryPageRenders(t *testing.T) {
	p, err := web.New(web.Brand{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range webtest.Samples() {
		w := httptest.NewRecorder()
		p.Render(w, httptest.NewRequest("GET", "/", nil), s.Status, s.Page)
		if w.Code != s.Status {
			t.Errorf("%s: status %d, want %d", s.Name, w.Code, s.Status)
		}
	}
}
