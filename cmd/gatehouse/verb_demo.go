package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	scimserver "github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "Everything in one process, to try", Args: args(cobra.NoArgs),
		Long: "Runs a gateway, two identity providers, two services and a target, all on this machine and reachable from it alone.\nNothing in it is a stub: the gateway is the real one with a configuration file that you can read and change.",
	}
	port := cmd.Flags().Int("port", 8080, "the first of four ports")
	data := cmd.Flags().String("data", "", "keep the data in this folder; left out: a temporary one, removed at the end")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "log requests that were refused, and more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *port < 1 || *port > 65532 {
			return usageError{fmt.Errorf("port %d: four ports from it on must exist — choose one from 1 to 65532", *port)}
		}
		level := slog.LevelWarn
		if *verbose {
			level = slog.LevelDebug
		}
		log, out := logger(level)
		defer out.close()
		return demo(cmd.Context(), cmd.OutOrStdout(), *port, *data, launch{log: log})
	}
	return cmd
}

//go:embed demo.yaml
var demoConfig string

// demoValues fill demo.yaml.
type demoValues struct {
	Port, Campus, Partner, Target int
	Upstream                      string
	ClientSecret, TargetToken     string
	HRToken                       string
}

// demo launches l with a configuration of its own, among providers, services and
// a target that it starts beside it.
func demo(ctx context.Context, out io.Writer, port int, dir string, l launch) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "gatehouse-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	v := demoValues{Port: port, Campus: port + 1, Partner: port + 2, Target: port + 3, ClientSecret: token(), TargetToken: token(), HRToken: token()}
	public := "http://localhost:" + strconv.Itoa(port)

	op := idptest.NewOP(idptest.OPConfig{
		Issuer: fmt.Sprintf("http://localhost:%d", v.Campus), Title: "Campus", People: idptest.Campus(), Algorithm: "ES256",
		Clients: []idptest.OPClient{{ID: "gatehouse", Title: "Gatehouse", Secret: v.ClientSecret, RedirectURIs: []string{public + "/.gatehouse/oidc/campus/callback"},
			PostLogout: []string{public + "/.gatehouse/signed-out"}, BackChannel: public + "/.gatehouse/oidc/campus/backchannel-logout"}},
	})
	idp := idptest.NewIDP(idptest.IDPConfig{Base: fmt.Sprintf("http://localhost:%d", v.Partner), Title: "Partner University", People: idptest.Partner(), RequireSigned: true,
		Keys: []idptest.IDPKey{idptest.NewIDPKey("ECDSA")}, Encryption: idptest.IDPEncryption{}})
	target, err := newDemoTarget(fmt.Sprintf("http://localhost:%d", v.Target), v.TargetToken, l.log)
	if err != nil {
		return err
	}
	var servers demoServers
	defer servers.close()
	upstream, err := servers.start("127.0.0.1:0", echoService())
	if err != nil {
		return err
	}
	v.Upstream = "http://" + upstream
	for _, s := range []struct {
		port int
		h    http.Handler
	}{{v.Campus, op.Handler()}, {v.Partner, idp.Handler()}, {v.Target, target}} {
		if _, err := servers.start(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), s.h); err != nil {
			return fmt.Errorf("%w — stop what has the port, or choose others with --port", err)
		}
	}

	file := filepath.Join(dir, "gatehouse.yaml")
	var text bytes.Buffer
	if err := template.Must(template.New("").Parse(demoConfig)).Execute(&text, v); err != nil {
		return err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return err
	}
	load := func() (*configs.Config, []configs.Mistake) {
		cfg, mistakes := loadAll(file, configs.AllowInlineSecrets)
		if cfg != nil {
			cfg.Server.AdminListen = "127.0.0.1:0" // several demos may run
		}
		return cfg, mistakes
	}
	var mistakes []configs.Mistake
	if l.cfg, mistakes = load(); len(mistakes) > 0 {
		printMistakes(mistakes)
		return errSaid
	}
	hup := make(chan os.Signal, 1)
	go (&watch{file: file}).run(ctx, hup)
	ready := l.ready
	l.load, l.hup, l.now, l.ready = load, hup, time.Now, func(p *process) {
		if err := trust(ctx, idp, public+"/.gatehouse/saml/partner/metadata"); err != nil {
			l.log.Error("the partner's identity provider does not know the gateway", "error", err)
		}
		fmt.Fprintf(out, demoText, v.Port, v.Port, v.Port, v.Campus, v.Partner, v.Target, v.Port, v.HRToken, v.Port, v.HRToken, file)
		if ready != nil {
			ready(p)
		}
	}
	return serve(ctx, l)
}

const demoText = `
Gatehouse runs, on this machine alone. Ctrl-C ends it.

  http://localhost:%d             portal: what you may use
  http://wiki.localhost:%d        a service for everyone who is signed in
  http://payroll.localhost:%d     a service for the finance office, with a second factor
  http://localhost:%d             Campus, an OpenID Connect provider: alice, bob, carol, frida
  http://localhost:%d             Partner University, a SAML 2.0 identity provider: dana, erik
  http://localhost:%d             the target: the accounts that Gatehouse made
  http://localhost:%d/.gatehouse/scim/v2   SCIM 2.0 for clients: hr with the token
                                     %s
                                    or, by Basic, resident (admin / admin)

What to try:
  1. Open the wiki and sign in as alice at Campus: see what the wiki receives.
  2. Look at the target: alice has an account there, made before the page came.
  3. In a private window, open payroll as bob: a denial that says what is missing. Ask for access.
  4. As alice, open the portal, To decide, and approve: payroll opens for bob, with his second factor.
  5. Sign in as dana at Partner University; then as erik, who releases no mail address.
  6. Create frida before she ever signs in, and see her account at the target; then sign in as frida:
     curl http://localhost:%d/.gatehouse/scim/v2/Users -H 'Content-Type: application/scim+json' \
       -H 'Authorization: Bearer %s' \
       -d '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"frida","externalId":"B6wQe3ZoR1tNyK58","displayName":"Frida of HR"}'

Configuration and data: %s
`

// token makes a secret of 256 bits.
func token() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// trust gives the identity provider our metadata, as its administrator would.
func trust(ctx context.Context, idp *idptest.IDP, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	return idp.Trust(doc)
}

// demoServers are the other programs of the demo.
type demoServers []*http.Server

func (d *demoServers) start(addr string, h http.Handler) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	*d = append(*d, s)
	go func() {
		if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("demo server", "address", addr, "error", err)
		}
	}()
	return ln.Addr().String(), nil
}

func (d *demoServers) close() {
	for _, s := range *d {
		_ = s.Close()
	}
}

// mostShown accounts stand on the page of the target.
const mostShown = 500

// newDemoTarget is a SCIM server with a page that shows its accounts.
func newDemoTarget(base, token string, log *slog.Logger) (http.Handler, error) {
	rt := scim.UserType()
	accounts := memstore.New(rt, nil)
	srv, err := scimserver.New(scimserver.Config{
		Base: base + "/scim/v2", Resources: []scimserver.Resource{{Type: rt, Store: accounts}}, Authenticate: scimserver.Bearer(token), Log: log,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/scim/v2/", srv)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		page, err := accounts.List(r.Context(), scim.Query{Start: 1, Count: mostShown})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		demoPages.show(w, "target", page)
	})
	return mux, nil
}
