package configs

import (
	"net/mail"
	"net/url"
	"time"
)

// Notify tells people of requests for access: those who decide, that there is one; who asked, what became of it. Left out: they see it on their pages alone.
type Notify struct {
	// SMTP is a mail server that takes messages for them.
	SMTP *SMTP `yaml:"smtp"`
	// Webhook is an address that is told by programs' means: a CloudEvent for each request and each decision, signed as Standard Webhooks says, with IDs alone.
	Webhook *NotifyHook `yaml:"webhook"`
}

// SMTP is a mail server that takes messages (RFC 6409).
type SMTP struct {
	// Host of the server.
	Host string `yaml:"host" jsonschema:"required"`
	// Port it takes messages at.
	Port int `yaml:"port" jsonschema:"minimum=1,default=587"`
	// TLS: `starttls` insists on it after the first words, `implicit` speaks it from the first byte (usually port 465), `none` is for a server on this machine.
	TLS string `yaml:"tls" jsonschema:"enum=starttls,enum=implicit,enum=none,default=starttls"`
	// User to sign in as there. Left out: the server takes messages from this machine without.
	User string `yaml:"user"`
	// Password of the user.
	Password Secret `yaml:"password"`
	// From is the sender, an address with a name if wanted: `Gatehouse <gatehouse@uni.example>`.
	From string `yaml:"from" jsonschema:"required"`
	// Timeout of one message.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=30s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
}

// NotifyHook is an address that is told of requests.
type NotifyHook struct {
	// URL that gets every event by POST.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// Secrets that events are signed with, all of them, so that one can follow another: `whsec_` and base64 of 24 to 64 bytes (HMAC-SHA256), or `whsk_` and base64 of an Ed25519 key.
	Secrets Some[Secret] `yaml:"secrets" jsonschema:"required"`
	// Timeout of one delivery.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=15s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// InsecureHTTP allows an http URL that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

func (k *checker) notify(at where, n Notify) {
	if s := n.SMTP; s != nil {
		at := at.key("smtp")
		if a, err := mail.ParseAddress(s.From); s.From != "" && (err != nil || a.Address == "") {
			k.say(at.key("from"), "the sender is no address", "write gatehouse@uni.example, or Gatehouse <gatehouse@uni.example>")
		}
		if (s.User == "") != s.Password.IsZero() {
			k.say(at, "a user and a password belong together", "write both, or neither")
		}
		switch {
		case s.TLS != "none":
		case s.User != "":
			k.say(at.key("tls"), "the password would be sent in the open", "write starttls or implicit")
		case s.Host != "localhost" && s.Host != "127.0.0.1" && s.Host != "::1":
			k.say(at.key("tls"), "messages would go through the network in the open", "write starttls or implicit; none is for a server on this machine")
		}
		if s.Host != "" {
			k.allowed(at.key("host"), &url.URL{Scheme: "smtp", Host: s.Host})
		}
	}
	if w := n.Webhook; w != nil {
		k.webhook(at.key("webhook"), Webhook{URL: w.URL, Secrets: w.Secrets, InsecureHTTP: w.InsecureHTTP})
	}
}
