// Package files takes people in from CSV files.
//
// A file comes from a folder that is looked at, or from somebody who uploads it,
// on behalf of a source. It is copied aside first, so that nobody changes it
// meanwhile, and then goes through states, in a task that a person can pause and
// that goes on behind the last bucket of rows after a crash:
//
//	folder ─poll─▶ claim ─┐
//	upload ───────────────┴▶ read ──▶ check ──▶ apply ──▶ missing ──▶ write ──▶ done
//	                          │         │ preview ─────────────────────▲
//	                          └─────────┴──▶ refused: nobody is changed
//
// Nothing is written about anybody before the whole file has been read and every
// row tried. A file that is no such file, breaks off, has too many rows that can
// not be used or is so much shorter than the last one that it is taken for a
// mistake, changes nobody; a single row that can not be used is left out and said
// so in the result. The same file twice does nothing the second time.
//
// A row says all that its source has to say of a person: an empty cell takes back
// what the source said before. What others said stays. A delta file is about the
// people in it. A full file is also about those who are not: whoever the source
// brought in earlier and does not list any more is disabled. Disabling asks the
// mass-change guard; what it holds is done, by package lifecycle, when a person
// approves it.
//
// What a row means is in one function, which check runs on a transaction that is
// thrown away: so a preview says what the import does. Only where one row of a file
// depends on another (a name that one person gives up and another takes) the
// preview may see a conflict that is none any more when its turn comes.
package files

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kinds of tasks, and what their keys are.
const (
	Kind     = "import"      // SOURCE/ID of an Import
	KindPoll = "import.poll" // SOURCE/folder
)

// A Content says what a file that does not list somebody says about them.
type Content string

// Full: they have left. Delta: nothing. The zero Content is Delta's.
const (
	Full  Content = "full"
	Delta Content = "delta"
)

// A Source is on whose behalf files are taken.
type Source struct {
	ID string
	By provisioning.Source
	// UserStores its people may be in; the first is where names without one are.
	UserStores []string
	AdoptNames bool // it may take over a user of the same name who is nobody's of its own
	Keep       bool // people who are missing in a full file stay as they are

	Place   folder.Place // where files come; nil: they are only uploaded
	Pattern string       // of their names, as path.Match reads it
	Poll    time.Duration
	Content Content
	// Columns maps attributes, user_name, external_id, user_store and active to
	// headings. Empty: the headings are those names.
	Columns map[string]string
	Threads int // buckets at the same time; 0: 8
}

// Config of a Files.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Guard     *guard.Guard // nil: nothing is held
	Sources   []Source
	Dir       string // where files are kept while they are worked on, and results
	// Attribute says whether there is such an attribute; Multi, whether it has
	// several values.
	Attribute, Multi func(name string) bool
	// Left is told of users who were disabled, after it is stored. nil: nobody is.
	Left func(ctx context.Context, userID string) error
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
	// MaxSize of a file, in bytes; 0: 1 GiB.
	MaxSize int64
}

// Files takes people in. Its methods may be called from many goroutines.
type Files struct {
	c       Config
	sources map[string]*source
}

// source is a Source with what was last seen in its folder.
type source struct {
	Source
	c *Config

	mu   sync.Mutex
	seen map[string]folder.File
}

// New makes a Files. It makes Dir if it is not there.
func New(c Config) (*Files, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxSize == 0 {
		c.MaxSize = 1 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of imports: %w", err)
	}
	f := &Files{c: c, sources: map[string]*source{}}
	for _, s := range c.Sources {
		if s.Threads == 0 {
			s.Threads = 8
		}
		if s.Content == "" {
			s.Content = Delta
		}
		f.sources[s.ID] = &source{Source: s, c: &f.c, seen: map[string]folder.File{}}
	}
	return f, nil
}

// Begin sees to it that folders are looked at, and clears away what is over. It
// is called when the configuration is in force.
func (f *Files) Begin(ctx context.Context) error {
	for id, s := range f.sources {
		if err := f.tidy(ctx, s); err != nil {
			return fmt.Errorf("begin with source %s: %w", id, err)
		}
		if s.Place == nil {
			continue
		}
		if err := f.c.Store.Update(ctx, func(tx store.Tx) error { return task.Add(tx, KindPoll, pollKey(id), f.c.Now()) }); err != nil {
			return fmt.Errorf("begin with source %s: %w", id, err)
		}
	}
	return nil
}

// now is the time as it is stored.
func (f *Files) now() time.Time { return f.c.Now().UTC().Truncate(time.Millisecond) }
