package webtest

import (
	"encoding/json"
	"testing"

	"github.com/gatehouse-sso/gatehouse/web"
)

// Texts are the English ones, by key.
func Texts(t testing.TB) map[string]any {
	t.Helper()
	raw, err := web.Translation("en")
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Texts map[string]any `json:"texts"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		t.Fatal(err)
	}
	return said.Texts
}
