package web

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Colours are the accents of a brand, as #rrggbb: of links, buttons and marks. An
// empty one is ours.
type Colours struct{ Light, Dark string }

// What accents stand on, as gatehouse.css has it.
const (
	lightPage, lightCard = "#f3f5f5", "#ffffff"
	darkPage, darkCard   = "#11171a", "#1a2226"
	ourLight, ourDark    = "#0f6b6b", "#6cc9c4"
)

// CheckLight says what is wrong with an accent of the light theme: it is text on
// pages and cards and stands behind white text, so each pair has to have a
// contrast of 4.5:1 (WCAG 2.2, 1.4.3).
func CheckLight(colour string) error { return readable(colour, lightPage, lightCard, "#ffffff") }

// CheckDark is CheckLight for the dark theme, where buttons keep the light accent.
func CheckDark(colour string) error { return readable(colour, darkPage, darkCard) }

const enough = 4.5

func readable(colour string, behind ...string) error {
	c, err := parseColour(colour)
	if err != nil {
		return err
	}
	for _, b := range behind {
		on, err := parseColour(b)
		if err != nil {
			return err
		}
		if r := contrast(c, on); r < enough {
			return fmt.Errorf("%s on %s has a contrast of %.1f:1, and needs %.1f:1 to be read", colour, b, math.Floor(r*10)/10, enough)
		}
	}
	return nil
}

// css is what follows from colours: the variables of gatehouse.css.
func (c Colours) css() (string, error) {
	if c == (Colours{}) {
		return "", nil
	}
	light, err := parseColour(cmp.Or(c.Light, ourLight))
	if err != nil {
		return "", err
	}
	dark, err := parseColour(cmp.Or(c.Dark, ourDark))
	if err != nil {
		return "", err
	}
	black, white := rgb{}, rgb{255, 255, 255}
	page, _ := parseColour(darkCard)
	theme := func(accent, background, toward, soft rgb) string {
		return fmt.Sprintf("--g-soft: %s; --pico-primary: %s; --pico-primary-background: %s; --pico-primary-hover: %s; --pico-primary-hover-background: %s; "+
			"--pico-primary-underline: %s; --pico-primary-focus: %s; --pico-form-element-active-border-color: %s;",
			soft, accent, background, accent.mix(toward, 0.25), background.mix(black, 0.25), accent, accent, accent)
	}
	return fmt.Sprintf(":root, :root:not([data-theme]) { %s }\n@media (prefers-color-scheme: dark) { :root, :root:not([data-theme]) { %s } }\n",
		theme(light, light, black, white.mix(light, 0.08)), theme(dark, light, white, page.mix(light, 0.25))), nil
}

type rgb [3]uint8

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// mix is c with so much of another.
func (c rgb) mix(o rgb, much float64) (out rgb) {
	for i := range c {
		out[i] = uint8(math.Round(float64(c[i])*(1-much) + float64(o[i])*much))
	}
	return out
}

func parseColour(s string) (c rgb, err error) {
	hex, ok := strings.CutPrefix(s, "#")
	n, err := strconv.ParseUint(hex, 16, 32)
	if !ok || err != nil || len(hex) != 6 {
		return c, fmt.Errorf("%q is no colour: write six hexadecimal digits, as #0f6b6b", s)
	}
	return rgb{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

// contrast of two colours (WCAG 2.2, "contrast ratio").
func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func (c rgb) luminance() float64 {
	linear := func(v uint8) float64 {
		f := float64(v) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}
