// Package e2e walks through Gatehouse from outside: a real Chromium, the real
// program as a child process, and identity providers and a target that others
// wrote. Everything is under the build tag e2e, since it needs what run.sh
// installs; `make e2e` runs it.
//
//	Chromium ──▶ gatehouse demo | run -c FILE ──▶ services of the test
//	   │             ├──▶ scimmy, through a wire that the test can cut
//	   └──▶ identity providers: of the demo, of the test on another site,
//	        oidc-provider, samlp, SimpleSAMLphp
//
// A test drives a [person]: a browser with cookies of its own, who presses what
// is to be seen and reads what stands there. Nothing is waited for by the clock:
// a person waits until the page says what they expect, and gives up after half a
// minute. The same journeys are walked with scripts and without.
//
// Each page that a person meets is looked at in both themes, wide and narrow:
// axe-core finds nothing to object to (WCAG 2.2 AA), nothing sticks out, and a
// picture is kept in out/.
package e2e
