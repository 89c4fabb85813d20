package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// AssetsPath is where Assets is mounted, on every host.
const AssetsPath = "/.gatehouse/assets/"

//go:embed assets/pico.css assets/gatehouse.css assets/post.js assets/htmx.js assets/desk.js assets/icon.svg
var assetFiles embed.FS

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

type asset struct {
	kind       string
	plain, zip []byte
	picture    bool // of somebody else, with styles of its own inside
}

// newAsset compresses once.
func newAsset(kind string, data []byte) (asset, error) {
	var zip bytes.Buffer
	w, err := gzip.NewWriterLevel(&zip, gzip.BestCompression)
	if err != nil {
		return asset{}, fmt.Errorf("compress asset: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return asset{}, fmt.Errorf("compress asset: %w", err)
	}
	if err := w.Close(); err != nil {
		return asset{}, fmt.Errorf("compress asset: %w", err)
	}
	return asset{kind: kind, plain: data, zip: zip.Bytes()}, nil
}

// assets are the files that pages need, under names that contain a hash of
// the content: a name never means anything else, so it may be kept for ever.
type assets struct {
	urls  map[string]string // file name → address
	files map[string]asset  // hashed name → file
}

// loadAssets compresses once, however many Pages there are.
var loadAssets = sync.OnceValues(func() (*assets, error) {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	a := &assets{urls: map[string]string{}, files: map[string]asset{}}
	for _, e := range entries {
		data, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read asset: %w", err)
		}
		if err := a.add(e.Name(), data); err != nil {
			return nil, err
		}
	}
	return a, nil
})

func (a *assets) add(file string, data []byte) error {
	ext := path.Ext(file)
	f, err := newAsset(assetTypes[ext], data)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	name := strings.TrimSuffix(file, ext) + "-" + hex.EncodeToString(sum[:8]) + ext
	a.urls[file], a.files[name] = AssetsPath+name, f
	return nil
}

// of are the assets of a brand too.
func (a *assets) of(b Brand) (*assets, error) {
	all := &assets{urls: maps.Clone(a.urls), files: maps.Clone(a.files)}
	for _, i := range b.Images {
		all.files[i.name] = i.file
	}
	css, err := b.Colours.css()
	if err != nil {
		return nil, err
	}
	if css != "" {
		err = all.add("brand.css", []byte(css))
	}
	return all, err
}

// Assets serves the files that pages refer to. It is mounted at AssetsPath
// and needs no session.
func (p *Pages) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		f, ok := p.assets.files[strings.TrimPrefix(r.URL.Path, AssetsPath)]
		if !ok {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		h.Set("Content-Type", f.kind)
		if f.picture {
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; sandbox")
		}
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		body := f.plain
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = f.zip
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // a browser that went away is not our trouble
	})
}

// acceptsGzip is true if the request lists gzip without refusing it (RFC 9110
// section 12.5.3). A wildcard is not worth reading: browsers name it.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(params), "q=")
		if !ok {
			return true
		}
		weight, err := strconv.ParseFloat(q, 64)
		return err == nil && weight > 0
	}
	return false
}
