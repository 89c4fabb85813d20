package gateway

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/loop"
)

// Server is what browsers and other strangers talk to: bounded in the size of
// headers, in the time that they and a silent connection may take, and in what
// one HTTP/2 connection may ask for at once. Bodies have their bound in the
// Gateway, since those of services may take as long as they like.
func Server(h http.Handler, headerSize int, l *slog.Logger) *loop.Server {
	return &loop.Server{Server: http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    headerSize,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 100,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     stall,
		},
		ErrorLog:                     slog.NewLogLogger(l.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * is a request like others
	}}
}
