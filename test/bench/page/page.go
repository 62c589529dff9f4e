// Package page writes the results of benchmarks: sections of a Markdown file, and bar
// charts as SVG.
package page

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// WriteSection replaces the section of a Markdown file that begins with this heading of
// the first level, or appends it. Each section has one such heading.
func WriteSection(file, heading, body string) error {
	raw, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read the results: %w", err)
	}
	section := "# " + heading + "\n\n" + strings.TrimSpace(body) + "\n"
	before, rest, found := strings.Cut("\n"+string(raw), "\n# "+heading+"\n")
	after := ""
	if found {
		_, next, more := strings.Cut(rest, "\n# ")
		if more {
			after = "\n# " + next
		}
	}
	text := strings.TrimPrefix(before, "\n")
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	if err := os.WriteFile(file, []byte(text+section+after), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// Machine returns a description of the machine's processors.
func Machine() string {
	model := runtime.GOARCH
	if file, err := os.Open("/proc/cpuinfo"); err == nil {
		defer func() { _ = file.Close() }()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if name, value, found := strings.Cut(lines.Text(), ": "); found && strings.HasPrefix(name, "model name") {
				model = value
				break
			}
		}
	}
	return fmt.Sprintf("%d cores (%s)", runtime.NumCPU(), model)
}

// A Group is a group of bars with a title.
type Group struct {
	Title string
	Bars  []Bar
}

// A Bar is one value of a chart.
type Bar struct {
	Name  string
	Value float64
	// Label is what is written behind the bar.
	Label string
	// Own is true for what this project makes.
	Own bool
}

// Chart returns an SVG bar chart. The longest bar of all groups has the full width or,
// if each group has a unit of its own, the longest of each group.
func Chart(groups []Group, unitPerGroup bool) string {
	const left, width, bar, gap = 230, 460, 16, 26
	longest := longestOf(groups)
	var bars strings.Builder
	y := 10
	for _, group := range groups {
		if unitPerGroup {
			longest = longestOf([]Group{group})
		}
		fmt.Fprintf(&bars, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y+13, group.Title)
		y += gap
		for _, b := range group.Bars {
			colour := "#9aa5b1"
			if b.Own {
				colour = "#2f6fab"
			}
			length := max(1, int(b.Value/longest*width))
			fmt.Fprintf(&bars, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
				left-10, y+13, b.Name, left, y, length, bar, colour, left+length+6, y+13, b.Label)
			y += gap - 4
		}
		y += 8
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13"><rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", left+width+80, y, bars.String())
}

func longestOf(groups []Group) float64 {
	longest := 0.0
	for _, group := range groups {
		for _, b := range group.Bars {
			longest = max(longest, b.Value)
		}
	}
	return longest
}
