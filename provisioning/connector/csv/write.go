package csv

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/sheet"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Ends of the names of what stands beside a file.
const (
	sufSum  = ".sha256"
	sufDone = ".done"
)

// form of the time in a file's name, so that names order as the files do.
const form = "20060102T150405.000Z"

// Write writes a file if anything changed since the last one. It is what the task
// of Kind does.
func (c *Connector) Write(ctx context.Context) error {
	var upTo uint64
	changed := false
	err := c.c.Store.View(ctx, func(tx store.Tx) error {
		n, _, err := counts.Get(tx, c.c.Target)
		if upTo, changed = n.Seq, false; err != nil {
			return err
		}
		for _, err := range c.changedRows(tx, 0, 1) {
			changed = true
			return err
		}
		return nil
	})
	if err != nil || !changed {
		return err
	}
	if err := c.file(ctx); err != nil {
		return fmt.Errorf("write the file of target %s: %w", c.c.Target, err)
	}
	return c.told(ctx, upTo)
}

// file writes one, and what stands beside it, and removes old ones.
func (c *Connector) file(ctx context.Context) error {
	d, err := c.c.Place.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	kind := "full"
	if c.c.Delta {
		kind = "delta"
	}
	name := "users_" + c.c.Now().UTC().Format(form) + "_" + kind + ".csv"
	sum := sha256.New()
	err = d.Write(name, func(w io.Writer) error {
		sum.Reset()
		buf := bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)
		if err := c.rows(ctx, buf); err != nil {
			return err
		}
		return buf.Flush()
	})
	if err != nil {
		return err
	}
	line := hex.EncodeToString(sum.Sum(nil)) + "  " + name + "\n"
	if err := d.Write(name+sufSum, func(w io.Writer) error { _, err := io.WriteString(w, line); return err }); err != nil {
		return err
	}
	if err := d.Write(name+sufDone, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	return c.rotate(d)
}

// rows writes the heading and the rows.
func (c *Connector) rows(ctx context.Context, to io.Writer) error {
	if c.c.BOM {
		if _, err := io.WriteString(to, "\ufeff"); err != nil {
			return err
		}
	}
	w := csv.NewWriter(to)
	w.UseCRLF = true
	head := []string{colID, colName, colActive}
	for _, col := range c.c.Columns {
		head = append(head, col.Name)
	}
	rows := c.all(ctx)
	if c.c.Delta {
		head = append(head, colOp, colSeq)
		rows = c.changes(ctx)
	}
	if err := w.Write(head); err != nil {
		return err
	}
	for a, err := range rows {
		if err != nil {
			return err
		}
		op := a.op()
		if op == "" || !c.c.Delta && a.Removed {
			continue
		}
		cells := []string{a.ExternalID, a.UserName, strconv.FormatBool(a.Active && !a.Removed)}
		for _, col := range c.c.Columns {
			cells = append(cells, cell(col, a.Attributes[col.Name]))
		}
		if c.c.Delta {
			cells = append(cells, op, strconv.FormatUint(a.Seq, 10))
		}
		if c.c.Harmless {
			for i := range cells {
				cells[i] = sheet.Harmless(cells[i])
			}
		}
		if err := w.Write(cells); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// cell is how values stand in a column. Of an attribute with one value that is the
// value itself.
func cell(c Column, values []string) string {
	if !c.Multi && len(values) == 1 {
		return values[0]
	}
	return sheet.Join(values)
}

// op is what a delta file says of an account; empty: nothing.
func (a account) op() string {
	switch {
	case a.Removed && !a.Told:
		return ""
	case a.Removed:
		return "delete"
	case !a.Told:
		return "add"
	case a.ToldActive && !a.Active:
		return "disable"
	}
	return "update"
}

// toldBatch rows are marked in one transaction: each is up to 4 keys.
const toldBatch = 24

// told notes that a file has all changes up to one: rows that did not change
// since are told, and removed ones go.
func (c *Connector) told(ctx context.Context, upTo uint64) error {
	for more := true; more; {
		err := c.c.Store.Update(ctx, func(tx store.Tx) error {
			var page []account
			for a, err := range c.changedRows(tx, 0, toldBatch) {
				if err != nil {
					return err
				}
				if a.Seq <= upTo {
					page = append(page, a)
				}
			}
			for _, a := range page {
				a.Changed, a.Told, a.ToldActive = false, true, a.Active
				var err error
				if a.Removed {
					err = accounts.Delete(tx, accounts.Key(a))
				} else {
					err = accounts.Put(tx, a)
				}
				if err != nil {
					return err
				}
			}
			more = len(page) == toldBatch
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rotate removes the oldest files of ours.
func (c *Connector) rotate(d folder.Folder) error {
	if c.c.Keep == 0 {
		return nil
	}
	list, err := d.List("")
	if err != nil {
		return err
	}
	var names []string
	for _, f := range list {
		if ours(f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-c.c.Keep)] {
		for _, n := range []string{name + sufDone, name + sufSum, name} {
			if err := d.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// ours: a name that Write gives.
func ours(name string) bool {
	rest, ok := strings.CutPrefix(name, "users_")
	at, kind, _ := strings.Cut(rest, "_")
	return ok && len(at) == len(form) && (kind == "full.csv" || kind == "delta.csv")
}
