// Command client lists the users of a SCIM server, and says who is inactive:
// how a program walks a directory of any size with the library.
//
//	SCIM_TOKEN=secret go run ./provisioning/scim/examples/client http://127.0.0.1:8088/scim/v2
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client ADDRESS")
		os.Exit(2)
	}
	if err := list(ctx, os.Stdout, os.Args[1], os.Getenv("SCIM_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func list(ctx context.Context, w io.Writer, address, token string) error {
	c, err := client.New(address, nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	if err != nil {
		return err
	}
	q := client.Query{Count: 100, Attributes: []string{"userName", "active"}}
	if q.ByCursor, err = c.Cursors(ctx); err != nil {
		return err
	}
	for u, err := range c.All(ctx, "/Users", q) {
		if err != nil {
			return err
		}
		state := ""
		if u.Get("active") == false {
			state = " (inactive)"
		}
		if _, err := fmt.Fprintf(w, "%s %s%s\n", u.ID(), u.String("userName"), state); err != nil {
			return err
		}
	}
	return nil
}
