package configs

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Reconcile compares what a target has with what it should have.
type Reconcile struct {
	// Every is how often all accounts are compared; a little later by chance, so that not all targets begin at once. Left out: never by itself.
	Every time.Duration `yaml:"every"`
	// At is the time of day in UTC, `02:30`, for one that is made every so many days.
	At string `yaml:"at"`
	// Incremental is how often what the target changed lately is compared, where it can say that. Left out: never by itself.
	Incremental time.Duration `yaml:"incremental"`
	// Mode of those that begin by themselves: `run` mends what it can, `report` only shows it.
	Mode string `yaml:"mode" jsonschema:"enum=run,enum=report,default=run"`
	// Unlinked is what becomes of an account that is nobody's yet and bears a user's external ID or name: it becomes the user's, as `adopt` says, or is shown.
	Unlinked string `yaml:"unlinked" jsonschema:"enum=link,enum=report,default=link"`
	// Unmatched is what becomes of an account that is nobody's. It is never disabled or deleted before a person has approved that account.
	Unmatched string `yaml:"unmatched" jsonschema:"enum=report,enum=disable,enum=delete,default=report"`
	// Deleted is what becomes of a user whose account somebody deleted at the target: another is made, or it is forgotten, or shown.
	Deleted string `yaml:"deleted" jsonschema:"enum=recreate,enum=unlink,enum=report,default=recreate"`
	// Drift says what becomes of single attributes that the target has otherwise. Left out: ours wins.
	Drift []Drift `yaml:"drift"`
}

// Drift says what becomes of an attribute that a target has otherwise.
type Drift struct {
	// Attribute of ours that is released to the target, or `user_name` or `active`.
	Attribute string `yaml:"attribute" jsonschema:"required"`
	// Policy: `ours` is written again; `theirs` counts for the user from then on, unless an administrator said something else; `report` is shown, and stays until the user changes.
	Policy string `yaml:"policy" jsonschema:"required,enum=ours,enum=theirs,enum=report"`
}

var timeOfDay = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)

func (k *checker) reconcile(at where, t Target) {
	r := t.Reconcile
	if r.At != "" && !timeOfDay.MatchString(r.At) {
		k.say(at.key("at"), fmt.Sprintf("%q is no time of day", r.At), "write hours and minutes in UTC, such as 02:30")
	}
	if r.At != "" && (r.Every == 0 || r.Every%(24*time.Hour) != 0) {
		k.say(at.key("at"), "a time of day fits only what is made every so many days", "write every: 1d, or remove the line")
	}
	if r.Every > 0 && r.Every < 10*time.Minute {
		k.say(at.key("every"), "the target would do nothing else", "write 10m or more")
	}
	if r.Incremental > 0 && r.Incremental < time.Minute {
		k.say(at.key("incremental"), "the target would do nothing else", "write 1m or more")
	}
	for i, d := range r.Drift {
		place := at.key("drift").index(i)
		own := d.Attribute == "user_name" || d.Attribute == "active"
		j := slices.IndexFunc(t.Release, func(r Release) bool { return r.Attribute == d.Attribute })
		switch {
		case d.Attribute == "":
		case own && d.Policy == "theirs":
			k.say(place.key("policy"), d.Attribute+" is never the target's to say", "write ours or report")
		case !own && j < 0 && t.Edited(): // release editors may release it yet
		case !own && j < 0:
			k.say(place.key("attribute"), d.Attribute+" is not released to the target", "add it to release, or remove the line")
		case !own && d.Policy == "theirs" && (t.Release[j].Transform != "" || len(t.Release[j].Values) > 0 || slices.Contains(given, d.Attribute)):
			k.say(place.key("policy"), d.Attribute+" goes out changed, so it can not come back", "write ours or report")
		}
	}
}
