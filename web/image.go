package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// MaxImage is how large an image of one's own may be, in bytes.
const MaxImage = 512 << 10

// An Image is a picture of the site's own: of an organisation, a service or an
// identity provider. The zero Image is none.
type Image struct {
	name string // with a hash of what it shows
	file asset
}

// ReadImage takes an SVG, PNG, JPEG or WebP file. What it is follows from its
// content. An SVG is served so that nothing in it runs or loads anything, also
// where somebody opens it by itself.
func ReadImage(data []byte) (Image, error) {
	if len(data) > MaxImage {
		return Image{}, fmt.Errorf("is larger than %d KiB", MaxImage>>10)
	}
	ext := map[string]string{"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}[http.DetectContentType(data)]
	if ext == "" {
		if err := isSVG(data); err != nil {
			return Image{}, err
		}
		ext = ".svg"
	}
	f, err := newAsset(imageTypes[ext], data)
	if err != nil {
		return Image{}, err
	}
	f.picture = true
	sum := sha256.Sum256(data)
	return Image{name: "image-" + hex.EncodeToString(sum[:8]) + ext, file: f}, nil
}

var imageTypes = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".svg": "image/svg+xml"}

// URL is its path on every host; empty for no image.
func (i Image) URL() string {
	if i.name == "" {
		return ""
	}
	return AssetsPath + i.name
}

var errNoImage = errors.New("is no SVG, PNG, JPEG or WebP image")

// isSVG reports what is wrong with data as an SVG document.
func isSVG(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	for root := true; ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && !root {
			return nil
		}
		if err != nil {
			return errNoImage
		}
		switch tok := tok.(type) {
		case xml.Directive:
			if bytes.Contains(tok, []byte("[")) {
				return errors.New("has a document type with definitions of its own")
			}
		case xml.StartElement:
			if root && tok.Name.Local != "svg" {
				return errNoImage
			}
			root = false
			if tok.Name.Local == "script" || tok.Name.Local == "foreignObject" {
				return fmt.Errorf("has a <%s>, which a picture does not need", tok.Name.Local)
			}
		}
	}
}
