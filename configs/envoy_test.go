package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3" // what the examples say is there
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
)

// The examples for Envoy are read by Envoy's own definitions, which know no key but
// theirs.
func TestEnvoyKnowsEveryWordOfItsExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("forward-auth/envoy*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var said any
		if err := yaml.Unmarshal(raw, &said); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		text, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		var b bootstrap.Bootstrap
		if err := protojson.Unmarshal(text, &b); err != nil {
			t.Errorf("%s: %v", file, err)
		} else if err := b.ValidateAll(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
