package idptest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	opCallback = "https://gate.example/cb"
	opVerifier = "a-verifier-of-forty-three-characters-or-more-it-is"
)

func testOP(change ...func(*OPConfig)) *OP {
	cfg := OPConfig{
		Issuer: "https://op.example", Title: "Campus", People: Campus(), Algorithm: "ES256",
		Clients: []OPClient{
			{ID: "gate", Title: "Gate <b>house</b>", Secret: "s:e+c", RedirectURIs: []string{opCallback}, PostLogout: []string{"https://gate.example/out"}},
			{ID: "other", Secret: "o", RedirectURIs: []string{"https://other.example/cb"}},
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	return NewOP(cfg)
}

// opRequest is an honest authorization request with changes.
func opRequest(changes ...string) url.Values {
	sum := sha256.Sum256([]byte(opVerifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {"gate"}, "redirect_uri": {opCallback}, "scope": {"openid profile email"}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if q.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			q.Del(changes[i])
		}
	}
	return q
}

func (op *OP) do(method, path string, q, form url.Values, headers ...string) *httptest.ResponseRecorder {
	target := "https://op.example" + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, target, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	op.Handler().ServeHTTP(w, r)
	return w
}

// code signs user in and gives the code.
func (op *OP) code(t *testing.T, user string) string {
	t.Helper()
	w := op.do("POST", "/authorize", opRequest(), url.Values{"user": {user}})
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusSeeOther || u.Query().Get("code") == "" {
		t.Fatalf("status %d, Location %q", w.Code, w.Header().Get("Location"))
	}
	if q := u.Query(); q.Get("state") != "st" || q.Get("iss") != "https://op.example" {
		t.Errorf("answer %v", q)
	}
	return u.Query().Get("code")
}

func tokenForm(code string, changes ...string) url.Values {
	f := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {opCallback}, "code_verifier": {opVerifier}, "client_id": {"gate"}, "client_secret": {"s:e+c"}}
	for i := 0; i+1 < len(changes); i += 2 {
		if f.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			f.Del(changes[i])
		}
	}
	return f
}

func TestManyPeopleAreNamedInsteadOfListed(t *testing.T) {
	t.Parallel()
	var people []Person
	for i := range 1000 {
		people = append(people, Person{User: fmt.Sprint("u", i), Name: "Somebody"})
	}
	w := httptest.NewRecorder()
	signInPage{Title: "Many", Action: "/authorize", People: people, Hint: "u999"}.render(w, http.StatusOK)
	page := w.Body.String()
	if n := strings.Count(page, `<button name="user"`); n != mostButtons {
		t.Errorf("%d buttons", n)
	}
	if !strings.Contains(page, `<button name="user" value="u999">`) || !strings.Contains(page, "one of 976 others") {
		t.Error("the hinted person has no button, or the others are not told of:", page)
	}
}

func TestSignInPageIsSelfContainedAndEscaped(t *testing.T) {
	t.Parallel()
	op := testOP()
	w := op.do("GET", "/authorize", opRequest("login_hint", "carol"), nil)
	page := w.Body.String()
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, page)
	}
	for _, p := range Campus() {
		if !strings.Contains(page, `name="user" value="`+p.User+`"`) {
			t.Errorf("no button for %s", p.User)
		}
	}
	if strings.Index(page, `value="carol"`) > strings.Index(page, `value="alice"`) {
		t.Error("the hinted person does not come first")
	}
	if strings.Contains(page, "<b>house") || !strings.Contains(page, "Gate &lt;b&gt;house") {
		t.Error("the client's title is not escaped")
	}
	if strings.Contains(page, "<script") || strings.Contains(page, " style=") || regexp.MustCompile(`(src|href)=`).MatchString(page) {
		t.Error("the page has scripts or loads something")
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)[1]
	sum := sha256.Sum256([]byte(style))
	csp := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q does not fit the style", csp)
	}
	if n := len(Partner()); n != 2 || Partner()[1].Mail != "" {
		t.Error("erik releases no mail address")
	}
}

func TestBadAuthorizationRequestsGoNowhereOrBackWithAnError(t *testing.T) {
	t.Parallel()
	op := testOP()
	for name, q := range map[string]url.Values{
		"unknown client":       opRequest("client_id", "nobody"),
		"no client":            opRequest("client_id", ""),
		"unregistered address": opRequest("redirect_uri", "https://evil.example/cb"),
		"longer address":       opRequest("redirect_uri", opCallback+"/x"),
		"address of another":   opRequest("redirect_uri", "https://other.example/cb"),
		"no address":           opRequest("redirect_uri", ""),
		"twice":                func() url.Values { q := opRequest(); q.Add("state", "x"); return q }(),
	} {
		for _, method := range []string{"GET", "POST"} {
			w := op.do(method, "/authorize", q, url.Values{"user": {"alice"}})
			if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
				t.Errorf("%s %s: status %d, Location %q", method, name, w.Code, w.Header().Get("Location"))
			}
		}
	}
	for want, q := range map[string]url.Values{
		"unsupported_response_type": opRequest("response_type", "token"),
		"invalid_scope":             opRequest("scope", "profile"),
		"invalid_request":           opRequest("code_challenge_method", "plain"),
		"login_required":            opRequest("prompt", "none"),
		"request_not_supported":     opRequest("request", "x.y.z"),
	} {
		u, _ := url.Parse(op.do("GET", "/authorize", q, nil).Header().Get("Location"))
		if u == nil || !strings.HasPrefix(u.String(), opCallback+"?") || u.Query().Get("error") != want || u.Query().Get("state") != "st" {
			t.Errorf("%s: %v", want, u)
		}
	}
	if w := op.do("POST", "/authorize", opRequest(), url.Values{"user": {"mallory"}}); w.Code != http.StatusBadRequest {
		t.Errorf("nobody of that name: status %d", w.Code)
	}
	if w := op.do("POST", "/authorize", opRequest(), url.Values{"user": {"alice"}}, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("button pressed by another site: status %d", w.Code)
	}
	op.code(t, "alice")
}

func TestCodeIsGoodOnceForItsClientAddressAndVerifier(t *testing.T) {
	t.Parallel()
	now := time.Now()
	op := testOP(func(c *OPConfig) { c.Now = func() time.Time { return now } })
	for name, form := range map[string][]string{
		"other verifier": {"code_verifier", opVerifier + "x"},
		"no verifier":    {"code_verifier", ""},
		"other address":  {"redirect_uri", "https://other.example/cb"},
		"other client":   {"client_id", "other", "client_secret", "o"},
		"other code":     {"code", "x"},
	} {
		if w := op.do("POST", "/token", nil, tokenForm(op.code(t, "alice"), form...)); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "invalid_grant") {
			t.Errorf("%s: status %d %s", name, w.Code, w.Body)
		}
	}
	late := op.code(t, "alice")
	now = now.Add(opCodeLife + time.Second)
	if w := op.do("POST", "/token", nil, tokenForm(late)); w.Code != http.StatusBadRequest {
		t.Errorf("late: status %d", w.Code)
	}
	code := op.code(t, "alice")
	w := op.do("POST", "/token", nil, tokenForm(code))
	var doc struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d %s", w.Code, w.Body)
	}
	claims, err := verifyJWS(doc.IDToken, op.SigningKey())
	if err != nil || claims["sub"] != Campus()[0].ID || claims["nonce"] != "no" || claims["aud"] != "gate" {
		t.Errorf("ID token %v, %v", claims, err)
	}
	bearer := []string{"Authorization", "Bearer " + doc.AccessToken}
	if w := op.do("GET", "/userinfo", nil, nil, bearer...); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"finance-approvers"`) {
		t.Errorf("userinfo: status %d %s", w.Code, w.Body)
	}
	if w := op.do("POST", "/token", nil, tokenForm(code)); w.Code != http.StatusBadRequest {
		t.Errorf("second use: status %d", w.Code)
	}
	if w := op.do("GET", "/userinfo", nil, nil, bearer...); w.Code != http.StatusUnauthorized {
		t.Errorf("the token of a code that was used twice still works: status %d", w.Code)
	}
}

func TestClientsAreAuthenticated(t *testing.T) {
	t.Parallel()
	op := testOP()
	basic := func(id, secret string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}
	}
	none := []string{"client_secret", ""}
	for name, tt := range map[string]struct {
		form    []string
		headers []string
		want    int
	}{
		"post":               {nil, nil, 200},
		"basic, encoded":     {none, basic("gate", "s%3Ae%2Bc"), 200},
		"basic, not encoded": {none, basic("gate", "s:e+c"), 401}, // + is a space then
		"wrong secret":       {[]string{"client_secret", "x"}, nil, 401},
		"no secret":          {none, nil, 401},
		"unknown client":     {[]string{"client_id", "nobody"}, nil, 401},
		"two ways":           {nil, basic("gate", "s%3Ae%2Bc"), 401},
		"assertion, no key":  {[]string{"client_secret", "", "client_assertion", "a.b.c", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, nil, 401},
	} {
		if w := op.do("POST", "/token", nil, tokenForm(op.code(t, "bob"), tt.form...), tt.headers...); w.Code != tt.want {
			t.Errorf("%s: status %d, want %d: %s", name, w.Code, tt.want, w.Body)
		}
	}
	if w := op.do("GET", "/token", tokenForm(op.code(t, "bob")), nil); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", w.Code)
	}
}

var ticketField = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

func TestSecondFactorIsAskedOnlyWhenWantedAndHad(t *testing.T) {
	t.Parallel()
	op := testOP()
	mfa := opRequest("acr_values", ACRMulti)
	w := op.do("POST", "/authorize", mfa, url.Values{"user": {"alice"}})
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Confirm with your second factor") {
		t.Fatalf("status %d\n%s", w.Code, w.Body)
	}
	ticket := html.UnescapeString(ticketField.FindStringSubmatch(w.Body.String())[1])
	confirm := url.Values{"ticket": {ticket}, "factor": {"yes"}}
	if w := op.do("POST", "/authorize", opRequest("acr_values", ACRMulti, "state", "other"), confirm); w.Code != http.StatusBadRequest {
		t.Errorf("ticket of another request: status %d", w.Code)
	}
	if w := op.do("POST", "/authorize", mfa, confirm); w.Code != http.StatusBadRequest {
		t.Errorf("a ticket is good once: status %d", w.Code)
	}
	w = op.do("POST", "/authorize", mfa, url.Values{"user": {"alice"}})
	confirm.Set("ticket", ticketField.FindStringSubmatch(w.Body.String())[1])
	for want, w := range map[string]*httptest.ResponseRecorder{
		ACRMulti:        op.do("POST", "/authorize", mfa, confirm),
		ACRSingle:       op.do("POST", "/authorize", mfa, url.Values{"user": {"frida"}}), // has none
		ACRSingle + " ": op.do("POST", "/authorize", opRequest(), url.Values{"user": {"alice"}}),
	} {
		u, _ := url.Parse(w.Header().Get("Location"))
		var doc map[string]any
		_ = json.Unmarshal(op.do("POST", "/token", nil, tokenForm(u.Query().Get("code"))).Body.Bytes(), &doc)
		claims, err := verifyJWS(fmt.Sprint(doc["id_token"]), op.SigningKey())
		if err != nil || claims["acr"] != strings.TrimSpace(want) {
			t.Errorf("acr = %v, %v; want %s", claims["acr"], err, want)
		}
	}
}

func TestEndSessionGoesBackOnlyToARegisteredAddress(t *testing.T) {
	t.Parallel()
	op := testOP()
	var doc map[string]any
	_ = json.Unmarshal(op.do("POST", "/token", nil, tokenForm(op.code(t, "alice"))).Body.Bytes(), &doc)
	hint := fmt.Sprint(doc["id_token"])
	dot := strings.LastIndex(hint, ".") + 1
	op.Rotate("EdDSA", 1) // an older key that is still published will do
	for name, tt := range map[string]struct{ hint, to, want string }{
		"registered":      {hint, "https://gate.example/out", "https://gate.example/out?state=st"},
		"another address": {hint, "https://evil.example/", ""},
		"no hint":         {"", "https://gate.example/out", ""},
		"forged hint":     {hint[:dot] + strings.Repeat("A", len(hint)-dot), "https://gate.example/out", ""},
		"nowhere":         {hint, "", ""},
	} {
		w := op.do("GET", "/end_session", url.Values{"id_token_hint": {tt.hint}, "post_logout_redirect_uri": {tt.to}, "state": {"st"}}, nil)
		if got := w.Header().Get("Location"); got != tt.want || tt.want == "" && w.Code != http.StatusOK {
			t.Errorf("%s: status %d, Location %q, want %q", name, w.Code, got, tt.want)
		}
	}
}

func TestProviderKeepsABoundedNumberOfCodes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	op := testOP(func(c *OPConfig) { c.Now = func() time.Time { return now } })
	for range opMost / 10 {
		op.codes[fmt.Sprint(len(op.codes))] = opGrant{issued: now}
	}
	now = now.Add(opTokenLife + time.Second)
	op.code(t, "alice")
	if n := len(op.codes); n != 1 {
		t.Errorf("%d codes are kept, want 1", n)
	}
	for range opMost {
		op.codes[fmt.Sprint("x", len(op.codes))] = opGrant{issued: now}
	}
	op.code(t, "alice")
	if n := len(op.codes); n != 1 {
		t.Errorf("%d codes are kept, want 1", n)
	}
}

func TestMisbehaviourCanBeAskedForPerSignInOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	ask := func(op *OP) any {
		u, _ := url.Parse(op.do("POST", "/authorize", opRequest("misbehave", "no-nonce"), url.Values{"user": {"alice"}}).Header().Get("Location"))
		var doc map[string]any
		_ = json.Unmarshal(op.do("POST", "/token", nil, tokenForm(u.Query().Get("code"))).Body.Bytes(), &doc)
		claims, err := verifyJWS(fmt.Sprint(doc["id_token"]), op.SigningKey())
		if err != nil {
			t.Fatal(err)
		}
		return claims["nonce"]
	}
	if got := ask(testOP()); got != "no" {
		t.Errorf("the demo's provider took an order to misbehave: nonce %v", got)
	}
	if got := ask(testOP(func(c *OPConfig) { c.OnRequest = func(string) OPFault { return OPNoNonce() } })); got != nil {
		t.Errorf("nonce = %v", got)
	}
}
