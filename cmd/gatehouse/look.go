package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/web"
)

// look is what pages look like and say at this site.
type look struct {
	pages     *web.Pages
	services  map[string]string // addresses of logos, by ID
	providers map[string]string
}

// compileLook reads images, colours and texts of the site's own.
func compileLook(cfg *configs.Config) (look, []configs.Mistake) {
	l := look{services: map[string]string{}, providers: map[string]string{}}
	brand := web.Brand{
		Name: cfg.Branding.Name, HelpText: cfg.Help.Contact, HelpURL: address(cfg.Help.URL), Languages: cfg.Languages, LanguageURL: "/.gatehouse/language",
		Colours:    web.Colours{Light: cfg.Branding.Colors.Light, Dark: cfg.Branding.Colors.Dark},
		Attributes: map[string]string{},
	}
	for _, a := range cfg.Attributes {
		if a.Title != "" {
			brand.Attributes[a.ID] = a.Title
		}
	}
	if cfg.Server.PublicURL != nil {
		brand.HomeURL = cfg.Server.PublicURL.String() + "/"
	}
	var out []configs.Mistake
	image := func(file configs.File, at ...any) string {
		if file == "" {
			return ""
		}
		data, err := os.ReadFile(string(file))
		var i web.Image
		if err == nil {
			i, err = web.ReadImage(data)
		}
		if err != nil {
			out = append(out, configs.At(cfg.Pos(at...), filepath.Base(string(file))+" "+err.Error(), "name a picture of at most 512 KiB: SVG, PNG, JPEG or WebP"))
			return ""
		}
		brand.Images = append(brand.Images, i)
		return i.URL()
	}
	brand.LogoURL = image(cfg.Branding.Logo, "branding", "logo")
	for i, s := range cfg.Services {
		l.services[s.ID] = image(s.Logo, "services", i, "logo")
	}
	for i, p := range cfg.IdentityProviders {
		l.providers[p.ID] = image(p.Icon, "identity_providers", i, "icon")
	}
	for _, c := range []struct {
		key, colour string
		check       func(string) error
	}{{"light", cfg.Branding.Colors.Light, web.CheckLight}, {"dark", cfg.Branding.Colors.Dark, web.CheckDark}} {
		if c.colour == "" {
			continue
		}
		if err := c.check(c.colour); err != nil {
			out = append(out, configs.At(cfg.Pos("branding", "colors", c.key), err.Error(), "choose a darker one for light, a lighter one for dark"))
		}
	}
	if folder := string(cfg.Branding.Texts); folder != "" {
		if _, err := os.Stat(folder); err != nil {
			out = append(out, configs.At(cfg.Pos("branding", "texts"), filepath.Base(folder)+" can not be read: "+err.Error(), "name a folder with files such as en.json"))
		} else {
			brand.Translations = os.DirFS(folder)
		}
	}
	if len(out) == 0 {
		var err error
		l.pages, err = web.New(brand)
		if u := (web.UnknownLanguage{}); errors.As(err, &u) {
			out = append(out, configs.At(cfg.Pos("languages", slices.Index(cfg.Languages, u.Name)), err.Error(),
				"choose among "+strings.Join(u.There, ", ")+", or bring all its texts with branding.texts"))
		} else if err != nil {
			for _, e := range joined(err) {
				out = append(out, configs.At(cfg.Pos("branding"), e.Error(), "mend the texts of one's own"))
			}
		}
	}
	return l, out
}
