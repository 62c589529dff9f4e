package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report writes the table and the picture.
func report(s settings, makers []maker, all []measurement) error {
	text := table(s, makers, all)
	fmt.Println(text)
	if err := os.WriteFile(filepath.Join(s.results, "README.md"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.results, "engines.svg"), []byte(picture(makers, all)), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// median is the middle one of what the measurements of one maker on one occasion
// have for a value.
func median[T cmp.Ordered](all []measurement, maker string, when occasion, value func(measurement) T) T {
	var values []T
	for _, m := range all {
		if m.maker == maker && m.when == when {
			values = append(values, value(m))
		}
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func wall(m measurement) time.Duration { return m.wall }

func table(s settings, makers []maker, all []measurement) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# What it costs to make an image of a model\n\n")
	fmt.Fprintf(&out, "Written by `make bench`. %d MiB of bfloat16 weights in %d files, %s of %d. Client and registry share %s; only ratios carry over. Everything is in the page cache, and on the disk. CPU and memory are the client's: its largest process. Sent is what went to the registry.\n\n", s.size>>20, s.files, plural(s.runs), s.runs, machine())
	fmt.Fprintf(&out, "![seconds](engines.svg)\n\n")
	for _, when := range occasions {
		base := median(all, keyStream, when, wall).Seconds()
		fmt.Fprintf(&out, "## %s\n\n| | wall s | to Stream | CPU s | peak RSS MiB | read MiB | written MiB | sent MiB |\n|---|---|---|---|---|---|---|---|\n", titles[when])
		for _, m := range makers {
			seconds := median(all, m.key, when, wall).Seconds()
			mebibytes := func(value func(measurement) int64) int64 { return median(all, m.key, when, value) >> 20 }
			fmt.Fprintf(&out, "| %s | %.1f | %.1fx | %.1f | %d | %d | %d | %d |\n", m.name, seconds, seconds/base,
				median(all, m.key, when, func(m measurement) time.Duration { return m.cpu }).Seconds(),
				mebibytes(func(m measurement) int64 { return m.memory }), mebibytes(func(m measurement) int64 { return m.read }),
				mebibytes(func(m measurement) int64 { return m.written }), mebibytes(func(m measurement) int64 { return m.sent }))
		}
		fmt.Fprintln(&out)
	}
	fmt.Fprintf(&out, "Modelkiln's rows are all three steps of a build, with the check of what the registry holds in the end; the others push and look no further. `oras push` makes an artifact that a container cannot run. Read and written are what system calls moved, sockets included.\n")
	return out.String()
}

var titles = map[occasion]string{first: "A first image", oneChanged: "One file changed", unchanged: "Nothing changed, another tag"}

func plural(runs int) string {
	if runs == 1 {
		return "one run"
	}
	return "medians"
}

// machine names the machine by its processors.
func machine() string {
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

// picture draws the seconds of each maker on each occasion as bars.
func picture(makers []maker, all []measurement) string {
	const left, width, bar, gap = 230, 460, 16, 26
	longest := 0.0
	for _, m := range makers {
		for _, when := range occasions {
			longest = max(longest, median(all, m.key, when, wall).Seconds())
		}
	}
	var bars strings.Builder
	y := 10
	for _, when := range occasions {
		fmt.Fprintf(&bars, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y+13, titles[when])
		y += gap
		for _, m := range makers {
			seconds := median(all, m.key, when, wall).Seconds()
			colour := "#9aa5b1"
			if m.key == keyStream || m.key == keyKaniko {
				colour = "#2f6fab"
			}
			length := max(1, int(seconds/longest*width))
			fmt.Fprintf(&bars, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d">%.1f s</text>`+"\n",
				left-10, y+13, m.name, left, y, length, bar, colour, left+length+6, y+13, seconds)
			y += gap - 4
		}
		y += 8
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13"><rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", left+width+80, y, bars.String())
}
