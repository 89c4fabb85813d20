//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// staff is a gateway whose sign-ins wait for a target of the test's own.
type staff struct {
	*gate
	target *target
}

func newStaff(t testing.TB, timeout string) *staff {
	t.Helper()
	port, s := porttest.Free(t, 2), &staff{target: newTarget(t)}
	_, issuer := campusOP(t, func(path string) string { return fmt.Sprintf("http://localhost:%d%s", port, path) })
	secret := write(t, t.TempDir(), "secret", "e2e")
	s.gate = serveIn(t, t.TempDir(), port, fmt.Sprintf(`help: { contact: helpdesk@campus.example }
identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "%s", client_id: gatehouse, client_secret: { file: "%s" } }
    attributes: { mail: email, display_name: name, groups: groups }
    provisioning: { mode: blocking, user_name: preferred_username, timeout: %s, on_failure: deny }
%stargets:
  - id: directory
    title: Staff directory
    scim2: { url: "%s", auth: { bearer: { file: "%s" } }, timeout: 2s }
    users: { all: true }
    release: [ mail, display_name ]
    wait: true
`, issuer, secret, timeout, wikiService(t, "localhost", "    provisioned_by: [directory]"), s.target.base, secret))
	return s
}

// The page that waits for an account comes back by itself, with scripts and
// without, and ends in the service once the account is there.
func TestAPersonWaitsForTheirAccountAndThenIsThere(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := newStaff(t, "5m"), newPerson(t, scripts)
			resume := s.target.pause()
			defer resume()
			p.open(s.at("wiki", "/report?x=1"))
			p.press("Alice")
			v := p.sees("Staff directory", "being prepared")
			if v.Status != 503 {
				t.Errorf("status %d, want 503", v.Status)
			}
			if strings.Contains(v.Text, "Did not work") {
				t.Errorf("it is tried again, and the page says that it failed:\n%s", v.Text)
			}
			p.keep("preparing-" + strings.Fields(name)[0])
			resume()
			p.sees(`"Path":"/report?x=1"`)
			p.received(s.at("wiki", "/headers")).header(t, "X-Gatehouse-Provisioned", "done")
		})
	}
}

func TestAnAccountThatIsNotThereInTimeIsToldAndTheyComeInLater(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := newStaff(t, "1s"), newPerson(t, scripts)
			resume := s.target.pause()
			defer resume()
			p.open(s.at("wiki", "/report?x=1"))
			p.press("Bob")
			v := p.sees("Staff directory", "Support code", "helpdesk@campus.example")
			if v.Status != 403 && v.Status != 503 {
				t.Errorf("status %d", v.Status)
			}
			p.look("preparing-failed")
			s.found(t, v, "provisioning.timeout")
			resume()
			// The target is tried again by and by; the person, too.
			p.until("the service", func(v view) bool {
				if strings.Contains(v.Text, "Try again") {
					p.open(s.at("wiki", "/report?x=1"))
				}
				return strings.Contains(v.Text, `"Path":"/report?x=1"`)
			})
		})
	}
}

// The gateway is killed while a person is at the identity provider, while their
// account is being made, and while they read. They notice nothing that a
// reload does not mend, and there is one user in the end.
func TestAKilledGatewayTakesSignInsUpAgain(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := newStaff(t, "5m"), newPerson(t, scripts)
			kill := func() {
				s.end(syscall.SIGKILL)
				s.restart(t)
			}
			resume := s.target.pause()
			defer resume()
			p.open(s.at("wiki", "/report?x=1"))
			p.sees("Alice Liddell")
			kill()
			p.press("Alice")
			p.sees("Staff directory", "being prepared")
			kill()
			p.open(s.at("wiki", "/report?x=1"))
			p.sees("Staff directory", "being prepared")
			resume()
			p.until("the service", func(v view) bool { return strings.Contains(v.Text, `"Path":"/report?x=1"`) })
			kill()
			p.received(s.at("wiki", "/headers")).header(t, "X-Forwarded-User", "alice")
			if list := s.verb(t, "users", "list"); strings.Count(list, "alice") != 1 {
				t.Errorf("users:\n%s", list)
			}
		})
	}
}
