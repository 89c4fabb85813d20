package web

import "time"

// A Board is a page of a desk that is made of blocks, one under the other: facts,
// tables, forms, charts. Whoever administers meets many things that are alike, so
// they look and read alike, and are accessible or not all at once.
type Board struct {
	Desk
	Title  Text
	Name   string // of the thing that it is about, after the title
	Lead   []Text
	Ways   []Way // to pages that belong to this one
	Blocks []Block
}

// A Text is words of ours: the translation "admin." and Key, with what stands in
// its placeholders. Where there is none and Else is given, it is the translation
// Key, which is that of all pages, or Else as it is: what is told apart by names
// that come from elsewhere need not all have words.
type Text struct {
	Key, Else string
	With      []string // placeholder, value, placeholder, value …
	Count     *int     // of things: stands for {n}, and chooses the form for so many
	Why       *Text    // stands for {why}
}

// A Way leads to another page.
type Way struct {
	Text  Text
	Name  string // of a thing, where there are no words
	URL   string
	Here  bool
	Count int  // of what waits there; 0: nothing
	File  bool // it is no page
}

// A Block is a part of a Board with a heading, unless that is empty. Forms that
// search stand before what they find, others after what they are about.
type Block struct {
	// ID of it in the page, where Watch or a Live form brings it up to date.
	ID string
	// Watch: it changes by itself, and is looked at again every other second at
	// WatchURL, which is the page that it is on.
	Watch    bool
	WatchURL string
	Beside   bool // it stands beside the one before it, where there is room
	Heading  Text
	Lead     []Text
	Facts    []Fact
	Chart    *Chart
	Table    *Table
	Forms    []Form
	Once     string // something to copy that is not shown again
	Ways     []Way
}

// A Fact is one thing that is so.
type Fact struct {
	Label Text
	Name  string // what it is called where there are no words
	Cell
}

// A Cell is what stands in one place, as far as it is there: words of ours, what
// somebody else called it, a time, how far something is.
type Cell struct {
	Text        Text
	Says        []Text // one a line
	Value       string
	Values      []string
	URL         string // where Text or Value lead
	Mark        string // good, bad or wait: how Text is marked, beside its words
	At          time.Time
	Until       time.Time // an end, which is told as a day if it was chosen as one
	Done, Total int64     // of Total, if that is not 0
	Note        string
	Forms       []Form
}

// Empty: there is nothing in it, as in a fact about what somebody has none of.
func (c Cell) Empty() bool {
	return c.Text.Key+c.Text.Else+c.Value+c.Note == "" && len(c.Says)+len(c.Values)+len(c.Forms) == 0 && c.At.IsZero() && c.Until.IsZero() && c.Total == 0
}

// A Table has a row header in the first cell of each row.
type Table struct {
	Caption Text
	Sum     []Text // what it comes to, said before it
	Head    []Text
	Rows    []Row
	None    Text // said in place of a table without rows
	MoreURL string
}

// A Row is one line of a Table.
type Row struct{ Cells []Cell }

// A Form does something, or looks for something if it is a Search. About names
// what it is about to who only hears its button.
type Form struct {
	Action string
	Search bool
	Fields []Field
	Button Text
	About  string
	Danger bool
	Quiet  bool
	Leaves bool // it leads to somebody else
	// Tall: one field under the other, for what is filled in and not searched for.
	Tall bool
	// Look, if it has words, is a second button that shows at the form's own
	// address what would come of it, and does nothing. With scripts the block
	// Live shows it while somebody types.
	Look Text
	Live string
}

// A Field of a Form. Kind is text, search, date, area, select, check or hidden;
// heading has a Label alone, for the fields that follow.
type Field struct {
	ID, Name, Value string
	Kind            string
	Label, Hint     Text
	Called          string // what it is called where there are no words
	Options         []Option
	Checked         bool
	Required        bool
	Fields          []Field // of a "fold", which is open if Checked
}

// An Option of a select.
type Option struct {
	Value, Name string
	Text        Text // after Name, where there are words for it
	Chosen      bool
}

// A Chart shows numbers by time, and has them in a table too.
type Chart struct {
	Caption Text
	Head    Text // of the column of labels
	Series  []Text
	Points  []Point
}

// A Point has a number for each of the series.
type Point struct {
	Label  string
	Values []int
}

// A Bar of a Chart, in its picture of ChartWidth by ChartHeight.
type Bar struct{ Series, X, Y, Width, Height int }

// Size of a chart's picture.
const (
	ChartWidth  = 720
	ChartHeight = 120
)

// Bars are those of the picture. The highest reaches the top.
func (c Chart) Bars() (list []Bar) {
	top := c.Top()
	if top == 0 || len(c.Series) == 0 {
		return nil
	}
	step := ChartWidth / len(c.Points)
	width := max(1, (step-4)/len(c.Series))
	for i, p := range c.Points {
		for s, v := range p.Values {
			if h := v * ChartHeight / top; v > 0 {
				h = max(1, h)
				list = append(list, Bar{s, i*step + 2 + s*width, ChartHeight - h, width, h})
			}
		}
	}
	return list
}

// Top is the highest number.
func (c Chart) Top() (top int) {
	for _, p := range c.Points {
		for _, v := range p.Values {
			top = max(top, v)
		}
	}
	return top
}

func (p Board) view() view { return p.desk("board") }
