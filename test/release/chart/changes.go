package chart

import (
	"regexp"
	"strings"
)

var (
	// markdownLink matches a link, and its text.
	markdownLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	// firstSentence matches a text up to the end of its first sentence.
	firstSentence = regexp.MustCompile(`^.*?[.](?: |$)`)
	// entry matches a line of the changelog that begins an entry: one of a list, or a
	// paragraph. Tables and lines that continue an entry do not.
	entry = regexp.MustCompile(`^(?:- )?([^-#|\s].*)$`)
)

// changes returns what a changelog says of a version, the first sentence of each entry
// without markup; nothing if it has no section for the version.
func changes(changelog, version string) []string {
	_, section, found := strings.Cut(changelog, "\n## "+version+"\n")
	if !found {
		return nil
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var all []string
	prefix := ""
	for line := range strings.Lines(section) {
		line = strings.TrimSuffix(line, "\n")
		if title, ok := strings.CutPrefix(line, "### "); ok {
			prefix = ""
			if title == "Breaking changes" {
				prefix = "Breaking: "
			}
		}
		if match := entry.FindStringSubmatch(line); match != nil {
			all = append(all, prefix+sentence(match[1]))
		}
	}
	return all
}

func sentence(text string) string {
	text = markdownLink.ReplaceAllString(text, "$1")
	text = strings.NewReplacer("`", "", "**", "").Replace(text)
	if first := firstSentence.FindString(text); first != "" {
		text = first
	}
	return strings.TrimSpace(text)
}
