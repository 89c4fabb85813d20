// Command server is a SCIM 2.0 server that keeps users, groups and devices in
// memory, and answers SCIM 1.1 too: what a program has to write around the
// library, and no more.
//
//	SCIM_TOKEN=secret go run ./provisioning/scim/examples/server -listen 127.0.0.1:8088
//	curl -H 'Authorization: Bearer secret' http://127.0.0.1:8088/scim/v2/ServiceProviderConfig
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8088", "address to listen on")
	flag.Parse()
	if err := run(*listen, os.Getenv("SCIM_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(listen, token string) error {
	if token == "" {
		return errors.New("set SCIM_TOKEN to what clients must send as a bearer token")
	}
	h, err := handler("http://"+listen, token)
	if err != nil {
		return err
	}
	fmt.Println("SCIM 2.0 at http://" + listen + "/scim/v2, SCIM 1.1 at http://" + listen + "/scim/v1")
	s := &http.Server{Addr: listen, Handler: h, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	return s.ListenAndServe()
}

// device is a schema of our own, and badge an extension of users: attributes
// that a configuration can declare as well.
var (
	//go:embed device.json
	device []byte
	//go:embed badge.json
	badge []byte
)

func handler(host, token string) (http.Handler, error) {
	devices, err := scim.ParseSchema(device)
	if err != nil {
		return nil, err
	}
	badges, err := scim.ParseSchema(badge)
	if err != nil {
		return nil, err
	}
	base := host + "/scim/v2"
	users := scim.UserType().With(scim.Extension{Schema: badges})
	deviceType := scim.NewResourceType("Device", "/Devices", "What people carry", devices)
	d := memstore.NewDirectoryOf(users, scim.GroupType(), base, nil)
	s, err := server.New(server.Config{
		Base: base, Authenticate: server.Bearer(token), Async: 16,
		Resources: []server.Resource{
			{Type: users, Store: d.Users},
			{Type: scim.GroupType(), Store: d.Groups, Quiet: true},
			{Type: deviceType, Store: memstore.New(deviceType, nil), Validate: serialNumber},
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/scim/v2/", s)
	mux.Handle("/scim/v1/", &v1.Handler{Base: host + "/scim/v1", Server: s, At: base})
	return mux, nil
}

// serialNumber refuses what the schema has no words for.
func serialNumber(_ context.Context, r *scim.Resource) error {
	if n := r.String("serial"); !strings.HasPrefix(n, "SN-") {
		return scim.Errorf(http.StatusBadRequest, scim.InvalidValue, "serial must begin with SN-")
	}
	return nil
}
