package files

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// ErrNotFound: there is no such import or source.
var ErrNotFound = errors.New("import: not found")

// Reason codes.
const (
	ReasonEmpty    = "import.empty"
	ReasonForm     = "import.form"
	ReasonSum      = "import.checksum"
	ReasonErrors   = "import.too_many_errors"
	ReasonTwice    = "import.twice"
	ReasonNameless = "import.nameless"
	ReasonRow      = "import.row"
	ReasonForeign  = "import.foreign"
	ReasonTooLarge = "import.too_large"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonEmpty:    "The file has no rows, so nobody is changed.",
	ReasonForm:     "The file is no CSV file with the columns that are expected, or it breaks off, so nobody is changed.",
	ReasonSum:      "The file is not the one that its checksum was made of, so nobody is changed.",
	ReasonErrors:   "More than a tenth of the rows can not be used, so nobody is changed.",
	ReasonTwice:    "Two rows of the file are about the same person; the second is left out.",
	ReasonNameless: "A row has no user name, so it is not known whom it is about.",
	ReasonRow:      "A cell of the row can not be read.",
	ReasonForeign:  "A user of this name is there already and is not from this source, which may take nobody over.",
	ReasonTooLarge: "The file is larger than is taken, or a person has more than one transaction can hold.",
}

// A Refusal says why a file or a row is not taken.
type Refusal struct {
	Code string `json:"code"` // from Reasons, or of the directory or the guard
	Text string `json:"text"`
}

func refuse(code, text string) *Refusal { return &Refusal{code, text} }

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }

// Reason is the reason code.
func (r *Refusal) Reason() string { return r.Code }

// State of an Import.
type State string

// States, in their order. The last four are final.
const (
	Reading   State = "reading"  // is it such a file at all; how many rows
	Checking  State = "checking" // what each row would do
	Applying  State = "applying"
	Missing   State = "missing" // who is not in it any more
	Writing   State = "writing" // the result
	Imported  State = "imported"
	Previewed State = "previewed"
	Refused   State = "refused" // nobody was changed
	Stopped   State = "cancelled"
)

// Final reports that there is nothing left to do.
func (s State) Final() bool {
	return s == Imported || s == Previewed || s == Refused || s == Stopped
}

// Status of a row in a result.
type Status string

// What became, or in a preview would become, of a row.
const (
	Created   Status = "created"
	Changed   Status = "changed"
	Disabled  Status = "disabled"
	Unchanged Status = "unchanged"
	Held      Status = "held" // waits for approval; what else the row says is done
	Failed    Status = "error"
)

// Counts of rows by what became of them. Missing people are among Disabled and
// Held too.
type Counts struct {
	Rows      int64 `json:"rows"`
	Created   int64 `json:"created"`
	Changed   int64 `json:"changed"`
	Disabled  int64 `json:"disabled"`
	Unchanged int64 `json:"unchanged"`
	Held      int64 `json:"held"`
	Failed    int64 `json:"failed"`
	Missing   int64 `json:"missing"` // people who are not in a full file any more
}

func (c *Counts) add(list []result) {
	for _, r := range list {
		n := map[Status]*int64{Created: &c.Created, Changed: &c.Changed, Disabled: &c.Disabled, Unchanged: &c.Unchanged, Held: &c.Held, Failed: &c.Failed}[r.Status]
		*n++
	}
}

// An Import is one file that is, or was, taken in.
type Import struct {
	ID       string    `json:"id"`
	Source   string    `json:"source"`
	File     string    `json:"file"` // its name where it came from
	SHA256   string    `json:"sha256"`
	Size     int64     `json:"size"`
	Content  Content   `json:"content"`
	Preview  bool      `json:"preview,omitempty"`
	Shrunk   bool      `json:"shrunk,omitempty"`  // a person says that it may be much shorter than the last one
	Claimed  bool      `json:"claimed,omitempty"` // from the folder, where it is in processing/ until the end
	State    State     `json:"state"`
	Next     int64     `json:"next,omitempty"` // rows of this state that are done
	Rows     int64     `json:"rows"`
	Would    Counts    `json:"would"`         // as checked
	Did      Counts    `json:"did"`           // as done
	End      State     `json:"end,omitempty"` // of Writing: what comes after it
	Refusal  *Refusal  `json:"refusal,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
	Received time.Time `json:"received"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Key is that of its task.
func (i Import) Key() string { return i.Source + "/" + i.ID }

var imports = store.Table[Import]{
	Name: "import",
	Key:  func(i Import) string { return i.ID },
	Index: map[string]func(Import) []string{
		"source": func(i Import) []string { return []string{i.Source} },
		// The same file of the same source, read the same way.
		"same": func(i Import) []string { return []string{string(store.Key(i.Source, string(i.Content), i.SHA256))} },
	},
}

// person is a user as one source knows them.
type person struct {
	Source string `json:"source"`
	User   string `json:"user"`
	Key    string `json:"key"`            // by which the source knows them again
	Active bool   `json:"active"`         // what it last said
	Gone   string `json:"gone,omitempty"` // ID of the import since which they are to be disabled
}

var persons = store.Table[person]{
	Name: "import_person",
	Key:  func(p person) string { return string(store.Key(p.Source, p.User)) },
	Unique: map[string]func(person) []string{
		"key": func(p person) []string { return []string{string(store.Key(p.Source, p.Key))} },
	},
	Index: map[string]func(person) []string{"source": func(p person) []string { return []string{p.Source} }},
}

// result is what became of a row.
type result struct {
	N      int64  `json:"n"` // 0: a person who is missing
	Name   string `json:"name"`
	Status Status `json:"status"`
	Code   string `json:"code,omitempty"`
	Text   string `json:"text,omitempty"`
	User   string `json:"user,omitempty"`
}

// chunk holds results of rows that one transaction did, so that it is known of
// each row whether it was done.
type chunk struct {
	Import string   `json:"import"`
	First  int64    `json:"first,omitzero"` // row
	Who    string   `json:"who,omitempty"`  // ID of a user who is missing
	List   []result `json:"list"`
}

var chunks = store.Table[chunk]{
	Name: "import_result",
	Key:  func(c chunk) string { return chunkKey(c.Import, c.First, c.Who) },
}

// chunkKey orders results as rows are ordered, and the missing behind them.
func chunkKey(id string, first int64, who string) string {
	if who != "" {
		return string(store.Key(id, "who", who))
	}
	return string(store.Key(id, "row", fmt.Sprintf("%012d", first)))
}

// last is what is known of the last full file of a source.
type last struct {
	Source string    `json:"source"`
	Rows   int64     `json:"rows"`
	Import string    `json:"import"`
	At     time.Time `json:"at"`
}

var lasts = store.Table[last]{Name: "import_last", Key: func(l last) string { return l.Source }}

// scope is what the guard calls a source.
func scope(s *source) string { return guard.Source(string(s.By)) }

// act is the disabling of somebody, as the guard is asked.
func act(s *source, u provisioning.User, cycle, why string) guard.Act {
	return guard.Act{Scope: scope(s), Kind: guard.Removal, Subject: u.ID, How: "disable", Cycle: cycle, Reason: why, Since: u.Created}
}

// firstErr is the first error that is one.
func firstErr(errs ...error) error { return cmp.Or(errs...) }
