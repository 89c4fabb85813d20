package scim

import (
	"context"
	"net/http"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// speaks is how the server reads what the client of a context sends. What is
// put right is told to Rewritten.
func (c *Config) speaks(ctx context.Context) *server.Dialect {
	who := client.From(ctx)
	d := who.Dialect
	if d.Strict() {
		return nil
	}
	out := &server.Dialect{
		Decode: func(data []byte) (*rfc.Object, error) {
			o, made, err := d.Decode(data)
			c.rewritten(who, made)
			return o, err
		},
		Message: func(rt *rfc.ResourceType, method string, in *rfc.Object) (*rfc.Object, error) {
			right := d.Resource
			if method == http.MethodPatch {
				right = d.Patch
			}
			o, made := right(rt, in)
			c.rewritten(who, made)
			return o, nil
		},
		Filter: func(rt *rfc.ResourceType, text string) (string, error) {
			text, made := d.Filter(rt, text)
			c.rewritten(who, made)
			return text, nil
		},
		Make: d.MakesValues(),
	}
	if d.Quiet() {
		out.PatchStatus = http.StatusNoContent
	}
	return out
}

func (c *Config) rewritten(who *client.Client, made []dialect.Rewrite) {
	if c.Rewritten != nil && len(made) > 0 {
		c.Rewritten(who.ID, made)
	}
}
