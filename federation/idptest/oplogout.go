package idptest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// endSession is OpenID Connect RP-Initiated Logout 1.0. The provider keeps no
// session of its own, so all there is to do is to tell the client that the ID
// token was issued to, by the back channel, and to go back, if the address is
// registered for it.
func (op *OP) endSession(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		op.refusePage(w, "The request can not be read.")
		return
	}
	claims := op.hinted(r.Form.Get("id_token_hint"))
	aud, _ := claims["aud"].(string)
	sub, _ := claims["sub"].(string)
	sid, _ := claims["sid"].(string)
	client, ok := op.client(aud)
	if ok && client.BackChannel != "" {
		// Who does not hear it has no part in where the browser goes.
		_, _ = op.SendLogout(r.Context(), client.BackChannel, op.LogoutToken(client.ID, sub, sid, OPFault{}))
	}
	to := r.Form.Get("post_logout_redirect_uri")
	if to != "" && ok && slices.Contains(client.PostLogout, to) {
		if s := r.Form.Get("state"); s != "" {
			to += "?" + url.Values{"state": {s}}.Encode()
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	op.page(signInPage{Heading: "You are signed out", Message: op.cfg.Title + " keeps no session; nothing is left to end."}, w, http.StatusOK)
}

// hinted are the claims of an ID token of ours; its age does not matter here.
func (op *OP) hinted(token string) map[string]any {
	op.mu.Lock()
	keys := slices.Clone(op.keys)
	op.mu.Unlock()
	for _, k := range keys {
		if claims, err := verifyJWS(token, k.signer.Public()); err == nil {
			return claims
		}
	}
	return nil
}

// opLogoutLife is how long a logout token is good.
const opLogoutLife = 2 * time.Minute

// LogoutToken makes a logout token (OpenID Connect Back-Channel Logout 1.0
// section 2.4) for a client: of the person sub, of the session sid, or of both;
// what is empty is left out.
func (op *OP) LogoutToken(client, sub, sid string, f OPFault) string {
	now := op.cfg.Now()
	claims := map[string]any{
		"iss": op.cfg.Issuer, "aud": client, "iat": now.Unix(), "exp": now.Add(opLogoutLife).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if sub != "" {
		claims["sub"] = sub
	}
	if sid != "" {
		claims["sid"] = sid
	}
	if f.Claims != nil {
		f.Claims(claims)
	}
	payload, _ := json.Marshal(claims)
	if f.Payload != nil {
		payload = f.Payload(payload)
	}
	op.mu.Lock()
	key := op.keys[0]
	op.mu.Unlock()
	header := map[string]any{"alg": key.alg, "kid": key.kid, "typ": "logout+jwt"}
	if f.Header != nil {
		f.Header(header)
	}
	if f.Sign != nil {
		return f.Sign(op, header, payload)
	}
	return key.jws(header, payload)
}

// SendLogout posts a logout token to a client's address, and gives the status of
// its answer.
func (op *OP) SendLogout(ctx context.Context, address, token string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := op.cfg.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("send logout token: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, err
}
