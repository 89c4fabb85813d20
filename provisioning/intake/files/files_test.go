package files_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

func TestAFileBringsPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	imp := w.upload("\ufeffuser_name,mail,groups,active,display_name\r\n"+
		"ana,ana@x.test,staff;a\\;b,,\"Ana \"\"A\"\" O'Brien\nBerg\"\r\n"+
		"partners/Kim,,,yes,\r\n"+
		"zoë,zoë@x.test,,no,\r\n", files.Upload{})
	want(t, "people", w.people(), []string{"ana true ana@x.test", "partners/Kim true "})
	u := w.user("ana")
	if d := cmp.Diff([]string{"staff", "a;b"}, provisioning.Effective(u, "groups")); d != "" {
		t.Error(d)
	}
	if got := provisioning.Effective(u, "display_name"); len(got) != 1 || got[0] != "Ana \"A\" O'Brien\nBerg" {
		t.Errorf("named %q", got)
	}
	if imp.State != files.Imported || imp.Did != (files.Counts{Rows: 3, Created: 2, Unchanged: 1}) || imp.Would != imp.Did {
		t.Errorf("%s: would %+v, did %+v", imp.State, imp.Would, imp.Did)
	}
	want(t, "result", w.results(imp), []string{"1 ana created", "2 Kim created", "3 zoë unchanged"})

	// Another says other things, and what an administrator said stays.
	if _, _, err := w.dir.Change(t.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error {
		u.Say(provisioning.Admin, "mail", "office@x.test")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	imp = w.upload("user_name;mail;active\nANA;new@x.test;\npartners/kim;;0\n", files.Upload{})
	want(t, "people then", w.people(), []string{"ANA true office@x.test", "partners/kim false "})
	if u := w.user("ana"); len(u.Says(hr.By, "mail")) != 1 || len(u.Says(hr.By, "groups")) != 2 {
		t.Errorf("the source says %+v", u.Attributes)
	}
	if imp.Did != (files.Counts{Rows: 2, Changed: 1, Disabled: 1}) || len(w.left) != 1 {
		t.Errorf("did %+v, %d were told to end sessions", imp.Did, len(w.left))
	}
	w.upload("user_name,mail\nana,\npartners/kim,kim@x.test\n", files.Upload{})
	want(t, "an empty cell takes back", w.people(), []string{"ana true office@x.test", "partners/kim true kim@x.test"})
	if u := w.user("ana"); len(u.Says(hr.By, "mail")) != 0 {
		t.Errorf("the source says %+v", u.Attributes)
	}
}

// Whatever a file is, what can not be understood changes nobody.
func TestAFileThatCanNotBeReadChangesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	w.upload("user_name,mail\nana,ana@x.test\nben,ben@x.test\n", files.Upload{Content: files.Full})
	before := all(t, w.store)
	for name, c := range map[string]struct{ text, code string }{
		"nothing":           {"", files.ReasonEmpty},
		"blank lines":       {"\n\n\n", files.ReasonEmpty},
		"a heading alone":   {"user_name,mail\n", files.ReasonEmpty},
		"no names":          {"mail\nx@x.test\n", files.ReasonForm},
		"a strange column":  {"user_name,shoe_size\nana,38\n", files.ReasonForm},
		"a column twice":    {"user_name,mail,mail\nana,a,b\n", files.ReasonForm},
		"cut in a row":      {"user_name,mail\nana,new@x.test\nben", files.ReasonForm},
		"cut in a quote":    {"user_name,mail\nana,\"new@x.te", files.ReasonForm},
		"a stray quote":     {"user_name,mail\nana,ne\"w@x.test\nben,x\n", files.ReasonForm},
		"an endless quote":  {"user_name,mail\nana,\"" + strings.Repeat("x\n", 1<<20), files.ReasonForm},
		"Latin-1":           {"user_name,mail\nzo\xeb,new@x.test\n", files.ReasonForm},
		"a page":            {"<!DOCTYPE html>\n<title>503</title>\n", files.ReasonForm},
		"a name is missing": {"user_name,mail\nana,new@x.test\n,ben@x.test\n", files.ReasonForm},
	} {
		imp := w.upload(c.text, files.Upload{File: name, Content: files.Full})
		isRefused(t, name, imp, c.code)
		if d := cmp.Diff(before, all(t, w.store)); d != "" {
			t.Errorf("%s changed the store: %s", name, d)
		}
		want(t, name+": result", w.results(imp), []string{"refused " + c.code})
	}
	w.upload("user_name,mail\nana,new@x.test\nben,ben@x.test\n", files.Upload{Content: files.Full})
	want(t, "a good one", w.people(), []string{"ana true new@x.test", "ben true ben@x.test"})
}

// B09: a file in which nearly everybody is missing is a mistake.
func TestB09_AnEmptiedFileChangesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	full := func(n int, mail string) string {
		var b strings.Builder
		b.WriteString("user_name,mail\n")
		for i := range n {
			fmt.Fprintf(&b, "p%03d,%s\n", i, mail)
		}
		return b.String()
	}
	w.upload(full(100, "a@x.test"), files.Upload{Content: files.Full})
	before := all(t, w.store)
	isRefused(t, "emptied", w.upload(full(0, ""), files.Upload{Content: files.Full}), files.ReasonEmpty)
	isRefused(t, "cut to 40", w.upload(full(40, "b@x.test"), files.Upload{Content: files.Full}), "guard.shrunk")
	if d := cmp.Diff(before, all(t, w.store)); d != "" {
		t.Errorf("somebody changed: %s", d)
	}
	// Unless a person says that it is none: then the guard asks who may go.
	imp := w.upload(full(40, "b@x.test"), files.Upload{Content: files.Full, Shrunk: true})
	if imp.Did != (files.Counts{Rows: 40, Changed: 40, Held: 60, Missing: 60}) {
		t.Errorf("did %+v", imp.Did)
	}
	for _, p := range w.people() {
		if !strings.Contains(p, " true ") {
			t.Errorf("disabled without approval: %s", p)
		}
	}
	cases, err := w.guard.Cases(t.Context(), "source:feed:hr", "", true, 0)
	if err != nil || len(cases) != 1 {
		t.Fatalf("cases %+v, %v", cases, err)
	}
	if err := w.guard.Approve(t.Context(), cases[0].ID, "carol"); err != nil {
		t.Fatal(err)
	}
	if err := w.guard.HandleCase(t.Context(), cases[0].ID); err != nil {
		t.Fatal(err)
	}
	imp = w.upload(full(40, "c@x.test"), files.Upload{Content: files.Full})
	if imp.Did != (files.Counts{Rows: 40, Changed: 40, Disabled: 60, Missing: 60}) {
		t.Errorf("after the approval it did %+v", imp.Did)
	}
	off := 0
	for _, p := range w.people() {
		if strings.Contains(p, " false ") {
			off++
		}
	}
	if off != 60 || len(w.left) != 60 {
		t.Errorf("%d disabled, %d told, want 60", off, len(w.left))
	}
}

func TestWhoIsMissingInAFullFileIsDisabledAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	if _, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "guest", Active: true}, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	head := "user_name,mail,external_id\n"
	w.upload(head+"ana,a@x.test,1\nben,b@x.test,2\ncem,c@x.test,3\n", files.Upload{Content: files.Full})
	delta := w.upload(head+"ana,a2@x.test,1\n", files.Upload{})
	if delta.Did != (files.Counts{Rows: 1, Changed: 1}) {
		t.Errorf("a delta did %+v", delta.Did)
	}
	// Ben is missing, Cem has another name.
	imp := w.upload(head+"ana,a@x.test,1\ncem.new,c@x.test,3\n", files.Upload{Content: files.Full})
	want(t, "people", w.people(), []string{"ana true a@x.test", "ben false b@x.test", "cem.new true c@x.test", "guest true "})
	if imp.Did != (files.Counts{Rows: 2, Changed: 2, Disabled: 1, Missing: 1}) || imp.Would != imp.Did {
		t.Errorf("did %+v, would %+v", imp.Did, imp.Would)
	}
	want(t, "result", w.results(imp), []string{"1 ana changed", "2 cem.new changed", "ben disabled"})
	w.upload(head+"ana,a@x.test,1\nben,b@x.test,2\ncem.new,c@x.test,3\n", files.Upload{Content: files.Full})
	want(t, "back", w.people(), []string{"ana true a@x.test", "ben true b@x.test", "cem.new true c@x.test", "guest true "})

	// Whom an administrator disabled stays so while the file says nothing else of them.
	u := w.user("ana")
	if _, _, err := w.dir.Change(t.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error { u.Active = false; return nil }); err != nil {
		t.Fatal(err)
	}
	w.upload(head+"ana,a3@x.test,1\nben,b@x.test,2\ncem.new,c@x.test,3\n", files.Upload{Content: files.Full})
	if w.user("ana").Active {
		t.Error("a file let in again whom an administrator keeps out")
	}
}

// A full file that leaves out the number by which a person was known lists them
// all the same, by their name, and they stay known by the number.
func TestWhoIsListedWithoutTheirNumberIsNotMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	head := "user_name,mail,external_id\n"
	w.upload(head+"ana,a@x.test,1\nben,b@x.test,2\n", files.Upload{Content: files.Full})
	preview := w.upload(head+"ana,a@x.test,\nben,b2@x.test,\n", files.Upload{Content: files.Full, Preview: true})
	imp := w.upload(head+"ana,a@x.test,\nben,b2@x.test,\n", files.Upload{Content: files.Full})
	if wanted := (files.Counts{Rows: 2, Unchanged: 1, Changed: 1}); preview.Would != wanted || imp.Would != wanted || imp.Did != wanted {
		t.Errorf("preview %+v, would %+v, did %+v; want %+v", preview.Would, imp.Would, imp.Did, wanted)
	}
	imp = w.upload(head+"anna,a@x.test,1\n", files.Upload{Content: files.Full}) // the number is still hers
	want(t, "people", w.people(), []string{"anna true a@x.test", "ben false b2@x.test"})
	if wanted := (files.Counts{Rows: 1, Changed: 1, Disabled: 1, Missing: 1}); imp.Did != wanted || imp.Would != wanted {
		t.Errorf("did %+v, would %+v; want %+v", imp.Did, imp.Would, wanted)
	}
}

func TestARowThatCanNotBeUsedIsLeftOutAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	if _, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "guest", Active: true}, provisioning.SourceIDP("campus")); err != nil {
		t.Fatal(err)
	}
	imp := w.upload("user_name,mail,active,user_store\n"+
		"ana,a@x.test,,\nAna,other@x.test,,\nguest,mine@x.test,,\nben,b@x.test,perhaps,\ncem,c@x.test,,elsewhere\n,nobody@x.test,,\n"+
		strings.Repeat("x", 300)+",x@x.test,,\nzoe,z@x.test,,partners\n", files.Upload{})
	want(t, "people", w.people(), []string{"ana true a@x.test", "guest true ", "partners/zoe true z@x.test"})
	want(t, "result", w.results(imp), []string{
		"1 ana created", "2 Ana error " + files.ReasonTwice, "3 guest error " + files.ReasonForeign, "4 ben error " + files.ReasonRow, "5 cem error " + files.ReasonRow,
		"6  error " + files.ReasonNameless, "7 " + strings.Repeat("x", 300) + " error " + provisioning.ReasonInvalid, "8 zoe created",
	})
	if imp.Did != (files.Counts{Rows: 8, Created: 2, Failed: 6}) || imp.Would != imp.Did {
		t.Errorf("would %+v, did %+v", imp.Would, imp.Did)
	}
	adopting := newWorld(t, w.store, func(s *files.Source) { s.AdoptNames = true })
	adopting.upload("user_name,mail\nguest,mine@x.test\n", files.Upload{})
	want(t, "adopted", adopting.people(), []string{"ana true a@x.test", "guest true mine@x.test", "partners/zoe true z@x.test"})

	var many strings.Builder
	many.WriteString("user_name,active\n")
	for i := range 100 {
		fmt.Fprintf(&many, "q%d,%s\n", i, map[bool]string{true: "perhaps", false: ""}[i < 11])
	}
	before := all(t, w.store)
	isRefused(t, "11 of 100 wrong", w.upload(many.String(), files.Upload{}), files.ReasonErrors)
	if d := cmp.Diff(before, all(t, w.store)); d != "" {
		t.Errorf("somebody changed: %s", d)
	}
	if imp := w.upload(strings.Replace(many.String(), "perhaps", "", 1), files.Upload{}); imp.Did.Created != 90 {
		t.Errorf("10 of 100 wrong: %s %+v", imp.State, imp.Did)
	}
}

func TestTheSameFileTwiceIsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	monday, tuesday := "user_name,mail\nana,1@x.test\n", "user_name,mail\nana,2@x.test\n"
	for _, content := range []files.Content{files.Delta, files.Full} {
		first := w.upload(monday, files.Upload{Content: content})
		w.upload(tuesday, files.Upload{Content: content})
		before := all(t, w.store)
		second := w.upload(tuesday, files.Upload{Content: content, File: "again.csv"})
		if second.File == "again.csv" || second.State != files.Imported {
			t.Errorf("%s: imported again: %+v", content, second)
		}
		if d := cmp.Diff(before, all(t, w.store)); d != "" {
			t.Errorf("%s: somebody changed: %s", content, d)
		}
		// An old list of everybody is a list of everybody; an old change is none any more.
		third := w.upload(monday, files.Upload{Content: content})
		if again := third.ID != first.ID; again != (content == files.Full) {
			t.Errorf("%s: the file before the last: again %v", content, again)
		}
	}
	want(t, "people", w.people(), []string{"ana true 1@x.test"})
}

// A preview says what the import then does, and writes nothing about anybody.
func TestAPreviewIsTrueAndWritesNothing(t *testing.T) {
	t.Parallel()
	// Who has a number keeps it, and the second name is theirs alone too.
	person := rapid.SampledFrom([]string{"ana,1", "anna,1", "ANA,1", "ben,", "partners/ana,", "cem,2", "guest,", "guest,3", ",", ",4", "dora,", "eve,5", "eva,5"})
	file := rapid.Custom(func(t *rapid.T) string {
		text := "user_name,external_id,mail,groups,active\n"
		for range rapid.IntRange(0, 8).Draw(t, "rows") {
			text += strings.Join([]string{
				person.Draw(t, "person"), rapid.SampledFrom([]string{"", "a@x.test", "b@x.test"}).Draw(t, "mail"), rapid.SampledFrom([]string{"", "x", "x;y"}).Draw(t, "groups"),
				rapid.SampledFrom([]string{"", "no", "maybe"}).Draw(t, "active"),
			}, ",") + "\n"
		}
		return text
	})
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, open(t))
		if _, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "guest", Active: true}, provisioning.Admin); err != nil {
			rt.Fatal(err)
		}
		for i := range rapid.IntRange(1, 2).Draw(rt, "files") {
			text := file.Draw(rt, "file")
			content := rapid.SampledFrom([]files.Content{files.Delta, files.Full}).Draw(rt, "content")
			before := all(t, w.store)
			preview := w.upload(text, files.Upload{Content: content, Preview: true, Shrunk: true})
			if d := cmp.Diff(before, all(t, w.store)); d != "" {
				rt.Fatalf("a preview changed the store: %s", d)
			}
			said := w.results(preview)
			imp := w.upload(text, files.Upload{Content: content, Shrunk: true})
			if imp.File != "staff.csv" || imp.Received.Before(preview.Received) {
				continue // the same file as before
			}
			if preview.State == files.Refused || imp.State == files.Refused {
				if preview.State != imp.State {
					rt.Fatalf("file %d: the preview ends %s, the import %s", i, preview.State, imp.State)
				}
				continue
			}
			if d := cmp.Diff(said, w.results(imp)); d != "" {
				rt.Fatalf("file %d, %s:\n%s\nthe preview and the import differ: %s", i, content, text, d)
			}
			if preview.Would != imp.Did {
				rt.Fatalf("file %d: the preview counts %+v, the import %+v", i, preview.Would, imp.Did)
			}
		}
	})
}

// What a dry transaction shows is what a real one shows, and nothing of it stays.
func TestADryTransactionShowsWhatARealOneDoes(t *testing.T) {
	t.Parallel()
	s := open(t)
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		put := func(tx store.Tx, label string) error {
			for i, k := range rapid.SliceOfN(key, 0, 6).Draw(rt, label) {
				var err error
				if rapid.Bool().Draw(rt, "delete") {
					err = tx.Delete([]byte(k))
				} else {
					err = tx.Put([]byte(k), fmt.Append(nil, label, i))
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		scan := func(tx store.Tx, from, to string, limit int) map[string]string {
			m, last := map[string]string{}, ""
			for p, err := range tx.Scan([]byte(from), []byte(to), limit) {
				if err != nil || string(p.Key) <= last {
					rt.Fatalf("after %q comes %q, %v", last, p.Key, err)
				}
				last = string(p.Key)
				m[last] = string(p.Val)
			}
			return m
		}
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			for _, k := range []string{"a", "b", "c", "d", "e"} { // of the draw before
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
			}
			return put(tx, "before")
		}); err != nil {
			rt.Fatal(err)
		}
		held := func() (all string) {
			_ = s.View(t.Context(), func(tx store.Tx) error { all = fmt.Sprint(scan(tx, "a", "f", 0)); return nil })
			return all
		}
		before := held()
		seed := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]string {
			return [2]string{key.Draw(t, "key"), rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "value")}
		}), 0, 6).Draw(rt, "writes")
		from, to, limit := key.Draw(rt, "from"), key.Draw(rt, "to"), rapid.IntRange(0, 3).Draw(rt, "limit")
		see := func(tx store.Tx) map[string]string {
			for _, w := range seed {
				if w[1] == "" {
					if err := tx.Delete([]byte(w[0])); err != nil {
						rt.Fatal(err)
					}
				} else if err := tx.Put([]byte(w[0]), []byte(w[1])); err != nil {
					rt.Fatal(err)
				}
			}
			m := scan(tx, from, to, limit)
			for _, k := range []string{"a", "b", "c", "d", "e"} {
				if val, ok, err := tx.Get([]byte(k)); err != nil {
					rt.Fatal(err)
				} else if ok {
					m["get "+k] = string(val)
				}
			}
			return m
		}
		var dry, real map[string]string
		if err := s.View(t.Context(), func(tx store.Tx) error { dry = see(files.NewDry(tx)); return nil }); err != nil {
			rt.Fatal(err)
		}
		if got := held(); got != before {
			rt.Fatalf("it was written: %q, before %q", got, before)
		}
		_ = s.Update(t.Context(), func(tx store.Tx) error { real = see(tx); return errStop })
		if d := cmp.Diff(real, dry); d != "" {
			rt.Fatal(d)
		}
	})
}
