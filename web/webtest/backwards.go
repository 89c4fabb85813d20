package webtest

import (
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/gatehouse-sso/gatehouse/web"
)

// Backwards is one more language for web.Brand.Translations: English words
// under the tag of Arabic, so that tests meet pages that run from right to left.
func Backwards() (fs.FS, error) {
	english, err := web.Translation("en")
	if err != nil {
		return nil, err
	}
	arabic := strings.Replace(string(english), `"language": "English"`, `"language": "العربية"`, 1)
	return fstest.MapFS{"ar.json": {Data: []byte(arabic)}}, nil
}
