package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Debian's nginx, and its Apache with the two modules that sign people in, as far
// as they are installed (run.sh installs them). Each has one worker process.

const nginxConfig = `daemon off;
worker_processes 1;
%[4]serror_log %[1]s/error.log;
pid %[1]s/nginx.pid;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	proxy_max_temp_file_size 0;
	upstream service { server %[3]s; keepalive 64; keepalive_requests 100000000; }
	server {
		listen 127.0.0.1:%[2]s;
		keepalive_requests 100000000;
		location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
	}
}
`

const apacheConfig = `ServerName localhost
Listen 127.0.0.1:%[2]s
PidFile %[1]s/apache.pid
ErrorLog %[1]s/error.log
DefaultRuntimeDir %[1]s
DocumentRoot %[1]s
%[4]sStartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
%[5]s
ProxyPass /own !
<Directory />
	AllowOverride None
</Directory>
ProxyPass / http://%[3]s/
<Location />
	Require valid-user
	RequestHeader set X-Forwarded-User expr=%%{REMOTE_USER}
</Location>
`

const openidcConfig = `LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so
OIDCProviderMetadataURL http://%[1]s/.well-known/openid-configuration
OIDCClientID bench
OIDCClientSecret bench-secret
OIDCRedirectURI http://localhost:%[2]s/own/callback
OIDCCryptoPassphrase bench
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
<Location />
	AuthType openid-connect
</Location>
`

const mellonConfig = `LoadModule auth_mellon_module /usr/lib/apache2/modules/mod_auth_mellon.so
<Location />
	AuthType Mellon
	MellonEnable auth
	MellonEndpointPath /own/mellon
	MellonSPentityId http://localhost:%[2]s/own/mellon/metadata
	MellonSPPrivateKeyFile %[1]s/sp.key
	MellonSPCertFile %[1]s/sp.pem
	MellonIdPMetadataFile %[1]s/idp.xml
	MellonUser "urn:oid:1.3.6.1.4.1.5923.1.1.1.6"
</Location>
`

const (
	nameOpenIDC = "Apache mod_auth_openidc"
	nameMellon  = "Apache mod_auth_mellon"
)

// startOthers starts what is installed.
func startOthers(ctx context.Context, upstream string) (sides []side, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	defer func() {
		if err != nil {
			stop()
			stop = func() {}
		}
	}()
	fresh := func() (dir, port string, err error) {
		if dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
			return "", "", err
		}
		stops = append(stops, func() { _ = os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // its workers are somebody else
			return "", "", err
		}
		a, _, err := twoPorts()
		if err != nil {
			return "", "", err
		}
		_, port, err = net.SplitHostPort(a)
		return dir, port, err
	}
	run := func(dir, port string, args ...string) (int, error) {
		cmd := pinned(ctx, measured, args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		stops = append([]func(){func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }}, stops...)
		for range 100 {
			if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
				return cmd.Process.Pid, c.Close()
			}
			time.Sleep(50 * time.Millisecond)
		}
		said, _ := os.ReadFile(filepath.Join(dir, "error.log"))
		return 0, fmt.Errorf("%s did not start:\n%s", args[0], said)
	}
	user := func(line string) string {
		if os.Getuid() != 0 {
			return ""
		}
		return line
	}

	if nginx, err := exec.LookPath("nginx"); err != nil {
		fmt.Println("(nginx is not there)")
	} else {
		dir, port, err := fresh()
		if err != nil {
			return nil, stop, err
		}
		file := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, dir, port, upstream, user("user root;\n")), 0o600); err != nil {
			return nil, stop, err
		}
		pid, err := run(dir, port, nginx, "-c", file, "-e", filepath.Join(dir, "error.log"))
		if err != nil {
			return nil, stop, err
		}
		sides = append(sides, side{name: nameNginx, pid: pid, address: "127.0.0.1:" + port, host: "app.localhost", seen: "nobody false"})
	}

	for _, m := range []struct {
		name, module string
		config       func(dir, port string) (text string, p *providers, err error)
		trust        bool
	}{
		{nameOpenIDC, "mod_auth_openidc.so", func(_, port string) (string, *providers, error) {
			p, err := startProviders(persons(1), "http://localhost:"+port+"/own/callback")
			if err != nil {
				return "", nil, err
			}
			return fmt.Sprintf(openidcConfig, p.op, port), p, nil
		}, false},
		{nameMellon, "mod_auth_mellon.so", func(dir, port string) (string, *providers, error) {
			p, err := startProviders(persons(1))
			if err != nil {
				return "", nil, err
			}
			return fmt.Sprintf(mellonConfig, dir, port), p, errors.Join(keyPair(dir), os.WriteFile(filepath.Join(dir, "idp.xml"), p.saml.Metadata(), 0o644))
		}, true},
	} {
		if _, err := os.Stat("/usr/lib/apache2/modules/" + m.module); err != nil {
			fmt.Printf("(%s is not there)\n", m.name)
			continue
		}
		dir, port, err := fresh()
		if err != nil {
			return nil, stop, err
		}
		text, p, err := m.config(dir, port)
		if p != nil {
			stops = append(stops, p.stop)
		}
		if err != nil {
			return nil, stop, err
		}
		file := filepath.Join(dir, "apache.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, apacheConfig, dir, port, upstream, user("User www-data\nGroup www-data\n"), text), 0o600); err != nil {
			return nil, stop, err
		}
		pid, err := run(dir, port, "/usr/sbin/apache2", "-X", "-d", dir, "-f", file)
		if err != nil {
			return nil, stop, err
		}
		base := "http://localhost:" + port
		if m.trust {
			resp, err := http.Get(base + "/own/mellon/metadata")
			if err != nil {
				return nil, stop, err
			}
			doc, err := io.ReadAll(resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				return nil, stop, err
			}
			// What has no end is over for the identity provider.
			doc = bytes.Replace(doc, []byte("<EntityDescriptor"), fmt.Appendf(nil, "<EntityDescriptor validUntil=%q", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)), 1)
			if err := p.saml.Trust(doc); err != nil {
				said, _ := os.ReadFile(filepath.Join(dir, "error.log"))
				return nil, stop, fmt.Errorf("metadata of %s: %w\n%s\n%s", m.name, err, said, doc)
			}
		}
		s, err := signedInAt(ctx, base)
		if err != nil {
			said, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			return nil, stop, fmt.Errorf("%s: %w\n%s", m.name, err, said)
		}
		s.name, s.pid = m.name, pid
		sides = append(sides, s)
	}
	return sides, stop, nil
}

// signedInAt signs the first person in at something that is no gateway of ours.
func signedInAt(ctx context.Context, base string) (side, error) {
	b := newBrowser(nil)
	p, err := b.fetch(ctx, http.MethodGet, base+"/1k", nil)
	if err != nil {
		return side{}, err
	}
	if p, err = b.send(ctx, p, url.Values{"user": {"u0"}}); err != nil {
		return side{}, err
	}
	if strings.Contains(p.body, `name="SAMLResponse"`) {
		if p, err = b.send(ctx, p, nil); err != nil {
			return side{}, err
		}
	}
	if p.status != http.StatusOK || !strings.HasPrefix(p.seen, "u0") {
		return side{}, fmt.Errorf("the sign-in ended at %s with status %d, the service saw %q", p.at, p.status, p.seen)
	}
	u, err := url.Parse(base)
	if err != nil {
		return side{}, err
	}
	cookies, err := b.cookies(base)
	return side{address: "127.0.0.1:" + u.Port(), host: u.Host, header: http.Header{"Cookie": {cookies}}, seen: p.seen}, err
}

// keyPair writes a key and its certificate.
func keyPair(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "sp.key"), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o644),
		os.WriteFile(filepath.Join(dir, "sp.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o644))
}
