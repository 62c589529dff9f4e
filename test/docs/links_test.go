// Package docs tests the documentation: that links resolve, and that generated
// documents are up to date. To generate them:
//
//	go test ./test/docs -update
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the root of the repository.
const root = "../.."

// maxReadmeLines keeps the README short enough to be read completely.
const maxReadmeLines = 120

func TestReadmeIsShort(t *testing.T) {
	readme := readFile(t, filepath.Join(root, "README.md"))
	assert.LessOrEqual(t, strings.Count(readme, "\n"), maxReadmeLines, "move details to the document that is about them")
}

func TestLinks(t *testing.T) {
	documents := markdownFiles(t)
	require.Contains(t, documents, filepath.Join(root, "README.md"))
	for _, document := range documents {
		t.Run(strings.TrimPrefix(document, root+"/"), func(t *testing.T) {
			for _, target := range linkTargets(readFile(t, document)) {
				checkLink(t, document, target)
			}
		})
	}
}

// checkLink checks that the file that a relative link names exists, and has the
// heading of its anchor.
func checkLink(t *testing.T, document, target string) {
	t.Helper()
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return
	}
	path, anchor, hasAnchor := strings.Cut(target, "#")
	file := document
	if path != "" {
		file = filepath.Join(filepath.Dir(document), path)
	}
	if _, err := os.Stat(file); !assert.NoError(t, err, "%s links to %s", document, target) {
		return
	}
	if hasAnchor && filepath.Ext(file) == ".md" {
		assert.Contains(t, anchors(readFile(t, file)), anchor, "%s links to %s", document, target)
	}
}

func markdownFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && path != root
		if entry.IsDir() && (hidden || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return nil
	}))
	return files
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

var (
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	htmlAnchor = regexp.MustCompile(`<a id="([^"]+)">`)
)

// linkTargets returns the targets of all links in a Markdown text.
func linkTargets(text string) []string {
	text = inlineCode.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "code")
	var targets []string
	for _, match := range link.FindAllStringSubmatch(text, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

// anchors returns the anchors of a Markdown text, as GitHub generates them from
// headings.
func anchors(text string) []string {
	text = codeBlock.ReplaceAllString(text, "")
	var list []string
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		list = append(list, anchorOf(match[1]))
	}
	for _, match := range htmlAnchor.FindAllStringSubmatch(text, -1) {
		list = append(list, match[1])
	}
	return list
}

func anchorOf(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, strings.TrimSpace(title))
}

func TestAnchors(t *testing.T) {
	text := "# The one-node cluster\n\n```sh\n# a comment\n```\n## What `argo retry` does, and why\n"
	assert.Equal(t, []string{"the-one-node-cluster", "what-argo-retry-does-and-why"}, anchors(text))
}

func TestLinkTargets(t *testing.T) {
	text := "[a](b.md#c) `[x](y)` [d](https://example.com)\n```\n[e](f)\n```\n"
	assert.Equal(t, []string{"b.md#c", "https://example.com"}, linkTargets(text))
}
